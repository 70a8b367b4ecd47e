"""What ``layers`` looks at: torch's leaf modules recorded, and an ONNX graph's tensors.

The worker's own half of the question, which needs torch, onnx and ONNX Runtime.
"""

from __future__ import annotations

import copy
import functools
import time
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from switchyard.worker.arguments import bind
from switchyard.worker.blame import first_line
from switchyard.worker.building import to_numpy, to_torch
from switchyard.worker.elements import as_float64
from switchyard.worker.evidence import Evidence
from switchyard.worker.layers import (
    Graph,
    Index,
    Record,
    batch_norm_variants,
    first_difference,
    initialiser_fault,
    tolerance,
)

#: Bounds: seconds in all, tensors taken from a graph, elements of all of them together.
SECONDS, MAX_TENSORS, MAX_ELEMENTS = 20.0, 300, 40_000_000


def explain(module, example_inputs: Mapping[str, np.ndarray], onnx_path, feeds) -> Evidence:
    """Evidence from inside an ONNX artefact of ``module``. Never raises: kind is empty and
    ``why`` says so where nothing could be shown.

    ``example_inputs``: by argument name. ``feeds``: the same by the graph's input names.
    The module is called once as it is, in no-grad mode; its hooks are taken off again.
    """
    started = time.perf_counter()
    try:
        graph, norms = _graph_tensors(onnx_path, feeds)
        if time.perf_counter() - started > SECONDS / 2:
            return Evidence("", "layers: running the graph took too long to look further")
        records = _torch_records(module, example_inputs, started + SECONDS * 0.75)
        index, ours = Index(graph), torch_norms(module)
        # A norm that was never called, or whose output is in the graph, is not at fault.
        for record in (r for r in records if r.name in ours):
            fault = initialiser_fault(ours[record.name], norms)
            if fault and index.distance(record.output)[0] > tolerance(record.output):
                said = f"layer {record.name!r} ({record.layer}), by its node: {fault}"
                return Evidence("channel-affine", said)
        return first_difference(records, graph)
    except Exception as error:  # diagnosis must not fail the cell that it explains
        return Evidence("", f"layers: {first_line(error)}")


def _torch_records(module, example_inputs, deadline: float) -> List[Record]:
    """One record for each call of a leaf module that maps a float tensor to one."""
    import torch

    records: List[Record] = []
    held: List[np.ndarray] = []
    room = [MAX_ELEMENTS]

    def is_float(value):
        return torch.is_tensor(value) and value.is_floating_point() and not value.is_nested

    def before(layer, arguments):
        # A copy taken before the call: an in-place layer overwrites its input.
        held.append(to_numpy(arguments[0]) if arguments and is_float(arguments[0]) else None)

    def after(name, layer, arguments, output):
        given = held.pop()
        output = output[0] if isinstance(output, tuple) and output else output
        if given is None or not is_float(output) or room[0] < 0 or time.perf_counter() > deadline:
            return
        room[0] -= output.numel() + given.size
        result = to_numpy(output)
        named = isinstance(layer, (torch.nn.Linear, torch.nn.modules.batchnorm._BatchNorm))
        replay = functools.partial(_replay, layer) if named and not layer.training else None
        faults = functools.partial(_variants, layer, given)
        records.append(Record(name, type(layer).__name__, given, result, faults, replay))

    handles = []
    try:
        for name, layer in module.named_modules():
            if not list(layer.children()):
                handles.append(layer.register_forward_pre_hook(before))
                handles.append(
                    layer.register_forward_hook(functools.partial(after, name or "model"))
                )
        with torch.no_grad():
            # By place where that can be: hooks do not see what is given by name.
            given = {name: to_torch(array) for name, array in example_inputs.items()}
            args, kwargs = bind(module.forward, given)
            module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
    return records


def _replay(layer, array: np.ndarray) -> np.ndarray:
    import torch

    with torch.no_grad():
        # Without hooks: the copy must not be recorded, nor the model's own state touched.
        held = (t for t in (*layer.parameters(), *layer.buffers()) if t.is_floating_point())
        dtype = next((t.dtype for t in held), torch.float32)
        return to_numpy(layer.forward(to_torch(array).to(dtype)))


def _norm_values(layer) -> Dict[str, Any]:
    mean, variance = (
        as_float64(to_numpy(layer.running_mean)),
        as_float64(to_numpy(layer.running_var)),
    )
    gamma = np.ones_like(mean) if layer.weight is None else as_float64(to_numpy(layer.weight))
    beta = np.zeros_like(mean) if layer.bias is None else as_float64(to_numpy(layer.bias))
    return dict(mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=layer.eps)


def torch_norms(module) -> Dict[str, Dict[str, Any]]:
    import torch

    norm = torch.nn.modules.batchnorm._BatchNorm
    found = {n: m for n, m in module.named_modules() if isinstance(m, norm)}
    return {n: _norm_values(m) for n, m in found.items() if m.running_mean is not None}


def _variants(layer, given: np.ndarray):
    """The known faults of one layer, as the outputs they would give."""
    import torch
    from torch.nn import functional

    if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm) and layer.running_mean is not None:
        yield from batch_norm_variants(as_float64(given), **_norm_values(layer))
    windows = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.MaxPool2d, torch.nn.AvgPool2d)
    if not isinstance(layer, windows) or isinstance(layer.padding, str):
        return
    axes = given.ndim - 2
    padding = layer.padding if isinstance(layer.padding, tuple) else (layer.padding,) * axes
    if not any(padding):
        return
    bare = copy.deepcopy(layer)
    bare.padding = (0,) * axes
    fill = float("-inf") if isinstance(layer, torch.nn.MaxPool2d) else 0.0
    # Pixels moved from before to behind; the last takes one away as well, as SAME does where
    # the stride leaves one over.
    for front, behind in ((-1, 1), (1, -1), (-1, 0)):
        sides = [
            side for p in reversed(padding) for side in ((p + front, p + behind) if p else (0, 0))
        ]
        with torch.no_grad():
            padded = functional.pad(to_torch(given), sides, value=fill)
            output = to_numpy(bare.forward(padded))
        said = f"padded by {tuple(sides)} (before, behind; last axis first) for {tuple(padding)}"
        yield "padding-shift", said, output


def _graph_tensors(onnx_path, feeds) -> Tuple[Graph, List[Dict[str, Any]]]:
    """Every float tensor of the graph on ``feeds``, optimisations off, and its BatchNorms."""
    import onnx
    import onnxruntime
    from onnx import numpy_helper

    model = onnx.load(str(onnx_path))
    weights = {t.name: t for t in model.graph.initializer}
    norms = []
    for node in model.graph.node:
        if node.op_type == "BatchNormalization" and all(n in weights for n in node.input[1:5]):
            values = [as_float64(numpy_helper.to_array(weights[n])) for n in node.input[1:5]]
            epsilon = next((a.f for a in node.attribute if a.name == "epsilon"), 1e-5)
            # Before opset 14 a node in training is told by the statistics that it gives out.
            training = any(a.name == "training_mode" and a.i for a in node.attribute)
            norms.append(
                dict(zip(("gamma", "beta", "mean", "variance"), values), epsilon=epsilon,
                     training=training or len(node.output) > 1)
            )  # fmt: skip
    silent = {"Shape", "Constant", "ConstantOfShape", "Gather", "Range", "Size", "Identity"}
    known = {value.name for value in model.graph.output}
    names = [
        n.output[0]
        for n in model.graph.node
        if n.op_type not in silent and n.output and n.output[0]
    ]
    for name in [n for n in names if n not in known][:MAX_TENSORS]:
        model.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    wanted = [o.name for o in session.get_outputs() if "float" in o.type or "double" in o.type]
    graph, room = [], MAX_ELEMENTS
    for name, array in list(feeds.items()) + list(zip(wanted, session.run(wanted, dict(feeds)))):
        array = np.asarray(array)
        room -= array.size
        floats = array.dtype.kind == "f" or array.dtype.name == "bfloat16"
        if floats and array.ndim <= 6 and room > 0:
            graph.append((name, array))
    return graph, norms

"""On which device TensorFlow put each operation of a SavedModel, and how the time is shared.

A value's device does not tell: placement is soft, so that an operation without a kernel for the
GPU runs on the CPU between two that have one. The graphs that TensorFlow's runtime made of a
function, one for each device, do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence

if TYPE_CHECKING:
    import numpy as np

from switchyard.worker.placement import MOST_SIZES, Executed

#: In the names of the devices that are no CPU.
ON_DEVICE = "GPU"

#: What a graph needs beside operations of the model: to pass values in, on and between devices.
_PLUMBING = frozenset(
    "_Arg _Retval _DeviceArg _DeviceRetval _Send _Recv _HostSend _HostRecv NoOp Const Identity "
    "IdentityN ReadVariableOp VarHandleOp Placeholder PartitionedCall "
    "StatefulPartitionedCall".split()
)

#: They look at a tensor of any kind and answer with a few integers.
_OF_SIZES = frozenset(("Shape", "ShapeN", "Size", "Rank"))


def executed(first_call: Callable[[], Any]) -> List[Executed]:
    """The operations that ``first_call`` runs: of a function that was not called before, whose
    graphs are made, and seen, once. Raises what TensorFlow raises, and AttributeError in a version
    that keeps no such record."""
    from tensorflow.python.eager import context

    told = context.context()
    told.enable_graph_collection()
    try:
        first_call()
        metadata = told.export_run_metadata()
    finally:
        told.disable_graph_collection()
    found: List[Executed] = []
    for function in metadata.function_graphs:
        outputs = _outputs_of(function.post_optimization_graph)
        found += [
            Executed(
                node.op,
                ON_DEVICE not in node.device,
                node.op in _OF_SIZES or _are_sizes(outputs.get(node.name, ())),
            )
            for graph in function.partition_graphs
            for node in graph.node
            if node.op not in _PLUMBING
        ]
    return found


def share_on_cpu(path: str, feeds: Mapping[str, np.ndarray], signature: str) -> Optional[float]:
    """The time in operations on the CPU over that in all, of one run; None where none took any.

    Of a session of TensorFlow 1, whose step statistics have the seconds in each node, which nothing
    does of a function. A node on the device takes until it is done only where each launch is waited
    for (CUDA_LAUNCH_BLOCKING). Raises what TensorFlow raises.
    """
    import tensorflow as tf

    v1 = tf.compat.v1
    # As the process's first session, this one takes memory as it needs it.
    config = v1.ConfigProto(gpu_options=v1.GPUOptions(allow_growth=True))
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        saved = v1.saved_model.load(session, ["serve"], path).signature_def[signature]
        given = {saved.inputs[name].name: array for name, array in feeds.items()}
        wanted = [one.name for one in saved.outputs.values()]
        session.run(wanted, given)  # what is done once, such as the choice of a kernel
        said, traced = v1.RunMetadata(), v1.RunOptions(
            trace_level=v1.RunOptions.SOFTWARE_TRACE, output_partition_graphs=True
        )  # fmt: skip
        session.run(wanted, given, options=traced, run_metadata=said)
    return _share(said)


def _share(said: Any) -> Optional[float]:
    """``share_on_cpu`` from a run's metadata."""
    operators = {node.name: node.op for graph in said.partition_graphs for node in graph.node}
    nanos = {True: 0, False: 0}
    for device in said.step_stats.dev_stats:
        for node in device.node_stats:
            if operators.get(node.node_name, "NoOp") not in _PLUMBING:
                took = node.op_end_rel_nanos - node.op_start_rel_nanos
                nanos[ON_DEVICE not in device.device] += took
    total = sum(nanos.values())
    return nanos[True] / total if total else None


def _outputs_of(graph: Any) -> Dict[str, Sequence[Any]]:
    """What is known of the outputs of each node, by its name: of a graph that is not divided among
    devices yet, since nothing is known of what comes from another. A node says no shape itself;
    TensorFlow finds them when it reads the graph once more. Empty where it does not read it."""
    import tensorflow as tf

    readable = type(graph)()
    readable.CopyFrom(graph)
    for node in readable.node:
        if node.op != "_Arg":
            continue
        kind, shapes = node.attr["T"].type, list(node.attr["_output_shapes"].list.shape)
        node.ClearField("attr")
        node.op, node.attr["dtype"].type = "Placeholder", kind
        if shapes:
            node.attr["shape"].shape.CopyFrom(shapes[0])
    try:
        with tf.Graph().as_default() as read:
            tf.graph_util.import_graph_def(readable, name="")
    except Exception:  # an operation of the runtime alone: then no output is known to be small
        return {}
    return {one.name: one.outputs for one in read.get_operations()}


def _are_sizes(outputs: Sequence[Any]) -> bool:
    """Whether outputs are a few integers each, as sizes, axes and indices of dimensions are, which
    TensorFlow keeps in host memory. Not where a shape is not known: work on integers that fell to
    the CPU must not pass for sizes."""
    return bool(outputs) and all(
        (one.dtype.is_integer or one.dtype.is_bool)
        and one.shape.is_fully_defined()
        and one.shape.num_elements() <= MOST_SIZES
        for one in outputs
    )

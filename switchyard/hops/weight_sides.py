"""A torch module and a Keras model as graphs of units, for ``weight_matching``.

Torch's side comes from ``torch.export``, Keras's from the functional graph. Neither reads a
layer's name for anything but to name it.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Set, Tuple

from switchyard.hops.weight_flow import Flow, Shape, split_of
from switchyard.hops.weight_matching import Graph, Unit

# --- torch


def _entries(prefix: str, module: Any, state: Mapping[str, Any]) -> List[str]:
    """The entries of the state_dict that are this module's own, not its children's."""
    own = [*module._parameters, *module._buffers]
    names = [f"{prefix}.{name}" if prefix else name for name in own]
    return [name for name in names if name in state]


def listed_again(module: Any) -> Dict[str, str]:
    """Entries of a state_dict that are one tensor in memory with another: each with the other.

    Only parameters that a module of its own kind holds beside the layer that uses them: a layer
    whose whole weight is shared (an embedding and the head it is tied to) is a layer all the same.
    """
    state = module.state_dict()
    bare = {unit.name for unit in torch_units(module, state)[0] if unit.kind == "parameter"}
    found = {}
    for name in bare:
        for other, tensor in state.items():
            if other not in bare and tensor.data_ptr() == state[name].data_ptr():
                if tensor.shape == state[name].shape:
                    found[name] = other
    return found


def torch_units(module: Any, state: Mapping[str, Any]) -> Tuple[List[Unit], Dict[str, str]]:
    """The units of a module, and for every entry of its state_dict the unit that owns it."""
    units: List[Unit] = []
    for prefix, layer in module.named_modules():
        entries = _entries(prefix, layer, state)
        if entries:
            units.extend(_units_of_layer(prefix or "(model)", layer, entries, state))
    return units, {entry: unit.name for unit in units for entry in unit.entries}


def _units_of_layer(name: str, layer: Any, entries: List[str], state) -> List[Unit]:
    from torch import nn

    dtype = str(state[entries[0]].dtype)
    bias = getattr(layer, "bias", None) is not None

    def unit(kind: str, *shape: Any) -> List[Unit]:
        return [Unit(name, kind, shape, dtype, tuple(entries))]

    if isinstance(layer, nn.ConvTranspose2d):
        return unit("conv_transpose2d", tuple(layer.weight.shape), layer.groups, bias)
    for kind, class_ in (("conv1d", nn.Conv1d), ("conv2d", nn.Conv2d), ("conv3d", nn.Conv3d)):
        if isinstance(layer, class_):
            return unit(kind, tuple(layer.weight.shape), layer.groups, bias)
    if type(layer).__name__ == "NonDynamicallyQuantizableLinear":
        return []  # what an attention projects back with, a part of its unit
    if isinstance(layer, nn.Linear):
        return unit("linear", *layer.weight.shape, bias)
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        return unit("batch_norm", layer.num_features, layer.affine, layer.track_running_stats)
    if isinstance(layer, nn.LayerNorm):
        return unit("layer_norm", *layer.normalized_shape)
    if isinstance(layer, nn.GroupNorm):
        return unit("group_norm", layer.num_channels, layer.num_groups)
    if isinstance(layer, (nn.Embedding, nn.EmbeddingBag)):
        return unit("embedding", *layer.weight.shape)
    if isinstance(layer, nn.MultiheadAttention) and layer._qkv_same_embed_dim:
        # The module that projects back is its child, and a part of the same unit.
        dotted = "" if name == "(model)" else f"{name}."
        entries.extend(e for e in state if e.startswith(f"{dotted}out_proj."))
        biased = layer.in_proj_bias is not None
        return unit("attention", layer.embed_dim, layer.num_heads, layer.head_dim, biased)
    if isinstance(layer, (nn.LSTM, nn.GRU)):
        return _levels(name, layer, entries, state)
    return [Unit(e, "parameter", tuple(state[e].shape), str(state[e].dtype), (e,))
            for e in entries]  # fmt: skip


def _levels(name: str, layer: Any, entries: List[str], state) -> List[Unit]:
    """A unit for each level and direction of a recurrent layer."""
    kind = type(layer).__name__.lower()
    found = []
    for level in range(layer.num_layers):
        for direction in ("", "_reverse")[: 2 if layer.bidirectional else 1]:
            ending = f"_l{level}{direction}"
            own = tuple(entry for entry in entries if entry.endswith(ending))
            inside = state[next(e for e in own if "weight_ih" in e)].shape[1]
            dtype = str(state[own[0]].dtype)
            shape = (layer.hidden_size, inside, bool(direction), layer.bias)
            found.append(Unit(f"{name}:l{level}{direction}", kind, shape, dtype, own))
    return found


def torch_graph(module: Any, args: tuple, kwargs: dict, state, inputs, outputs) -> Graph:
    """``inputs`` are the names of the arguments in their order, ``outputs`` those of the
    flattened answer. ``state``: the entries that are to be matched. Raises what
    ``torch.export`` raises."""
    import torch

    units, owner = torch_units(module, state)
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # fused, its layers could not be told apart
    try:
        program = torch.export.export(module, args, kwargs, strict=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    signature = program.graph_signature
    entry_of = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    flow, names = Flow({unit.name: unit.kind for unit in units}), iter(inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in signature.user_inputs:
                flow.starts(node, next(names))
            elif entry_of.get(node.name) in owner:
                flow.holds(node, owner[entry_of[node.name]])
        elif node.op == "output":
            for value, name in zip(signature.user_outputs, outputs):
                flow.ends(next(n for n in program.graph.nodes if n.name == value), name)
        elif _is_tensor(node):
            consumed = [each for each in node.all_input_nodes if _is_tensor(each)]
            permutes = any(word in str(node.target) for word in ("permute", "transpose", "aten.t."))
            made = flow.step([node], consumed, shape=_shape, permutes=permutes)
            for unit in made:
                flow.folds(unit, split_of(node, _shape, _after))
    return flow.graph(units)


def _is_tensor(node: Any) -> bool:
    value = node.meta.get("val")
    return hasattr(value, "shape") or isinstance(value, (tuple, list))


def _shape(node: Any) -> Shape:
    """Sizes without the batch; None where one is not known."""
    shape = getattr(node.meta.get("val"), "shape", ())
    return tuple(size if isinstance(size, int) else None for size in shape[1:])


def _after(node: Any) -> List[Any]:
    return [user for user in node.users if user.op != "output" and _is_tensor(user)]


# --- Keras


def keras_units(layer: Any) -> List[Unit]:
    """The units of one Keras layer, named by the layer or by the variable."""
    paths = tuple(variable.path for variable in layer.weights)
    if not paths:
        return []
    dtype, kind = str(layer.weights[0].dtype), type(layer).__name__

    def unit(kind: str, *shape: Any, name: str = layer.name, entries=paths) -> Unit:
        return Unit(name, kind, shape, dtype, tuple(entries))

    bias = bool(getattr(layer, "use_bias", False))
    if kind in ("Conv1D", "Conv2D", "Conv3D"):
        *window, inside, outside = layer.kernel.shape
        return [unit(kind.lower(), (outside, inside, *window), layer.groups, bias)]
    if kind == "DepthwiseConv2D":
        height, width, channels, each = layer.kernel.shape
        shape = ((channels * each, 1, height, width), channels, bias)
        return [Unit(layer.name, "conv2d", shape, dtype, paths, depthwise=True)]
    if kind == "Conv2DTranspose":
        height, width, outside, inside = layer.kernel.shape
        return [unit("conv_transpose2d", (inside, outside, height, width), 1, bias)]
    if kind == "Dense":
        inside, outside = layer.kernel.shape
        return [unit("linear", outside, inside, bias)]
    if kind == "BatchNormalization":
        affine = layer.center and layer.scale
        return [unit("batch_norm", layer.moving_mean.shape[0], affine, True)]
    if kind == "LayerNormalization":
        return [unit("layer_norm", *layer.gamma.shape)]
    if kind == "GroupNormalization":
        return [unit("group_norm", layer.gamma.shape[0], layer.groups)]
    if kind == "Embedding":
        return [unit("embedding", *layer.embeddings.shape)]
    if kind == "MultiHeadAttention":
        inside = layer.weights[0].shape[0]
        return [unit("attention", inside, layer.num_heads, layer.key_dim, layer._use_bias)]
    if kind in ("LSTM", "GRU"):
        return [_recurrent(layer, layer.name, kind.lower(), dtype)]
    if kind == "Bidirectional":
        halves = (layer.forward_layer, layer.backward_layer)
        return [_recurrent(half, f"{layer.name}/{half.name}", type(half).__name__.lower(), dtype)
                for half in halves]  # fmt: skip
    return [Unit(v.path, "parameter", tuple(v.shape), str(v.dtype), (v.path,))
            for v in layer.weights]  # fmt: skip


def _recurrent(layer: Any, name: str, kind: str, dtype: str) -> Unit:
    inside = layer.cell.kernel.shape[0]
    shape = (layer.units, inside, bool(layer.go_backwards), layer.use_bias)
    return Unit(name, kind, shape, dtype, tuple(v.path for v in layer.weights))


def keras_graph(model: Any, outputs: Mapping[str, Any]) -> Graph:
    """``outputs``: the model's output tensors by the names that they have in the torch model."""
    own = {id(op): keras_units(op) if hasattr(op, "weights") else [] for op in model.operations}
    units = [unit for each in own.values() for unit in each]
    flow = Flow({unit.name: unit.kind for unit in units})
    tensors: Dict[int, Any] = {}
    users: Dict[int, Set[int]] = {}
    nodes = [(op, node) for op in model.operations for node in op._inbound_nodes]
    for _, node in nodes:
        for tensor in (*node.arguments.keras_tensors, *node.output_tensors):
            tensors[id(tensor)] = tensor
        for tensor in node.arguments.keras_tensors:
            users.setdefault(id(tensor), set()).update(id(each) for each in node.output_tensors)

    def shape(value: int) -> Shape:
        return tuple(tensors[value].shape[1:])

    for operation, node in nodes:
        produced = [id(tensor) for tensor in node.output_tensors]
        consumed = [id(tensor) for tensor in node.arguments.keras_tensors]
        if not consumed:
            for value in produced:
                flow.starts(value, tensors[value].name)
            continue
        permutes = type(operation).__name__ in ("Permute", "Transpose", "Moveaxis", "Swapaxes")
        names = [unit.name for unit in own[id(operation)]]
        for unit in flow.step(produced, consumed, names, shape=shape, permutes=permutes):
            flow.folds(unit, split_of(produced[0], shape, lambda value: users.get(value, ())))
    for name, tensor in outputs.items():
        flow.ends(id(tensor), name)
    return flow.graph(units)

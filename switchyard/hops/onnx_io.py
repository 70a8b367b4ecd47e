"""Reading an ONNX file back: what it declares, and how a source's notes carry over to it."""

from __future__ import annotations

import pathlib
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from switchyard.hops.open_sizes import inherited
from switchyard.manifest import INTEGERS, Manifest, TensorNote

#: Name, dtype as numpy calls it, and dimensions: an integer, a symbol's name, or None.
Declared = Tuple[str, str, Tuple[Union[int, str, None], ...]]

#: ONNX's names of element types where they are not numpy's in capitals.
_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def read_back(path) -> Dict[str, Any]:
    """What an ONNX file declares, without loading external data or running anything.

    Returns ``{"opset": int, "ir_version": int, "inputs": [Declared], "outputs": [Declared]}``;
    initialisers that are also listed as inputs (ONNX before IR 4) are no inputs. A value
    that is no tensor has its type's name for a dtype and no dimensions. Raises what onnx
    raises for a file that is none.
    """
    import onnx

    return declared(onnx.load(str(path), load_external_data=False))


def declared(model: Any) -> Dict[str, Any]:
    """``read_back`` of an ``onnx.ModelProto`` that is already in memory."""
    stored = {tensor.name for tensor in model.graph.initializer}
    opsets = {entry.domain: entry.version for entry in model.opset_import}
    return {
        "opset": int(opsets.get("", opsets.get("ai.onnx", 0))),
        "ir_version": int(model.ir_version),
        "inputs": [_declared(v) for v in model.graph.input if v.name not in stored],
        "outputs": [_declared(v) for v in model.graph.output],
    }


def _declared(value: Any) -> Declared:
    from onnx import TensorProto

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return (value.name, str(kind or "").replace("_type", ""), ())
    # By the element type's own name: what numpy dtype onnx gives bfloat16 varies by version.
    element = TensorProto.DataType.Name(value.type.tensor_type.elem_type).lower()
    dims: List[Union[int, str, None]] = []
    for dim in value.type.tensor_type.shape.dim:
        which = dim.WhichOneof("value")
        dims.append(getattr(dim, which) if which else None)
    return (value.name, _NUMPY_NAMES.get(element, element), tuple(dims))


def symbol_sizes(inputs: Sequence[Declared], shapes: Mapping[str, Sequence[int]]) -> Dict[str, int]:
    """The example size of every dynamic dimension, by symbol (``name[axis]`` without one)."""
    sizes = {}
    for name, _, dims in inputs:
        for axis, dim in enumerate(dims):
            if not isinstance(dim, int) and name in shapes:
                sizes[dim or f"{name}[{axis}]"] = int(shapes[name][axis])
    return sizes


def batch_symbol(inputs: Sequence[Declared]) -> Optional[str]:
    """The one symbol that stands first wherever it stands, if it leads every input: the
    batch, as far as a file can say. None where there is no such symbol."""
    first = {dims[0] if dims else None for _, _, dims in inputs}
    elsewhere = {dim for _, _, dims in inputs for dim in dims[1:]}
    if len(first) != 1:
        return None
    (symbol,) = first
    return symbol if isinstance(symbol, str) and symbol not in elsewhere else None


def fix_dims(model: Any, fixed: Mapping[str, int], shapes: Mapping[str, Sequence[int]]) -> None:
    """Fix dimensions of a ModelProto in place, by symbol. Shapes computed from them, which
    would contradict the new ones, are dropped for the reader to infer anew."""
    if not fixed:
        return
    for value in model.graph.input:
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.WhichOneof("value") == "dim_value":
                continue
            if (dim.dim_param or f"{value.name}[{axis}]") in fixed:
                dim.dim_value = int(shapes[value.name][axis])
    del model.graph.value_info[:]
    kept = {dim.dim_param for value in model.graph.input
            for dim in value.type.tensor_type.shape.dim if dim.dim_param}  # fmt: skip
    for value in model.graph.output:
        if value.type.WhichOneof("value") != "tensor_type":
            continue
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in fixed:
                dim.dim_value = fixed[dim.dim_param]
            elif dim.dim_param and dim.dim_param not in kept:
                dim.Clear()


def rename_tensors(model: Any, legal: Callable[[str], str]) -> Dict[str, str]:
    """Rename a ModelProto's inputs and outputs in place to what ``legal`` makes of them.

    Returns the names that changed, old to new. Two that would become one are numbered.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    values = [v for v in graph.input if v.name not in stored] + list(graph.output)
    used = {n for node in graph.node for n in (*node.input, *node.output)} | stored
    changes: Dict[str, str] = {}
    for value in values:
        new = wanted = legal(value.name)
        if new == value.name:
            continue
        number = 1
        while new in used or new in changes.values():
            new, number = f"{wanted}_{number}", number + 1
        changes.setdefault(value.name, new)
    if changes:
        _rename(graph, changes)
    return changes


def _rename(graph: Any, changes: Mapping[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.value_info):
        value.name = changes.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in changes:
                    names[place] = changes[name]
        for attribute in node.attribute:  # the bodies of If and Loop see the outer names
            for inner in (attribute.g, *attribute.graphs):
                if inner.node:
                    _rename(inner, changes)


def width_change(before: str, after: str) -> Optional[str]:
    """``after`` where both are integer dtypes and differ, else None: floats never count."""
    if before in INTEGERS and after in INTEGERS and before != after:
        return after
    return None


def carried(
    source: Manifest,
    path: pathlib.Path,
    names: Callable[[str], Sequence[str]] = lambda name: (name,),
) -> Manifest:
    """The manifest of an ONNX file made from the artefact of ``source``, layouts untouched.

    ``names`` gives, for a tensor's name in the source, the names it may have in the file,
    first choice first. An input that the converter dropped (nothing used it) has no note,
    so that nobody feeds it, and stands in ``facts["dropped_inputs"]``; an output that is
    gone has no note either, and the comparison will miss it. The source's facts of how it
    was made dynamic stay, since what was specialised before stays so.
    """
    read = read_back(path)
    facts: Dict[str, Any] = {
        "opset": read["opset"], "ir_version": read["ir_version"], **inherited(source)
    }  # fmt: skip
    inputs, dropped = carry(source.inputs, read["inputs"], names)
    outputs, missing = carry(source.outputs, read["outputs"], names)
    if dropped:
        facts["dropped_inputs"] = dropped
    if missing:
        facts["missing_outputs"] = missing
    return Manifest({"onnx": path.name}, inputs, outputs, facts)


def carry(
    notes: Sequence[TensorNote],
    tensors: Sequence[Declared],
    names: Callable[[str], Sequence[str]],
) -> Tuple[Tuple[TensorNote, ...], List[str]]:
    """The notes of ``notes`` under the names that their tensors have now, and the paths of those
    that have none. ``names``: see ``carried``."""
    dtypes = {name: dtype for name, dtype, _ in tensors}
    kept, gone = [], []
    for note in notes:
        found = [name for name in names(note.name) if name in dtypes]
        if not found:
            gone.append(note.path)
            continue
        width = width_change(note.width or note.dtype, dtypes[found[0]])
        kept.append(note.then(found[0], width=width))
    return tuple(kept), gone

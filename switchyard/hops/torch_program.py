"""What hops on ``torch.export`` have in common: declared dimensions, and which tensor is which.

Pure but for ``dynamic_shapes``, which needs torch.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

from switchyard.hops import Conversion
from switchyard.hops.onnx_io import Declared, width_change
from switchyard.hops.open_sizes import open_or_fixed
from switchyard.manifest import TensorNote
from switchyard.worker.arguments import bind


def dynamic_shapes(dims: Mapping[str, Sequence[Any]]) -> Optional[Dict[str, Dict[int, Any]]]:
    """``torch.export``'s ``dynamic_shapes`` for the dimensions declared dynamic, one entry an
    argument under forward's own names; None where no dimension is."""
    import torch

    shapes = {
        name: {axis: torch.export.Dim.DYNAMIC for axis, dim in enumerate(shape)
               if isinstance(dim, str)}
        for name, shape in dims.items()
    }  # fmt: skip
    return shapes if any(shapes.values()) else None


def dynamic_or_fixed(
    dims: Mapping[str, Sequence[Any]], convert: Callable[[Optional[dict]], None]
) -> Dict[str, Any]:
    """``open_or_fixed`` of a ``convert`` that takes ``torch.export``'s dynamic shapes, or None."""
    shapes = dynamic_shapes(dims)
    _, facts = open_or_fixed(shapes is not None, lambda open_: convert(shapes if open_ else None))
    return facts


def argument_order(forward: Any, paths: Sequence[str]) -> List[str]:
    """The inputs in the order in which exporters flatten them, whatever the order of ``paths``:
    forward's positional arguments, then those it takes by keyword, as ``BuiltModel.arguments``
    gives them; the order of ``paths`` where forward names none. Raises Misnamed."""
    args, kwargs = bind(forward, {path: path for path in paths})
    return [*args, *kwargs.values()]


def by_name(job: Conversion, args: tuple, kwargs: Mapping[str, Any]) -> Dict[str, Any]:
    """path -> the tensor of the example that ``args`` and ``kwargs``, as
    ``BuiltModel.arguments`` gives them, have of it."""
    order = argument_order(job.model.module.forward, list(job.example))
    return dict(zip(order, (*args, *kwargs.values())))


def notes(
    arrays: Mapping[str, Any], names: Mapping[str, str], found: Sequence[Declared]
) -> Tuple[TensorNote, ...]:
    """A note for each of the model's tensors (``arrays``, by path) that the artefact has by the
    name that ``names`` gives; integers of another width there are noted as such."""
    dtypes = {name: dtype for name, dtype, _ in found}
    return tuple(
        TensorNote(path, names[path], array.dtype.name,
                   width=width_change(array.dtype.name, dtypes[names[path]]))
        for path, array in arrays.items()
        if names.get(path) in dtypes
    )  # fmt: skip


def narrowed(
    arrays: Mapping[str, Any], names: Mapping[str, str], found: Sequence[Declared]
) -> Dict[str, str]:
    """path -> ``int64 -> int32`` of every tensor whose dtype is another in the artefact, floats
    (which nothing undoes) among them."""
    dtypes = {name: dtype for name, dtype, _ in found}
    return {
        path: f"{array.dtype.name} -> {dtypes[names[path]]}"
        for path, array in arrays.items()
        if names.get(path) in dtypes and dtypes[names[path]] != array.dtype.name
    }

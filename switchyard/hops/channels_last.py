"""Channels-last converters: how the layout and the names of their tensors are found.

Pure functions over declared names and shapes; onnx2tf's rules, read in its sources.
"""

from __future__ import annotations

import re
from typing import Any, Dict, Optional, Sequence, Tuple

#: What TensorFlow takes for the name of a scope, less the slash, which onnx2tf treats apart.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.:-]*\Z")


def scope_name(name: str) -> str:
    """``name``, or where TensorFlow or onnx2tf would stumble over it a legal one like it."""
    if _SCOPE.match(name):
        return name
    legal = re.sub(r"[^A-Za-z0-9_.-]", "_", name)
    return legal if _SCOPE.match(legal) else f"t{legal}"


def input_permutation(rank: int) -> Optional[Tuple[int, ...]]:
    """onnx2tf's rule for inputs: 3, 4 and 5 dimensions go channels-last; None for others."""
    return (0, *range(2, rank), 1) if rank in (3, 4, 5) else None


def output_permutation(
    wanted: Sequence[Any], got: Sequence[Any]
) -> Tuple[Optional[Tuple[int, ...]], str]:
    """How an output lies, from its shape in ONNX and in TensorFlow: (permutation, basis).

    What onnx2tf does to an output is nothing, channels-last, or its inverse; of fewer than
    three dimensions it turns none. One that alone agrees with the shapes decides. A
    dimension that is no integer agrees with any. If none agrees, the ranks or sizes differ
    and nothing is undone (the comparison will see it); if several do, ``undetermined``.
    """
    rank = len(wanted)
    if rank != len(got) or rank < 3:
        return None, "unchanged"
    same = tuple(range(rank))
    last, first = (0, *same[2:], 1), (0, rank - 1, *same[1:-1])

    def agrees(order: Tuple[int, ...]) -> bool:
        pairs = ((wanted[axis], size) for axis, size in zip(order, got))
        return all(a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in pairs)

    fitting = {order for order in (same, last, first) if agrees(order)}
    if len(fitting) > 1:
        return None, "undetermined"
    if not fitting or same in fitting:
        return None, "unchanged"
    return fitting.pop(), "shape"


def matched(names: Sequence[str], given: Sequence[str]) -> Dict[str, str]:
    """ONNX names to the names in a signature, as far as the tool's rules decide.

    By the plain name, by the name as TensorFlow sanitises it, then by ``output_0`` and so on in
    order (what Keras's ExportArchive gives) or ``Identity``, ``Identity_1`` and so on (what a
    function's outputs are called in its frozen graph), and a single one that is left by
    elimination.
    """

    def plain(name: str) -> str:
        return re.sub(r"\W", "_", name.replace(":", "__")).lower()

    found = {name: name for name in names if name in given}
    for same in (plain, lambda name: plain(name).strip("_")):
        for name in (name for name in names if name not in found):
            left = [g for g in given if g not in found.values() and same(g) == same(name)]
            if len(left) == 1:
                found[name] = left[0]
    count = range(len(names))
    for ordered in (
        [f"output_{i}" for i in count],
        [f"Identity_{i}" if i else "Identity" for i in count],
    ):
        if not found and sorted(given) == sorted(ordered):
            return dict(zip(names, ordered))
    rest = [name for name in names if name not in found]
    unclaimed = [name for name in given if name not in found.values()]
    if len(rest) == len(unclaimed) == 1:
        found[rest[0]] = unclaimed[0]
    return found

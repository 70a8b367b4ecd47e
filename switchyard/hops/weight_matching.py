"""Which layer of one model is which of another, from kinds, shapes and how they are connected.

Both models are graphs of units (what owns weights) between named inputs and outputs. Units of one
kind and shape are told apart by what stands before and after them, and that again by what stands
before and after it: colour refinement (Weisfeiler and Leman, 1968), run over both graphs at once.
A name is never looked at, nor the order in which layers were written, nor a value. What stays
alike is not guessed at. Pure: no framework, no I/O.
"""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, Dict, FrozenSet, Hashable, List, Mapping, Sequence, Tuple

Colours = Dict[str, Hashable]


class NoCounterpart(ValueError):
    """Units of one model that nothing in the other can be; the message names them."""

    kind = "unmatched-weights"


class Ambiguous(ValueError):
    """Units that could change places; the message names the candidates."""

    kind = "ambiguous-mapping"


@dataclasses.dataclass(frozen=True)
class Unit:
    """What owns weights. ``kind`` and ``shape`` are common to both frameworks: a linear layer
    is ``("linear", (out, in))`` whichever way its matrix is kept. ``entries`` are the names of
    its weights. ``reads`` are the sizes that were merged to the axis it reads along, ``feeds``
    those that its answer's last axis is split into; () where there is no such thing.
    ``depthwise``: a convolution that Keras keeps as one, which is another form and no other kind.
    """

    name: str
    kind: str
    shape: Tuple[Any, ...]
    dtype: str = "float32"
    entries: Tuple[str, ...] = ()
    reads: Tuple[int, ...] = ()
    feeds: Tuple[int, ...] = ()
    depthwise: bool = False

    @property
    def said(self) -> str:
        return f"{self.name!r} ({self.kind} {self.shape} {self.dtype})"


@dataclasses.dataclass(frozen=True)
class Graph:
    """``edges``: (from, to) where nothing that owns weights stands between. Ends that are no
    unit are the model's ``input:NAME`` and ``output:NAME``."""

    units: Mapping[str, Unit]
    edges: FrozenSet[Tuple[str, str]] = frozenset()

    @classmethod
    def of(cls, units: Sequence[Unit], edges: Sequence[Tuple[str, str]] = ()) -> "Graph":
        return cls({unit.name: unit for unit in units}, frozenset(edges))

    def neighbours(self) -> Dict[str, Tuple[List[str], List[str]]]:
        """unit -> (what stands before it, what after it)."""
        found: Dict[str, Tuple[List[str], List[str]]] = {name: ([], []) for name in self.units}
        for start, end in sorted(self.edges):
            if end in found:
                found[end][0].append(start)
            if start in found:
                found[start][1].append(end)
        return found


def match(source: Graph, target: Graph) -> Dict[str, str]:
    """source unit -> target unit, for all of both.

    Raises NoCounterpart where the two do not hold the same kinds, shapes and dtypes, Ambiguous
    where more than one assignment fits them.
    """
    colours: List[Colours] = [
        {unit.name: (unit.kind, unit.shape, unit.dtype) for unit in graph.units.values()}
        for graph in (source, target)
    ]
    _refuse_stacked(source, target, colours)
    _require_equal(source, target, colours)
    around = [source.neighbours(), target.neighbours()]
    while True:
        groups = [_grouped(each) for each in colours]
        finer = _refined(groups, colours, around)
        if finer is None:
            break
        colours = finer
    open_ = [(groups[0][colour], groups[1][colour]) for colour in groups[0]
             if len(groups[0][colour]) > 1]  # fmt: skip
    if open_:
        raise Ambiguous("; ".join(
            f"{' or '.join(map(repr, left))} for {' or '.join(map(repr, right))}, all "
            f"{source.units[left[0]].kind} {source.units[left[0]].shape} and connected alike"
            for left, right in open_
        ))  # fmt: skip
    return {groups[0][colour][0]: groups[1][colour][0] for colour in groups[0]}


def _grouped(colours: Colours) -> Dict[Hashable, List[str]]:
    groups: Dict[Hashable, List[str]] = collections.defaultdict(list)
    for name, colour in colours.items():
        groups[colour].append(name)
    return groups


def _refined(groups, colours, around):
    """Finer colours, or None where no group can be split."""
    finer, split = [dict(each) for each in colours], False
    for place, colour in enumerate(sorted(groups[0], key=repr)):
        if len(groups[0][colour]) == 1:
            continue
        seen = [
            {name: _surroundings(name, colours[side], around[side])
             for name in groups[side][colour]}
            for side in (0, 1)
        ]  # fmt: skip
        parts = _parts(seen)
        if len(set(parts[0].values())) > 1:
            split = True
            for side in (0, 1):
                for name, part in parts[side].items():
                    # A short name for the part: nested ones would double in every round.
                    finer[side][name] = ("part", *_root(colour), place, part)
    return finer if split else None


def _surroundings(name: str, colours: Colours, around) -> Tuple[Tuple[str, ...], ...]:
    """The colours of what stands before a unit, and of what stands after it."""
    return tuple(
        tuple(sorted(repr(colours.get(other, other)) for other in direction))
        for direction in around[name]
    )


def _parts(seen) -> Tuple[Dict[str, int], Dict[str, int]]:
    """The parts that a group splits into on both sides, by what its units see: both directions
    where these make parts of the same sizes in both graphs, else one of them alone.

    Where a direction makes other parts in the one graph than in the other, the models are
    written differently there and it says nothing as a whole; but what it tells of single units
    must not speak against the other direction.
    """
    for directions in ((0, 1), (0,), (1,)):
        keys = [{name: tuple(pair[d] for d in directions) for name, pair in side.items()}
                for side in seen]  # fmt: skip
        counts = [collections.Counter(side.values()) for side in keys]
        if counts[0] != counts[1] or len(counts[0]) == 1:
            continue
        numbers = {key: number for number, key in enumerate(sorted(counts[0]))}
        parts = tuple({name: numbers[key] for name, key in side.items()} for side in keys)
        if len(directions) == 2 or not _contradicted(parts, seen, 1 - directions[0]):
            return parts
    return {name: 0 for name in seen[0]}, {name: 0 for name in seen[1]}


def _contradicted(parts, seen, direction: int) -> bool:
    """Whether two units that alone see the same in ``direction`` fall into different parts."""
    by_sight = []
    for side in seen:
        counts = collections.Counter(pair[direction] for pair in side.values())
        by_sight.append({pair[direction]: name for name, pair in side.items()
                         if counts[pair[direction]] == 1})  # fmt: skip
    return any(
        parts[0][by_sight[0][sight]] != parts[1][by_sight[1][sight]]
        for sight in set(by_sight[0]) & set(by_sight[1])
    )


def _root(colour: Tuple[Any, ...]) -> Tuple[Any, ...]:
    return colour[1:] if colour[0] == "part" else colour


def _require_equal(source: Graph, target: Graph, colours: List[Colours]) -> None:
    groups = [_grouped(each) for each in colours]
    faults = []
    for graph, own, others, place in (
        (source, groups[0], groups[1], "the Keras model"),
        (target, groups[1], groups[0], "the state_dict"),
    ):
        for colour, names in own.items():
            if len(names) > len(others.get(colour, ())):
                said = " or ".join(graph.units[name].said for name in names)
                faults.append(f"{place} has {len(others.get(colour, ()))} for {said}")
    if faults:
        raise NoCounterpart("; ".join(faults))


def _refuse_stacked(source: Graph, target: Graph, colours: List[Colours]) -> None:
    """A matrix as wide as query, key and value together has no order of the three and of the
    heads that its shape would tell: (3, heads, width) and (heads, 3, width) both exist."""
    here = set(colours[0].values())
    for unit in target.units.values():
        if unit.kind != "attention" or colours[1][unit.name] in here:
            continue
        inside, heads, width, *_ = unit.shape
        size = sorted((3 * heads * width, inside))
        stacked = [
            other.name
            for other in source.units.values()
            if other.kind in ("linear", "parameter") and sorted(other.shape[:2]) == size
        ]
        if stacked:
            raise Ambiguous(
                f"query, key and value of {unit.name!r} may lie in {' or '.join(stacked)} in any "
                "order, by head or by part"
            )


def turned(source: Tuple[int, ...], target: Tuple[int, ...], unit: str) -> bool:
    """Whether what torch merges or splits as ``source`` (channels, height, width) lies in Keras
    as ``target`` with channels last. Raises Ambiguous where the sizes do not tell."""
    known = None not in (*source, *target)
    # Sizes of one take no part in an order, and a single one has none.
    trivial = [sum(n != 1 for n in shape) <= 1 for shape in (source, target)]
    if known and all(trivial):
        return False
    same = known and source == target
    last = known and not any(trivial) and (*source[1:], source[0]) == target
    if same == last:
        raise Ambiguous(
            f"what {unit!r} merges or splits is {source or 'flat'} in torch and "
            f"{target or 'flat'} in Keras: {'either order fits' if same else 'no order fits'}"
        )
    return last

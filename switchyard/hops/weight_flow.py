"""What stands before what in a model, and where its axes are merged and split, for
``weight_matching``. Pure: values are any hashable things whose shapes are asked for."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Set, Tuple

from switchyard.hops.weight_matching import Graph, Unit

#: Sizes without the batch; None where one is not known.
Shape = Tuple[Optional[int], ...]

#: The order within an axis that more than one merging had a part in, or a cut through one.
MIXED: Shape = (None,)

#: Units that keep the entries of the last axis where they are.
_IN_PLACE = ("batch_norm", "layer_norm", "group_norm", "parameter")

#: Units whose channels are the second axis in torch as long as there are more than two; what
#: happens to the last one is then no concern of theirs.
_BY_CHANNEL = ("conv2d", "conv_transpose2d", "batch_norm", "group_norm")

#: Units with axes of their own between what they read and what they answer.
_INWARD = ("attention", "lstm", "gru")


class Flow:
    """The nearest units upstream of every value, and the edges between units so found.

    A value is data (it depends on an input) or made of weights alone. Where weights meet data,
    their units stand after what the data came from, and the result comes from them. Each value
    also keeps of which sizes its last axis was merged, since a weight along it has that order.
    """

    def __init__(self, kinds: Mapping[str, str]):
        self.edges: Set[Tuple[str, str]] = set()
        self._kinds = kinds
        self._data: Dict[Any, Set[str]] = {}
        self._weights: Dict[Any, Set[str]] = {}
        self._merged: Dict[Any, Shape] = {}
        self._reads: Dict[str, Shape] = {}
        self._feeds: Dict[str, Shape] = {}

    def starts(self, value: Any, name: str) -> None:
        self._data[value] = {f"input:{name}"}

    def holds(self, value: Any, unit: str) -> None:
        self._weights[value] = {unit}

    def step(
        self,
        values: Iterable[Any],
        arguments: Sequence[Any],
        units: Iterable[str] = (),
        shape: Callable[[Any], Shape] = lambda value: (),
        permutes: bool = False,
    ) -> List[str]:
        """``values`` are computed from ``arguments``, with the weights of ``units`` and of the
        arguments; ``permutes``: by exchanging axes. Returns the units that met data here."""
        own = set(units).union(*(self._weights.get(each, set()) for each in arguments))
        data = [each for each in arguments if each in self._data]
        if not data:
            for value in values:
                self._weights[value] = own
            return []
        before = set().union(*(self._data[each] for each in data))
        self.edges |= {(start, unit) for unit in own for start in before if start != unit}
        for unit in own:
            for each in data:
                if unit not in self._data[each] and self._reads_along(unit, shape(each)):
                    merged = self._merged.get(each, ())
                    self._reads[unit] = _joined(self._reads.get(unit, ()), merged)
        stays = all(self._kinds.get(unit) in _IN_PLACE for unit in own)
        for value in values:
            self._data[value] = own or before
            if stays:
                for each in data:
                    last = self._last_axis(each, value, shape, permutes)
                    self._merged[value] = _joined(self._merged.get(value, ()), last)
        return sorted(own)

    def _reads_along(self, unit: str, shape: Shape) -> bool:
        """Whether a unit's weights lie along the last axis of what it reads."""
        return len(shape) == 1 or self._kinds.get(unit) not in _BY_CHANNEL

    def _last_axis(self, each: Any, value: Any, shape, permutes: bool) -> Shape:
        """How the last axis of ``value`` was merged, as far as ``each`` went into it."""
        merged, old, new = self._merged.get(each, ()), shape(each), shape(value)
        if permutes or not old or not new:
            return ()
        if old == new or (not merged and len(old) == len(new)):
            return merged
        if _count(old) != _count(new):
            return MIXED if merged else ()
        if old[-1] == new[-1]:
            return merged
        found = merged_of(old, new[-1])
        return MIXED if merged and found else found

    def folds(self, unit: str, shape: Shape) -> None:
        """The answer of ``unit`` has its last axis split into ``shape`` before anything else."""
        if self._kinds.get(unit) not in _BY_CHANNEL + _INWARD:
            self._feeds[unit] = _joined(self._feeds.get(unit, ()), shape)

    def ends(self, value: Any, name: str) -> None:
        self.edges |= {(start, f"output:{name}") for start in self._data.get(value, ())}

    def graph(self, units: Sequence[Unit]) -> Graph:
        """The units, with what was learnt of each, and the edges."""
        return Graph.of(
            [
                dataclasses.replace(
                    unit,
                    reads=self._reads.get(unit.name, ()),
                    feeds=self._feeds.get(unit.name, ()),
                )
                for unit in units
            ],
            sorted(self.edges),
        )


def _count(shape: Shape) -> int:
    return math.prod(size for size in shape if size is not None)


def _joined(one: Shape, other: Shape) -> Shape:
    if one and other and one != other:
        return MIXED
    return one or other


def merged_of(shape: Shape, size: Optional[int]) -> Shape:
    """The last sizes of ``shape`` that make an axis of ``size``: () where one alone does or none
    is merged, MIXED where none make it."""
    if size is None or (shape[-1] is not None and shape[-1] > size):
        return ()
    taken: List[int] = []
    for each in reversed(shape):
        if each is None or math.prod(taken) >= size:
            break
        taken.insert(0, each)
    if math.prod(taken) != size:
        return MIXED
    return tuple(taken) if sum(each != 1 for each in taken) > 1 else ()


def split_of(value: Any, shape: Callable[[Any], Shape], after: Callable[[Any], Iterable]) -> Shape:
    """Into which sizes the last axis of ``value`` is split before its shape changes otherwise;
    () where it is not."""
    found: Shape = ()
    seen, open_ = {value}, [value]
    while open_:
        current = open_.pop()
        for user in after(current):
            old, new = shape(current), shape(user)
            if old == new and user not in seen:
                seen.add(user)
                open_.append(user)
            elif old and new and _count(old) == _count(new) and len(new) > len(old):
                found = _joined(found, merged_of(new, old[-1]))
    return found

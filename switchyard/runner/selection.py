"""The cells that a run asks for, in the order of the plan, and which of them are ready."""

from __future__ import annotations

import itertools
from typing import Collection, Dict, Iterable, Iterator, List, Sequence, Set

from switchyard.runner.plan import Planned
from switchyard.vocabulary import Cell


class Selection:
    """``cells`` in the order of the plan; ``unasked`` are baselines that no item asks about, which
    have their rows all the same."""

    def __init__(self, cells: Sequence[Planned], unasked: Collection[Cell] = ()):
        self.cells: List[Planned] = list(cells)
        self.unasked = frozenset(unasked)
        self._place: Dict[Cell, int] = {one.cell: place for place, one in enumerate(cells)}
        self._ready: Set[Cell] = set()

    def __contains__(self, cell: Cell) -> bool:
        return cell in self._place

    def answered_before(self, cells: Iterable[Cell]) -> None:
        """They need nothing any more: a resumed run has their answers."""
        self._ready.update(cell for cell in cells if cell in self)

    def ahead(self, planned: Planned, least: int) -> List[Planned]:
        """The cells to make ready now, ``least`` of them and whole models, where this one is not
        ready; from now on they count as such, so that none is ever begun twice."""
        if planned.cell in self._ready:
            return []
        place = self._place[planned.cell]
        wanted: List[Planned] = []
        for one in self.cells[place:]:
            if len(wanted) >= least and one.cell.model != wanted[-1].cell.model:
                break
            if one.cell not in self._ready:
                wanted.append(one)
        # The baseline stands before its model's other cells, also where it was not selected.
        for one in self.cells[:place]:
            if one.native and one.cell.model == planned.cell.model and one.cell not in self._ready:
                wanted.insert(0, one)
        self._ready.update(one.cell for one in wanted)
        return wanted

    def ready_behind(self, planned: Planned) -> Iterator[Planned]:
        """The cells behind this one that are ready, in order, up to the first that is not."""
        behind = self.cells[self._place[planned.cell] + 1 :]
        return itertools.takewhile(lambda one: one.cell in self._ready, behind)

    def native_of(self, planned: Planned) -> Planned:
        """The native baseline of a cell's model, in its version set and precision."""
        return next(
            one for one in self.cells
            if one.native and one.cell.model == planned.cell.model
            and one.cell.version_set == planned.cell.version_set
            and one.cell.precision == planned.cell.precision
        )  # fmt: skip

    def in_order(self, some: Iterable[Planned]) -> List[Planned]:
        return sorted(some, key=lambda one: self._place[one.cell])

"""Which items of a run's cells are still to come, and whether those that came had their answer."""

from __future__ import annotations

import collections
from typing import Iterable, Set

import pytest

from switchyard.runner.expectations import AsExpected
from switchyard.vocabulary import Cell

#: What the answer to an item's question may raise. Any other exception is the runner's own (a
#: disk that is full), and says nothing of the cell.
ANSWERS = (AsExpected, AssertionError, pytest.fail.Exception, pytest.skip.Exception)


class Remaining:
    """``cells`` are those of the items that will run, each as often as it has one; these run one
    after the other."""

    def __init__(self, cells: Iterable[Cell]):
        self._items = collections.Counter(cells)
        self.total = sum(self._items.values())
        self._unanswered: Set[Cell] = set()
        self._asked = False

    def heard(self, cell: Cell, call: pytest.CallInfo) -> bool:
        """Take in how setup, call or teardown of an item of the cell's ended; whether none of its
        items is still to come."""
        if call.when == "setup":
            self._asked = False
        if call.excinfo is not None:
            self._asked = isinstance(call.excinfo.value, ANSWERS) and call.when != "teardown"
        elif call.when == "call":
            self._asked = True
        if call.when != "teardown":
            return False
        if not self._asked:  # or it was never called, as with --setup-only
            self._unanswered.add(cell)
        self._items[cell] -= 1
        return self._items[cell] == 0

    def answered(self, cell: Cell) -> bool:
        """Whether every item of the cell so far had its answer."""
        return cell not in self._unanswered

"""Who asks a model on the device of a run, and beside whom."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator, Optional

from switchyard.runner.gate import Gate
from switchyard.runner.nvml import Card

#: Of a card's memory, MiB, for each job that asks a model there beside others.
MIB_ON_A_CARD = 8192


def room(card: Optional[Card], jobs: int) -> int:
    """How many ask side by side: contexts must not be what fills a card, of which others may hold
    a part as the run begins."""
    if card is None:
        return jobs
    if card.exclusive:
        return 1
    free = card.memory_mib - (card.sample().used_mib or 0.0)
    return min(jobs, max(1, int(free // MIB_ON_A_CARD)))


class Turns:
    """Limits how many models are asked at once, on ``card`` or, without one, on the CPU."""

    def __init__(self, card: Optional[Card], jobs: int):
        self._free = threading.Semaphore(room(card, jobs))
        self._card = card
        self._gate = Gate()

    @contextlib.contextmanager
    def turn(self, tunes: bool) -> Iterator[None]:
        """One ask's: beside others, or alone on a card where the runtime ``tunes``: what others do
        there meanwhile would be in what it chose, or in its profile."""
        if tunes and self._card is not None:
            # It takes no turn of those for whose end it waits.
            with self._gate.alone():
                yield
        else:
            with self._free, self._gate.shared():
                yield

"""Warm-up: calls before those that count, until two bursts of them take alike long.

On the CPU that is soon so. A card's clocks rise while it is used and its libraries choose kernels
meanwhile, so that there it takes longer at the least, and may take longer at the most.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import List, Optional

from switchyard.runner.standby import MeasuredProcess

#: The share by which the medians of two bursts may differ that are alike.
ALIKE = 0.1

#: Calls of a burst at most, unless a budget has room for more that are so short.
BURST = 16


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long to warm up. ``least`` and ``most``: seconds; ``calls``: at most, None for any
    number; ``burst_seconds``: what a burst may grow to."""

    most: float
    least: float = 0.0
    calls: Optional[int] = None
    burst_seconds: float = 0.0


ON_CPU = Budget(most=0.25, calls=50)
ON_CARD = Budget(most=2.0, least=0.2, burst_seconds=0.05)

#: Calls before two bursts that are alike are believed.
FEWEST = 5


@dataclasses.dataclass(frozen=True)
class Warmth:
    """What a warm-up came to. ``typical``: seconds a call, by its last burst; ``calls``: how many
    it took; ``settled``: whether its last two bursts were alike, else its budget was spent."""

    typical: float
    calls: int
    settled: bool


def burst(process: MeasuredProcess, count: int) -> List[float]:
    """Seconds of each of ``count`` calls. Raises Ended."""
    return process.demand(do="burst", n=count)["durations_s"]


def warm(process: MeasuredProcess, first_seconds: float, budget: Budget) -> Warmth:
    """Call until two bursts are alike or the ``budget`` is spent; ``first_seconds`` is what the
    call before took. Raises Ended."""
    began, size, before, calls = time.monotonic(), 1, first_seconds, 0
    while True:
        typical = statistics.median(burst(process, size))
        calls += size
        spent = time.monotonic() - began
        settled = abs(typical - before) <= ALIKE * before
        enough = calls >= FEWEST and spent >= budget.least
        over = spent > budget.most or (budget.calls is not None and calls >= budget.calls)
        if (settled and enough) or over:
            return Warmth(typical, calls, settled)
        most = max(BURST, int(budget.burst_seconds / max(typical, 1e-7)))
        before, size = typical, min(size * 2, most)

"""Whether a cell became slower or faster, from every launch of both runs.

The decision, cell by cell; the first line that holds decides:

1. other hardware, or not known, or other ``--threads``          not comparable
2. torch eager itself: it is the yardstick                       not comparable
3. not timed on one side, or its samples were disturbed each
   time they were taken (``noisy``), or fewer than two launches,
   of the cell or of its model's torch eager, on either side     not comparable
4. the ratio to native changed by less than ``latency_ratio``    as before
5. the interval of the change holds "no change", or among all
   cells timed as much happens by chance (``discoveries``)       ambiguous
6. otherwise                                                     slower, or faster

Two version sets of one run took turns (``circumstances.in_turn``): there no yardstick is needed,
and torch eager is compared as any other, each cell by its own time, launch by launch (``rounds``).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from switchyard.compare import rounds, spread
from switchyard.compare.circumstances import in_turn
from switchyard.compare.intervals import contrast, discoveries
from switchyard.compare.pairing import Pairs, Table
from switchyard.compare.thresholds import Thresholds
from switchyard.tables import schema
from switchyard.vocabulary import NATIVE

if TYPE_CHECKING:
    import numpy

#: What a change may be of.
RATIO, TIME = "ratio to native", "time"

#: The standard deviation of log launch medians is never taken for less. Two live processes
#: that took turns agreed within 0.5 to 1.3% at best, so launches whose medians agree to the
#: last tick of the clock are luck or a coarse clock, and not certainty.
LEAST_SPREAD = 0.01

#: Cells of one contrast at a time, so that a million cells need no million temporaries.
CHUNK = 100_000


@dataclasses.dataclass(frozen=True)
class Timing:
    """For each pair: ``status`` is "" (neither was measured), ``not-comparable``, ``as-before``,
    ``ambiguous``, ``slower`` or ``faster``; ``why`` says why of the second and the fourth.

    ``change`` is what ``of`` names (``RATIO`` or ``TIME``) after over before, ``low`` and ``high``
    its interval; NaN where nothing was compared.
    """

    status: numpy.ndarray
    why: numpy.ndarray
    change: numpy.ndarray
    low: numpy.ndarray
    high: numpy.ndarray
    of: str


def compare_timing(
    before: Table,
    after: Table,
    pairs: Pairs,
    eligible: numpy.ndarray,
    hardware: Callable[[str], str],
    thresholds: Thresholds,
) -> Timing:
    """``eligible`` says which pairs pass on both sides; ``hardware`` of a device why its
    timings cannot stand side by side, or ""."""
    import numpy

    size = len(pairs.before)
    status = numpy.full(size, "", object)
    why = numpy.full(size, "", object)
    change, low, high = (numpy.full(size, math.nan) for _ in range(3))
    of = TIME if in_turn(before.about, after.about) else RATIO
    if not eligible.any():
        return Timing(status, why, change, low, high, of)
    sides = (("before", before, pairs.before), ("after", after, pairs.after))
    measured = {
        side: table.cells["latency_median_ms"].notna().to_numpy()[places]
        for side, table, places in sides
    }
    left = eligible & (measured["before"] | measured["after"])
    status[left] = "not-comparable"

    rows = after.cells.iloc[pairs.after]
    device, route = rows["device"].to_numpy(object), rows["route"].to_numpy(object)
    for one in set(device[left]):
        if reason := hardware(one):
            here = left & (device == one)
            why[here] = reason
            left &= ~here
    if of == RATIO:
        native = left & (route == NATIVE)
        why[native] = f"{NATIVE} is the yardstick of the others"
        left &= ~native
    for side, here in measured.items():
        why[left & ~here] = f"{side}: not timed"
        left &= here
    for side, table, positions in sides:
        for here, called in _noisy(table, positions, of):
            why[left & here] = f"{side}: the samples{called} were disturbed (noisy)"
            left &= ~here

    places = numpy.flatnonzero(left)
    if of == TIME:
        groups, reasons = rounds.groups(before, after, pairs, places, 2 * LEAST_SPREAD**2)
    else:
        groups, reasons = _groups(before, after, pairs, places)
    enough = reasons == ""
    why[places[~enough]] = reasons[~enough]
    places, groups = places[enough], groups[:, :, enough]
    p = numpy.ones(len(places))
    for start in range(0, len(places), CHUNK):
        part = slice(start, start + CHUNK)
        estimate, half, p[part] = contrast(
            _SIGNS[of], *groups[:, :, part], thresholds.latency_confidence
        )
        own = places[part]
        change[own], low[own], high[own] = (
            numpy.exp(estimate + sign * half) for sign in (0, -1, 1)
        )
    status[places] = statuses(
        numpy.log(change[places]), p, thresholds.latency_ratio, thresholds.latency_confidence
    )
    unsure = places[status[places] == "ambiguous"]
    apart = (low[unsure] > 1) | (high[unsure] < 1)
    why[unsure] = _OVERLAP[of]
    why[unsure[apart]] = f"among {len(places)} cells as much happens by chance"
    return Timing(status, why, change, low, high, of)


def _noisy(
    table: Table, positions: numpy.ndarray, of: str
) -> Iterator[tuple[numpy.ndarray, str]]:
    """Which pairs a card or another process on it disturbed on one side, the cell's own samples
    or, where its time is divided by them, torch eager's; and what to call these."""
    noisy = table.cells["measure_kind"].eq("noisy").to_numpy(bool)
    yield noisy[positions], ""
    if of == RATIO and noisy.any():
        by = [name for name in schema.KEY if name != "route"]
        native = table.cells.loc[noisy & table.cells["route"].eq(NATIVE).to_numpy(bool), by]
        asked = table.cells[by].iloc[positions]
        found = asked.merge(native.assign(noisy=True), on=by, how="left")["noisy"]
        yield found.eq(True).to_numpy(bool), f" of {NATIVE}"


def statuses(
    log_change: numpy.ndarray, p: numpy.ndarray, ratio: float, confidence: float
) -> numpy.ndarray:
    """``as-before`` below ``ratio``; beyond it ``slower`` or ``faster`` where that is no chance
    among all that are asked together, else ``ambiguous``."""
    import numpy

    chosen = discoveries(p, 1 - confidence)
    beyond = numpy.abs(log_change) >= math.log(ratio)
    status = numpy.full(len(p), "as-before", object)
    status[beyond] = "ambiguous"
    status[beyond & chosen & (log_change > 0)] = "slower"
    status[beyond & chosen & (log_change < 0)] = "faster"
    return status


_OVERLAP = {RATIO: "the launches of both runs overlap", TIME: "the launches disagree"}

#: Of the groups of ``_groups`` and of ``rounds.groups``.
_SIGNS = {RATIO: (1, -1, -1, 1), TIME: (1,)}


def _groups(
    before: Table, after: Table, pairs: Pairs, places: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """``spread.NAMES`` of log launch medians, with the shape (4, 4, cells), and why a cell has not
    enough of them. Groups: after cell and native, before cell and native.
    """
    import numpy

    groups = numpy.zeros((len(spread.NAMES), 4, len(places)))
    reasons = numpy.full(len(places), "", object)
    sides = (("after", after, pairs.after, 0), ("before", before, pairs.before, 2))
    for side, table, positions, first in sides:
        if table.launches is None:
            alike = before.why_no_launches == after.why_no_launches
            said = table.why_no_launches if alike else f"{side}: {table.why_no_launches}"
            reasons[reasons == ""] = said
            continue
        own = spread.of_groups(spread.logs(table.launches), list(schema.KEY), LEAST_SPREAD**2)
        keys = table.cells[list(schema.KEY)].iloc[positions[places]].reset_index(drop=True)
        for offset, called in ((0, ""), (1, f" of {NATIVE}")):
            if offset:
                keys["route"] = NATIVE
            found = keys.merge(own, on=list(schema.KEY), how="left")
            for row, name in enumerate(spread.NAMES):
                groups[row, first + offset] = found[name].fillna(0).to_numpy()
            count = groups[0, first + offset]
            few = (count < 2) & (reasons == "")
            reasons[few & (count == 1)] = f"{side}: a single launch{called} has no spread"
            reasons[few & (count < 1)] = f"{side}: no launch{called}"
    return groups, reasons


def native_drift(before: Table, after: Table, hardware: Callable[[str], str]) -> dict | None:
    """How torch eager itself moved: geometric mean over models of its latency after over
    before, with the number of models; None where hardware or tables do not allow it.

    Paired by device, precision and model (and version set where that is one and the same).
    A whole machine that was busier shows here, as does a torch that became slower; either
    is divided out of every route's ratio.
    """
    import numpy

    from switchyard.compare.pairing import key_columns

    by = [name for name in key_columns(before.sets, after.sets) if name != "route"]
    sides = [
        table.cells.loc[table.cells["route"] == NATIVE, [*by, "latency_median_ms"]]
        for table in (before, after)
    ]
    both = sides[0].merge(sides[1], on=by, suffixes=("_before", "_after"))
    same = [device for device in both["device"].unique() if not hardware(device)]
    both = both[both["device"].isin(same)]
    ratio = (both["latency_median_ms_after"] / both["latency_median_ms_before"]).to_numpy()
    ratio = ratio[numpy.isfinite(ratio) & (ratio > 0)]
    if not len(ratio):
        return None
    return {"ratio": float(numpy.exp(numpy.log(ratio).mean())), "models": len(ratio)}

"""Numbers from numbers, and rates from rows. No I/O, no framework.

Every function says what it assumes; none of them guesses for an empty sample. Rows are
dicts with the columns of ``switchyard.tables.schema``.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist
from typing import Any, Iterable, Mapping, Sequence

from switchyard.vocabulary import PASSING, UNCOUNTED, is_mistake

Row = Mapping[str, Any]

#: Fewest samples that a 99% quantile is reported from; see ``p99_allowed``.
P99_SAMPLES = 662


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval for a proportion, as two shares between 0 and 1.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22
    (1927). Assumes independent trials of one probability. Models of a zoo are chosen, not
    drawn, so the interval says how far a rate over that many models carries, not more. It
    stays inside 0 to 1, and has a width at 0 and at all successes, where the usual normal
    interval has none. Without trials nothing is known: (0, 1).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes of {trials} trials")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # at the ends the bound is 0 or 1 exactly, and rounding must not say otherwise
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def quantile(values: Iterable[float], q: float) -> float:
    """The ``q`` quantile by linear interpolation between order statistics.

    Type 7 of Hyndman and Fan, "Sample quantiles in statistical packages", The American
    Statistician 50 (1996); numpy's default. Raises ValueError for no values or a NaN.
    """
    if not 0 <= q <= 1:
        raise ValueError(f"quantile {q} is not between 0 and 1")
    ordered = sorted(values)
    if not ordered:
        raise ValueError("no values to take a quantile of")
    if any(math.isnan(value) for value in ordered):
        raise ValueError("a NaN among the values has no place in their order")
    position = q * (len(ordered) - 1)
    below = math.floor(position)
    fraction = position - below
    if fraction == 0:
        return float(ordered[below])
    return ordered[below] + fraction * (ordered[below + 1] - ordered[below])


def median(values: Iterable[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    return quantile(values, 0.5)


def samples_for_upper_bound(q: float, confidence: float, from_top: int) -> int:
    """Fewest samples whose ``from_top``-th largest bounds the ``q`` quantile from above.

    Nonparametric (Wilks, "Determination of sample sizes for setting tolerance limits",
    Annals of Mathematical Statistics 12, 1941): that order statistic lies above the
    quantile with the given confidence unless fewer than ``from_top`` of n samples do, so
    the binomial tail P(X < from_top), X ~ B(n, 1 - q), must not exceed 1 - confidence.
    Assumes independent samples of one continuous distribution; successive timings are
    correlated, so for them the number is a floor.
    """
    n = from_top
    while _fewer_than(from_top, n, 1 - q) > 1 - confidence:
        n += 1
    return n


def _fewer_than(count: int, n: int, p: float) -> float:
    return sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(count))


def p99_allowed(n: int) -> bool:
    """Whether ``n`` samples may carry a 99% quantile: from 662 up.

    662 = ``samples_for_upper_bound(0.99, 0.99, from_top=2)``: the fewest for which the
    second largest sample is above the true 99% quantile with 99% confidence. So the
    quantile is bracketed by what was seen even after the one largest, which on a shared
    machine is often an accident, is set aside. It is also the fewest for which smallest
    and largest together enclose 99% of the distribution with 99% confidence. (At 95%
    confidence the numbers are 299 for the largest and 473 for the second largest.)
    """
    return n >= P99_SAMPLES


def p99(values: Sequence[float]) -> float | None:
    """The 99% quantile, or None below ``P99_SAMPLES`` values."""
    return quantile(values, 0.99) if p99_allowed(len(values)) else None


def geometric_mean(ratios: Iterable[float]) -> float:
    """The mean of ratios: twice as fast and twice as slow cancel out.

    Fleming and Wallace, "How not to lie with statistics", CACM 29 (1986). Raises
    ValueError for no ratios and for any that is not positive and finite.
    """
    logs = []
    for ratio in ratios:
        if not (ratio > 0 and math.isfinite(ratio)):
            raise ValueError(f"ratio {ratio} is not positive and finite")
        logs.append(math.log(ratio))
    if not logs:
        raise ValueError("no ratios to take a mean of")
    return math.exp(math.fsum(logs) / len(logs))


def is_timed(row: Row) -> bool:
    """Whether a cell's latency may be judged: launch medians of identical code spread by 18 to 41%
    on a shared machine, so that one launch says nothing."""
    return (row.get("launches") or 0) > 1


def is_counted(row: Row) -> bool:
    """Whether the cell counts for or against its route: finished, judged, neither ``unavailable``
    nor ``void``, no mistake on purpose, and not stopped at ``preprocess``, where no converter has
    been asked. A row without a state is taken as finished."""
    if is_mistake(row.get("hops")):
        return False
    verdict = row.get("verdict")
    if row.get("stage") == "preprocess":
        return False
    return (row.get("state") or "done") == "done" and bool(verdict) and verdict not in UNCOUNTED


def without_casts(rows: Iterable[Row]) -> list[Row]:
    """The rows without those of models that were cast, and of TF32, where the model itself stands
    among them: in float32."""
    rows = list(rows)
    own = {(r.get("version_set"), r["model"]) for r in rows if r.get("precision") == "float32"}
    return [
        row for row in rows
        if row.get("precision") == "float32" or (row.get("version_set"), row["model"]) not in own
    ]  # fmt: skip


def in_own_precision(rows: Iterable[Row]) -> list[Row]:
    """``without_casts``, and of what was only ever cast the first precision that it was cast to:
    else one model would count several times over."""
    rows = without_casts(rows)
    own: dict[tuple, Any] = {}
    for row in rows:
        own.setdefault((row.get("version_set"), row["model"]), row.get("precision"))
    return [r for r in rows if r.get("precision") == own[r.get("version_set"), r["model"]]]


def route_order(rows: Sequence[Row]) -> list[str]:
    """Routes as planned: as the model with the most of them has them, then the others'.

    Plain first appearance would put a route last that the first model happens to lack.
    """
    routes_of: dict[str, list[str]] = {}
    for row in rows:
        routes_of.setdefault(row["model"], []).append(row["route"])
    fullest_first = sorted(routes_of.values(), key=len, reverse=True)
    return list(dict.fromkeys(route for routes in fullest_first for route in routes))


@dataclasses.dataclass(frozen=True)
class RouteRate:
    """What a route achieved in one ``group``: version set, device and precision as a rule.

    ``attempted`` are the judged cells that count: ``unavailable`` and ``void`` stand
    neither for nor against a route. ``planned`` are all its cells, those two and the
    unfinished ones included: of what was asked for, how much came through.
    ``convert_median_s`` is over routes that passed, as is ``ratio_to_native`` (geometric
    mean; None where nothing was measured).
    """

    group: tuple[str, ...]
    route: str
    passed: int
    attempted: int
    planned: int
    convert_median_s: float | None
    ratio_to_native: float | None

    @property
    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the success rate, as shares."""
        return wilson_interval(self.passed, self.attempted)


def rates(
    rows: Sequence[Row], by: Sequence[str] = ("version_set", "device", "precision")
) -> list[RouteRate]:
    """The rate of every route, group by group (the columns ``by``), in the order planned; a
    mistake on purpose is no route that anybody would take."""
    found: dict[tuple, dict[str, list[Row]]] = {}
    rows = [row for row in rows if not is_mistake(row.get("hops"))]
    for row in rows:
        group = tuple(row[name] for name in by)
        found.setdefault(group, {}).setdefault(row["route"], []).append(row)
    order = route_order(rows)
    return [
        _rate(group, route, found[group][route])
        for group in found
        for route in order
        if route in found[group]
    ]


def _rate(group: tuple[str, ...], route: str, rows: Sequence[Row]) -> RouteRate:
    judged = [r for r in rows if is_counted(r)]
    passed = [r for r in judged if r["verdict"] in PASSING]
    seconds = [r["convert_seconds"] for r in passed if r.get("convert_seconds") is not None]
    ratios = [r["ratio_to_native"] for r in passed if r.get("ratio_to_native")]
    return RouteRate(
        group=group,
        route=route,
        passed=len(passed),
        attempted=len(judged),
        planned=len(rows),
        convert_median_s=median(seconds) if seconds else None,
        ratio_to_native=geometric_mean(ratios) if ratios else None,
    )

"""From what a run learnt of a cell to the columns of its row: pure, no process."""

from __future__ import annotations

import math
import statistics as stdlib_statistics
from typing import Any, Dict, List, Mapping, Optional, Sequence

from switchyard.compare import statistics
from switchyard.runner.expectations import Expectations
from switchyard.runner.launches import Launch
from switchyard.vocabulary import PASSING, Cell, Outcome


def outcome_columns(outcome: Outcome) -> Dict[str, Optional[str]]:
    """Stage, kind, verdict and the error; what is empty is not there."""
    return {
        name: getattr(outcome, name) or None
        for name in ("stage", "verdict", "kind", "operator", "message", "signature")
    }


def expectation_columns(table: Expectations, cell: Cell, outcome: Outcome) -> Dict[str, str]:
    """How the outcome stands to what was recorded of the cell."""
    if not table.exists:
        return {"expected": "no-expectation"}
    wanted = table.of(cell)
    passing = outcome.verdict in PASSING
    if wanted is None:
        return {"expected": "as-expected" if passing else "new"}
    if wanted.met_by(outcome):
        met = "as-expected"
    else:
        met = "fixed" if passing else "changed"
    return {
        "expected": met,
        "expected_outcome": f"{wanted.stage} {wanted.kind} {wanted.verdict}",
        "expected_reason": wanted.reason,
    }


def finite(fields: Mapping[str, Any]) -> Dict[str, Any]:
    """JSON has no infinity: an error that overflowed is empty, and its kind says why."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in fields.items()
        if value != ""
    }


def latency_columns(launches: Sequence[Launch]) -> Dict[str, Any]:
    """Latency in ms over all launches, or ``measure_kind`` where one failed.

    The median is that of the launches' medians, since calls within one launch are not
    independent of each other; p99 is there only from 662 samples up.
    """
    failed = next((one.outcome for one in launches if one.outcome is not None), None)
    if failed is not None:
        return {"measure_kind": failed.kind, "measure_message": failed.message}
    every = sorted(duration * 1e3 for one in launches for duration in one.durations)
    busy = [one.cores_busy for one in launches if one.cores_busy is not None]
    medians = [stdlib_statistics.median(one.durations) * 1e3 for one in launches]
    return {
        "latency_median_ms": stdlib_statistics.median(medians),
        "latency_p10_ms": statistics.quantile(every, 0.1),
        "latency_p90_ms": statistics.quantile(every, 0.9),
        "latency_p99_ms": statistics.p99(every),
        "latency_min_ms": every[0],
        "latency_samples": len(every),
        "cores_busy": stdlib_statistics.median(busy) if busy else None,
        "launches": len(launches),
    }


def memory_columns(launches: List[Launch]) -> Dict[str, Optional[float]]:
    """Memory in MiB, the median over launches.

    ``import`` is the runtime's own cost over a bare interpreter, ``model`` what loading and
    running this model adds to it. ``data`` is without the pages of program files. These
    are known only at the points and not at the peak, and they only accumulate: the first point
    after the peak subtracts the fewest, so the largest difference is the closest.
    """
    good = [one.memory for one in launches if one.outcome is None]
    if not good:
        return {}

    def middle(pick) -> Optional[float]:
        present = [value for value in map(pick, good) if value is not None]
        return stdlib_statistics.median(present) if present else None

    def data(point) -> float:
        return point["rss_mib"] - point["program_mib"]

    return {
        "memory_import_mib": middle(lambda m: m["import"]["rss_mib"] - m["start"]["rss_mib"]),
        "memory_model_mib": middle(lambda m: m["after_runs"]["rss_mib"] - m["import"]["rss_mib"]),
        "memory_peak_mib": middle(lambda m: m["after_runs"]["peak_mib"]),
        "memory_steady_mib": middle(lambda m: m["after_runs"]["rss_mib"]),
        "memory_model_data_mib": middle(lambda m: data(m["after_runs"]) - data(m["import"])),
        "memory_peak_data_mib": middle(
            lambda m: max(
                (point["peak_mib"] - point["program_mib"] for point in m.values()
                 if point["peak_mib"] is not None),
                default=None,
            )
        ),
        "heap_free_mib": middle(lambda m: m["after_runs"]["heap_free_mib"]),
    }

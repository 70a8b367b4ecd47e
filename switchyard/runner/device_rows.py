"""From what launches learnt of a CUDA device to the columns of a row: pure, no process."""

from __future__ import annotations

import statistics
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from switchyard.runner.launches import Launch
from switchyard.runner.on_device import OnDevice

#: Column -> (points, figure): of the first point that has it, the median over launches. External
#: fragmentation is read after the varied shapes, which are what tears free memory to pieces, where
#: the model has other sizes.
_MEMORY = {
    "gpu_allocated_mib": (("after_runs",), "allocated_mib"),
    "gpu_reserved_mib": (("after_runs",), "reserved_mib"),
    "gpu_requested_mib": (("after_runs",), "requested_mib"),
    "gpu_peak_mib": (("after_runs",), "peak_mib"),
    "gpu_process_mib": (("after_runs",), "process_mib"),
    "gpu_used_mib": (("after_runs",), "used_mib"),
    "gpu_slack": (("after_runs",), "slack"),
    "gpu_internal_fragmentation": (("after_runs",), "internal_fragmentation"),
    "gpu_external_fragmentation": (("varied", "after_runs"), "external_fragmentation"),
    "gpu_kept_mib": (("released",), "allocated_mib"),
}

#: By a figure's ending.
_UNITS = {"_mib": "MiB", "_bytes": "bytes"}


def unit_of(name: str) -> str:
    """The unit that a figure's name ends in; none for a ratio or a count."""
    return next((unit for ending, unit in _UNITS.items() if name.endswith(ending)), "")


def device_columns(launches: Sequence[Launch]) -> Dict[str, Any]:
    """The columns of the device; none at all for launches on the CPU, and of those that failed
    what they left on the card. ``measure_kind`` is what
    broke down behind some launch's sample set, which costs the later figures, else ``noisy`` where
    every retake of a sample set was disturbed as well."""
    good = [one.device for one in launches if one.device is not None and one.outcome is None]
    left = [one.left_on_card for one in launches if one.left_on_card]
    if not good:
        return {"gpu_message": "; ".join(dict.fromkeys(left))} if left else {}
    found: Dict[str, Any] = {
        column: _middle(good, lambda one, at=at: _at(one, *at)) for column, at in _MEMORY.items()
    }
    for series, column in (("device", "latency_device_median_ms"),
                           ("from_host", "latency_from_host_median_ms"),
                           ("graph", "latency_graph_median_ms")):  # fmt: skip
        found[column] = _middle(good, lambda one, series=series: _median_ms(one, series))
    for clock in ("sm_clock_mhz", "mem_clock_mhz"):
        found[clock] = _middle(good, lambda one, clock=clock: getattr(one.sample, clock))
    found["gpu_temperature"] = _middle(good, lambda one: one.sample.temperature_c)
    found["gpu_leak_bytes"] = _middle(good, lambda one: one.leak_bytes)
    reasons = dict.fromkeys(name for one in good for name in one.throttle)
    found["gpu_throttle"] = ">".join(reasons)
    counted = [one.foreign for one in good if one.foreign is not None]
    found["gpu_foreign_processes"] = max(counted) if counted else None
    found["gpu_samples_retaken"] = sum(one.retaken for one in good)
    messages = dict.fromkeys([*(words for one in good for words in one.messages), *left])
    found["gpu_message"] = "; ".join(messages)
    noisy = next((one.noisy for one in good if one.noisy), "")
    broke = next((one.broke for one in good if one.broke), ())
    if broke:
        found["measure_kind"], found["measure_message"] = broke
    elif noisy:
        found["measure_kind"] = "noisy"
        found["measure_message"] = f"also when it was taken again: {noisy}"
    return found


def _at(one: OnDevice, points: Tuple[str, ...], name: str) -> Optional[float]:
    said = (one.memory.get(point, {}).get(name) for point in points)
    return next((value for value in said if value is not None), None)


def _median_ms(one: OnDevice, series: str) -> Optional[float]:
    durations = one.series.get(series)
    return statistics.median(durations) * 1e3 if durations else None


def _middle(good: List[OnDevice], pick: Callable[[OnDevice], Optional[float]]) -> Optional[float]:
    present = [value for value in map(pick, good) if value is not None]
    return statistics.median(present) if present else None

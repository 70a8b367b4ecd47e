"""How large a difference must be before it is said."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from switchyard.vocabulary import UnknownName


@dataclasses.dataclass(frozen=True)
class Thresholds:
    """The defaults, each with where it comes from. ``from_mapping`` reads a file's.

    accuracy_factor, accuracy_floor: an error that grew or shrank by the factor counts where
    the larger one is above the floor; below it both are rounding.
    latency_ratio: the change of ``ratio_to_native`` that matters, or of the time itself where
    two sets took turns in one run. Models of 10 to 25 microseconds have two modes between
    processes, 24 to 30% apart, whatever the code.
    route_latency_ratio: the change of a route's geometric mean over its models that matters.
    latency_confidence: of the intervals shown; its complement is the share of chance, at most, that
    is meant to be among all cells told from no change (see ``intervals.discoveries``). Those of
    them whose estimate is beyond ``latency_ratio`` are called slower or faster.
    memory_ratio, memory_mib: both must be exceeded. Two routes to the same graph hold the
    same memory within 5% and 0.6 MiB over 109 models.
    """

    accuracy_factor: float = 10.0
    accuracy_floor: float = 1e-9
    latency_ratio: float = 1.25
    route_latency_ratio: float = 1.1
    latency_confidence: float = 0.95
    memory_ratio: float = 1.1
    memory_mib: float = 4.0

    def __post_init__(self):
        for name, value in dataclasses.asdict(self).items():
            low, high = _RANGES[name]
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not low < value < high:
                raise ValueError(f"{name} is a number between {low:g} and {high:g}, not {value!r}")

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Thresholds:
        """Raises UnknownName for a threshold nobody knows, ValueError for a bad value."""
        known = [field.name for field in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                raise UnknownName("threshold", name, known)
        return cls(**given)


_INFINITY = float("inf")
_RANGES = {
    "accuracy_factor": (1, _INFINITY),
    "accuracy_floor": (0, _INFINITY),
    "latency_ratio": (1, _INFINITY),
    "route_latency_ratio": (1, _INFINITY),
    "latency_confidence": (0, 1),
    "memory_ratio": (1, _INFINITY),
    "memory_mib": (0, _INFINITY),
}

"""The source document's four methods beside what a table measured of them. Pure: rows in, a
Markdown table out.

The document (`PyTorch to TensorFlow Model Conversion: AI-Optimized Technical Reference`) gives each
method one success rate; a method here is the routes that are it, and every other road to
TensorFlow stands below.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Mapping, Sequence

from switchyard.compare import statistics
from switchyard.compare.bands import deciding_error
from switchyard.compare.document.names import name
from switchyard.vocabulary import PASSING, is_mistake

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Method:
    """``said`` is the document's success rate, as a share; None where it gives none."""

    name: str
    said: float | None
    routes: tuple[str, ...]


METHODS = (
    Method("ONNX export", 0.7, ("dynamo-ort", "torchscript-ort")),
    Method("Manual recreation", 1.0, ("manual-tf",)),
    Method("Weight transfer", 0.6, ("weight-transfer-tf",)),
    Method("Hybrid deployment", 1.0, ("hybrid-tf",)),
)

#: Runtimes of TensorFlow's own formats.
_ENDS = ("-tf", "-litert")


@dataclasses.dataclass(frozen=True)
class Measured:
    """One route: its rate, the seconds its conversions take, its errors.

    ``seconds`` are (median, largest) over the cells that passed. ``worst_passing`` is the largest
    error (``bands.deciding_error``) of a cell that passed, ``worst`` that of any that answered
    in the right shape; both None where there is none.
    """

    route: str
    passed: int
    attempted: int
    seconds: tuple[float, float] | None
    worst_passing: float | None
    worst: float | None


def _largest(rows: Iterable[Row]) -> float | None:
    """Of the errors that were measured: of models that draw at random, none is."""
    errors = (deciding_error(row) for row in rows)
    return max((error for error in errors if error is not None), default=None)


def measured(rows: Iterable[Row], route: str) -> Measured:
    own = [row for row in rows if row["route"] == route and statistics.is_counted(row)]
    passed = [row for row in own if row["verdict"] in PASSING]
    seconds = [row["convert_seconds"] for row in passed if row.get("convert_seconds") is not None]
    return Measured(
        route,
        len(passed),
        len(own),
        (statistics.median(seconds), max(seconds)) if seconds else None,
        _largest(passed),
        _largest(own),
    )


def markdown_lines(rows: Sequence[Row]) -> list[str]:
    """The methods in the document's order, then what else arrives in TensorFlow. A model counts
    once, in its own precision."""
    rows = statistics.in_own_precision(rows)
    lines = [
        "| method | the document | route | passed | rate, 95% interval | seconds, median (most) "
        "| worst error of what passed | of what answered |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    told: set[str] = set()
    for method in METHODS:
        said = f"{100 * method.said:.0f}%"
        for route in method.routes:
            lines.append(f"| {method.name} | {said} | {_cells(measured(rows, route))} |")
            told.add(route)
    honest = [row for row in rows if not is_mistake(row.get("hops"))]
    for route in statistics.route_order(honest):
        if route.endswith(_ENDS) and route not in told:
            lines.append(f"| other | | {_cells(measured(rows, route))} |")
    return lines


def _cells(one: Measured) -> str:
    if not one.attempted:
        return f"{name(one.route)} | not attempted | | | | "
    low, high = statistics.wilson_interval(one.passed, one.attempted)
    seconds = "" if one.seconds is None else f"{one.seconds[0]:.1f} ({one.seconds[1]:.0f})"
    errors = ("" if e is None else f"{e:.1e}" for e in (one.worst_passing, one.worst))
    return " | ".join((
        name(one.route),
        f"{one.passed} of {one.attempted}",
        f"{100 * one.passed / one.attempted:.0f}%, {100 * low:.0f} to {100 * high:.0f}%",
        seconds,
        *errors,
    ))  # fmt: skip

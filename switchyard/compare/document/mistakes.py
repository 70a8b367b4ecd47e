"""What each mistake made on purpose with the mode or with BatchNorm costs, as a Markdown table.
Pure: rows in, lines out."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from switchyard.compare import statistics
from switchyard.compare.as_markdown import text
from switchyard.compare.document.names import name
from switchyard.vocabulary import is_mistake

Row = Mapping[str, Any]

#: The route of a mistake -> how one says it; one without an entry is told by its name alone.
SAID = {
    "torchscript_left_in_train-ort": "left in train mode, TorchScript",
    "dynamo_left_in_train-ort": "left in train mode, dynamo",
    "torchscript_preserve_train-ort": "`TrainingMode.PRESERVE`, left in train mode",
    "torchscript_training-ort": "`TrainingMode.TRAINING`",
    "traced_in_train-ort": "traced in train mode",
    "manual_default_eps-tf": "Keras's epsilon",
    "manual_default_momentum-tf": "Keras's momentum",
    "manual_copied_momentum-tf": "torch's momentum copied",
    "manual_statistics_forgotten-tf": "running statistics forgotten",
    "manual_statistics_swapped-tf": "mean and variance swapped",
}


def markdown_lines(rows: Sequence[Row]) -> list[str]:
    """A line a mistake and model: right answers in batches of 64 and of 1 beside torch's own, the
    mean squared errors of the probes, of a batch of 1 and of 64, and of every batch of the test
    split (their mean, and the worst), and what the export changed in the source model. A model
    without a task has no such shares."""
    lines = [
        "| mistake | route | model | right in batches of 64, of 1 (torch) | mse of the probes "
        "| at batch 1, 64 | full split: mean, worst | changed in the source model |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    made = [row for row in statistics.in_own_precision(rows) if is_mistake(row.get("hops"))]
    for route in sorted(statistics.route_order(made), key=_place):
        lines += [_line(row) for row in made if row["route"] == route]
    return lines


def _place(route: str) -> int:
    known = list(SAID)
    return known.index(route) if route in known else len(known)


def _line(row: Row) -> str:
    error = _number(row.get("mse"))
    return "| " + " | ".join((
        SAID.get(row["route"], ""),
        name(row["route"]),
        name(row["model"]),
        _shares(row),
        error or text(row.get("kind") or row.get("verdict") or ""),
        _pair(row, "batch1_mse", "batch64_mse"),
        _pair(row, "split_mse_mean", "split_mse_worst"),
        text(row.get("source_changed") or ""),
    )) + " |"  # fmt: skip


def _shares(row: Row) -> str:
    by_64, by_1 = row.get("batch64_accuracy"), row.get("batch1_accuracy")
    native = row.get("task_accuracy_native")
    if by_64 is None or by_1 is None or native is None:
        return ""
    return f"{100 * by_64:.1f}%, {100 * by_1:.1f}% ({100 * native:.1f}%)"


def _pair(row: Row, *columns: str) -> str:
    values = [row.get(column) for column in columns]
    return ", ".join(_number(value) for value in values if value is not None)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.1e}"

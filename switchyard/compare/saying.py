"""One cell's verdict in a line of words and figures, for every report alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from switchyard.compare.verdicts import FINDINGS, MEMORY, SIZES
from switchyard.tables import schema
from switchyard.vocabulary import PASSING

Row = Mapping[str, Any]

#: What a heading says of a number of cells.
TITLES = {
    "broke": "passing before, and not now",
    "gone": "there before, and missing or not finished now",
    "changed-failure": "failing before and now, each time otherwise",
    "less-accurate": "less accurate, or at its own size alone",
    "slower": "slower",
    "more-memory": "more memory",
    "fixed": "not passing before, and passing now",
    "more-accurate": "more accurate, or at another size too",
    "faster": "faster",
    "less-memory": "less memory",
    "new": "planned only now",
    "not-comparable": "not comparable",
    "same": "the same",
}


def outcome(row: Row, side: str) -> str:
    """``excellent``, or where and why it stopped: ``convert:dynamo crash failed``."""
    state = row[f"{side}_state"]
    if state != "done":
        return {"": "not planned", "planned": "not run"}.get(state, "interrupted")
    verdict = row[f"{side}_verdict"]
    if verdict in PASSING:
        return verdict
    parts = [row[f"{side}_{part}"] for part in ("stage", "kind", "verdict")]
    return " ".join(filter(None, parts)) or "not judged"


def number(value: float, unit: str = "") -> str:
    """Three digits; "unknown" for what was not measured."""
    if _unknown(value):
        return "unknown"
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{text} {unit}".rstrip()


def _unknown(value: float) -> bool:
    return value is None or math.isnan(value)


def figures(row: Row, arrow: str = " → ") -> str:
    """What changed, with the figures of every finding, the verdict's own first."""
    verdict = row["verdict"]
    if verdict == "not-comparable":
        return row["reason"]
    if verdict in ("new", "gone"):
        said = outcome(row, "after" if verdict == "new" else "before")
        return f"{said}, {row['reason']}" if row["reason"] else said
    if verdict in ("broke", "fixed", "changed-failure"):
        was, now = outcome(row, "before"), outcome(row, "after")
        return f"{was}{arrow}{now}" if was != now else f"{now}, another error"
    found = [name for name in FINDINGS if row[name]]
    found.sort(key=lambda name: name != verdict)
    return "; ".join(_finding(row, name, arrow) for name in found)


def _finding(row: Row, name: str, arrow: str) -> str:
    if name.endswith("accurate"):
        text = f"error {number(row['before_error'])}{arrow}{number(row['after_error'])}"
        if row["before_verdict"] != row["after_verdict"]:
            text += f" ({row['before_verdict']}{arrow}{row['after_verdict']})"
        was, now = row["before_dynamic"], row["after_dynamic"]
        if was in SIZES and now in SIZES and was != now:
            text += f", another size {was}{arrow}{now}"
        return text
    if name in ("slower", "faster"):
        return _change(row)
    parts = []
    for column, called in MEMORY.items():
        was, now = row[f"before_{column}"], row[f"after_{column}"]
        if column.startswith("gpu_") and (_unknown(was) or _unknown(now)):
            continue
        parts.append(f"{called} {number(was)}{arrow}{number(now, 'MiB')}")
    return ", ".join(parts)


def _change(row: Row) -> str:
    change, low, high = (row[name] for name in ("change", "change_low", "change_high"))
    if _unknown(change):
        return "not timed"
    return f"{number(change)} times the {row['change_of']} ({number(low)} to {number(high)})"


def error_line(row: Row) -> str:
    """The first line of the error that the cell has now (had, where it is fixed or gone)."""
    side = "before" if row["verdict"] in ("fixed", "gone") else "after"
    return schema.one_line(row[f"{side}_message"] or "")

"""One cell's verdict in a line of words and figures, for every report alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from switchyard.compare.verdicts import FINDINGS, MEASURED, MEMORY, SIZES
from switchyard.tables import schema
from switchyard.vocabulary import PASSING

Row = Mapping[str, Any]

#: What a heading says of a number of cells.
TITLES = {
    "broke": "passing before, and not now",
    "gone": "there before, and missing, not finished or without a usable reference now",
    "changed-failure": "failing before and now, each time otherwise",
    "less-accurate": "less accurate, or at its own size alone",
    "onto-cpu": "in part on the CPU, and not before",
    "slower": "slower",
    "more-memory": "more memory",
    "fixed": "not passing before, and passing now",
    "more-accurate": "more accurate, or at another size too",
    "off-cpu": "no longer in part on the CPU",
    "faster": "faster",
    "less-memory": "less memory",
    "new": "planned only now",
    "not-comparable": "not comparable",
    "same": "the same",
}


#: From how many cores on it is said that calls kept more of them busy, or fewer: then a pool of
#: threads has another size, or is not used.
OTHER_CORES = 0.3


def outcome(row: Row, side: str) -> str:
    """``excellent``, or where and why it stopped: ``convert:dynamo crash failed``; of what passed
    and could not be measured both: ``excellent, measure timeout``."""
    state = row[f"{side}_state"]
    if state != "done":
        return {"": "not planned", "planned": "not run"}.get(state, "interrupted")
    verdict = row[f"{side}_verdict"]
    if verdict in PASSING:
        kind = row[f"{side}_measure_kind"]
        return verdict if kind in MEASURED else f"{verdict}, measure {kind}"
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
        said = f"{said}, {row['reason']}" if row["reason"] else said
        why = row["after_message"] if row["after_verdict"] == "void" else ""
        return f"{said}: {schema.one_line(why)}" if verdict == "gone" and why else said
    found = [name for name in FINDINGS if row[name]]
    found.sort(key=lambda name: name != verdict)
    said = [_finding(row, name, arrow) for name in found]
    if verdict in ("broke", "fixed", "changed-failure"):
        was, now = outcome(row, "before"), outcome(row, "after")
        said.insert(0, f"{was}{arrow}{now}" if was != now else f"{now}, another error")
    return "; ".join(said)


def _finding(row: Row, name: str, arrow: str) -> str:
    if name.endswith("accurate"):
        text = f"error {number(row['before_error'])}{arrow}{number(row['after_error'])}"
        if row["before_verdict"] != row["after_verdict"]:
            text += f" ({row['before_verdict']}{arrow}{row['after_verdict']})"
            # Of equal errors the band alone would say nothing of why.
            if row["after_message"] and row["after_verdict"] != "excellent":
                text += f": {row['after_message']}"
        was, now = row["before_dynamic"], row["after_dynamic"]
        why = row["after_dynamic_message"]
        if was in SIZES and was != now and (now in SIZES or why):
            text += f", another size {was}{arrow}{now or 'not known'}"
            if why:
                text += f" ({why})"
        return text
    if name in ("slower", "faster"):
        return _change(row, arrow)
    if name == "onto-cpu":
        return row["after_placement_message"] or row["after_placement_kind"]
    if name == "off-cpu":
        return f"before {row['before_placement_message'] or row['before_placement_kind']}"
    parts = []
    for column, called in MEMORY.items():
        was, now = row[f"before_{column}"], row[f"after_{column}"]
        if column.startswith("gpu_") and (_unknown(was) or _unknown(now)):
            continue
        parts.append(f"{called} {number(was)}{arrow}{number(now, 'MiB')}")
    return ", ".join(parts)


def _change(row: Row, arrow: str) -> str:
    change, low, high = (row[name] for name in ("change", "change_low", "change_high"))
    if _unknown(change):
        return "not timed"
    text = f"{number(change)} times the {row['change_of']} ({number(low)} to {number(high)})"
    was, now = row["before_cores_busy"], row["after_cores_busy"]
    if not _unknown(was) and not _unknown(now) and abs(now - was) >= OTHER_CORES:
        text += f", cores busy {number(was)}{arrow}{number(now)}"
    return text


def error_line(row: Row) -> str:
    """The first line of the error that the cell has now (had, where it is fixed, or gone without
    a word), that of measuring it where it passed."""
    side = "before" if row["verdict"] in ("fixed", "gone") else "after"
    if row["after_verdict"] == "void":
        side = "after"
    message = row[f"{side}_message"]
    unmeasured = row[f"{side}_measure_kind"] not in MEASURED
    if unmeasured and (not message or row[f"{side}_verdict"] in PASSING):  # which may have a remark
        message = row[f"{side}_measure_message"]
    return schema.one_line(message or "")

"""A comparison as JSON: every cell with its verdict, findings and figures, for programs.

Written piece by piece, a cell a line, so that a million cells need no second million in memory.
Strict JSON: what was not measured is null, and so is what JSON has no number for.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from switchyard.compare import saying, verdicts
from switchyard.compare.comparison import Comparison
from switchyard.compare.pairing import Table
from switchyard.tables import schema

#: Raised whenever a name in this file changes its meaning.
FORMAT = 1

#: Cells turned into dicts at a time.
CHUNK = 10_000


def pieces(comparison: Comparison, only: Sequence[str] = ()) -> Iterator[str]:
    """The text in order. ``only`` narrows ``cells``; the counts stay those of all."""
    head = json.dumps(_head(comparison), indent=1, ensure_ascii=False, allow_nan=False)
    yield head.rstrip().removesuffix("}").rstrip() + ',\n "cells": ['
    cells = comparison.cells
    if only:
        cells = cells[cells["verdict"].isin(list(only))]
    between = "\n"
    for start in range(0, len(cells), CHUNK):
        for row in cells.iloc[start : start + CHUNK].to_dict("records"):
            text = json.dumps(_cell(row), ensure_ascii=False, allow_nan=False)
            yield f"{between}  {text}"
            between = ",\n"
    yield "\n ]\n}\n"


def _head(comparison: Comparison) -> dict[str, Any]:
    routes, square = comparison.wins
    return {
        "switchyard_comparison": FORMAT,
        "status": comparison.status,
        "counts": comparison.counts,
        "compared": comparison.compared,
        "worse": comparison.worse,
        "allowed": sorted(comparison.allowed),
        "before": _table(comparison.before),
        "after": _table(comparison.after),
        "paired_by": list(comparison.by),
        "left_out": comparison.outside,
        "ignored": comparison.ignored,
        "thresholds": dataclasses.asdict(comparison.thresholds),
        "packages": None
        if comparison.packages is None
        else [dataclasses.asdict(change) for change in comparison.packages],
        "conditions": comparison.conditions,
        "timing_not_comparable": {
            device: reason for device, reason in comparison.hardware.items() if reason
        },
        "torch_eager_itself": comparison.native,
        "routes": [_plain(row) for row in comparison.routes.to_dict("records")],
        "route_times": None
        if comparison.times is None
        else [_plain(row) for row in comparison.times.to_dict("records")],
        "wins_after": {
            "meaning": "passes[i][j]: models that routes[i] passes and routes[j] does not",
            "routes": routes,
            "passes": [[int(count) for count in line] for line in square],
        },
    }


def _table(table: Table) -> dict[str, Any]:
    return {
        "label": table.label,
        "cells": len(table.cells),
        "version_sets": table.sets,
        "tier": table.tier or None,
        "started": (table.about or {}).get("started"),
        "state": (table.about or {}).get("state"),
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    """A value as JSON has it: numpy's and pandas' numbers as Python's, NaN and NA as null."""
    if isinstance(value, (str, bool)) or value is None:
        return value
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, (int, bool)) else None


def _cell(row: dict[str, Any]) -> dict[str, Any]:
    sides = {}
    for side in ("before", "after"):
        names = (*verdicts.OUTCOME, "error", *verdicts.FIGURES)
        values = {name: _value(row[f"{side}_{name}"]) for name in names}
        sides[side] = {name: value for name, value in values.items() if value not in (None, "")}
    found: dict[str, Any] = {
        "cell": schema.cell_of(row).id,
        "version_set": row["version_set"],
        "device": row["device"],
        "precision": row["precision"],
        "model": row["model"],
        "route": row["route"],
        "verdict": row["verdict"],
        "findings": [name for name in verdicts.FINDINGS if row[name]],
    }
    if row["before_version_set"] not in ("", row["version_set"]):
        found["before_version_set"] = row["before_version_set"]
    said = saying.figures(row)
    if said:
        found["said"] = said
    if row["memory_ambiguous"]:
        found["memory"] = "ambiguous"
    if row["timing"]:
        timing = {"status": row["timing"], "why": row["timing_why"]}
        for name in ("change", "change_low", "change_high"):
            timing[name] = _value(row[name])
        if timing["change"] is not None:
            timing["change_of"] = row["change_of"]
        found["timing"] = {name: value for name, value in timing.items() if value not in (None, "")}
    return {**found, **sides}

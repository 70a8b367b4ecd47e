"""Tables made by hand for the tests of what compares them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy
import pandas

from switchyard.compare.pairing import Table
from switchyard.tables import schema

MACHINE = {"cpu": "some CPU", "architecture": "x86_64", "cores_logical": 2}
ABOUT = {"state": "done", "machine": MACHINE, "whole_selection": True}


def row(model: str = "fft", route: str = "dynamo-ort", verdict: str = "excellent", **more) -> dict:
    """A finished cell; what fails has a stage, a kind and a message."""
    failed = verdict not in ("excellent", "acceptable", "")
    return {
        "schema": schema.SCHEMA_VERSION,
        "state": "done",
        "version_set": "torch2.13-tf2.21",
        "device": "cpu",
        "precision": "float32",
        "model": model,
        "family": "conv",
        "route": route,
        "tier": "quick",
        "stage": "convert:dynamo" if failed else "compare",
        "kind": "crash" if failed else None,
        "verdict": verdict,
        "message": "boom" if failed else None,
        "signature": "boom" if failed else None,
        **more,
    }


def frame(rows: Iterable[dict]) -> pandas.DataFrame:
    """Rows with the types that ``reading.read_cells`` gives; what is not named is empty."""
    rows = list(rows)
    columns: dict[str, Any] = {}
    for column in schema.COLUMNS:
        values = [one.get(column.name) for one in rows]
        if column.dtype == "text":
            columns[column.name] = pandas.Series([v or "" for v in values], dtype=str)
        elif column.dtype == "integer":
            columns[column.name] = pandas.array(values, dtype="Int64")
        else:
            floats = [math.nan if v is None else v for v in values]
            columns[column.name] = numpy.array(floats, float)
    return pandas.DataFrame(columns)


def table(rows: Iterable[dict], about: dict | None = ABOUT, label: str = "t", **more) -> Table:
    return Table(label, frame(rows), about, **{"why_no_launches": "no samples", **more})


def timed(
    medians: dict[tuple[str, str], Sequence[float]], about: dict | None = ABOUT, **more
) -> Table:
    """Passing cells by (model, route), each with the median seconds of its launches."""
    rows, launches = [], []
    for (model, route), seconds in medians.items():
        milliseconds = 1e3 * float(numpy.median(seconds))
        one = row(model, route, latency_median_ms=milliseconds, launches=len(seconds), **more)
        rows.append(one)
        key = {name: one[name] for name in schema.KEY}
        launches += [{**key, "launch": i, "median_s": s} for i, s in enumerate(seconds)]
    return table(rows, about, launches=pandas.DataFrame(launches))

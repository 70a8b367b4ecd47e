"""Going on with an interrupted run: which one, and what of it stands.

A cell that was done stays as it is. One that was answered but not measured keeps its verdict
and what it rests on, and is measured anew; all others start over.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Any, Dict, List, Mapping

import pytest

from switchyard.tables import schema
from switchyard.tables.journal import Figure, replay
from switchyard.tables.writing import RunFolder
from switchyard.vocabulary import Cell


def of_launch(point: str, number: int) -> str:
    """The condition under which a figure of one launch is kept; no probe's name has a space."""
    return f"{point} {number}"


def _is_of_launch(condition: str) -> bool:
    return re.fullmatch(r"\w+ \d+", condition) is not None


@dataclasses.dataclass(frozen=True)
class Answered:
    """What a run had learnt of a cell before it was measured."""

    fields: Mapping[str, Any]
    figures: List[Figure]


def reopen(given: str, results: pathlib.Path, sources: Mapping[str, Any]) -> RunFolder:
    """The run that ``--resume`` names: its folder, its name, or ``newest``.

    Raises pytest.UsageError where there is none, and where its code, zoo or packages have
    changed since.
    """
    if given == "newest":
        runs = sorted(path.parent for path in results.glob("*/journal.jsonl"))
        if not runs:
            raise pytest.UsageError(f"--resume: there is no run under {results}")
        path = runs[-1]
    else:
        path = pathlib.Path(given)
        path = path if path.is_dir() else results / given
    try:
        folder = RunFolder.reopen(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise pytest.UsageError(f"--resume: {error}") from error
    before = folder.about.get("sources")
    if before != sources:
        changed = ", ".join(key for key in sources if (before or {}).get(key) != sources[key])
        folder.close(whole=False)
        raise pytest.UsageError(
            f"--resume: {path.name} was made from other sources ({changed} changed since): "
            "its finished cells and new ones would not belong together; start a new run"
        )
    return folder


def answered(folder: RunFolder) -> Dict[Cell, Answered]:
    """The cells that have a verdict and are not done. To be asked before the run plans anew,
    which empties their rows."""
    figures = replay(folder.path).ledger.figures
    found = {}
    for row in folder.rows():
        if row["state"] == "done" or not row["verdict"]:
            continue
        cell = schema.cell_of(row)
        fields = {
            name: value
            for name, value in row.items()
            if value is not None and name not in (*schema.KEY, *schema.MEASURED, "schema", "state")
        }
        kept = [one for one in figures.get(cell, ()) if not _is_of_launch(one.probe_or_condition)]
        found[cell] = Answered(fields, kept)
    return found


def enter_again(folder: RunFolder, cell: Cell, known: Answered) -> None:
    """Put into the run's folder what was known of a cell."""
    folder.update(cell, **known.fields)
    for figure in known.figures:
        folder.figure(cell, **dataclasses.asdict(figure))

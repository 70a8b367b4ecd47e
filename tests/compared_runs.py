"""Runs to compare, made in a line, and the command as it is typed."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from made_tables import MACHINE
from run_folders import STARTED, new_run

from switchyard.cli import main
from switchyard.vocabulary import Cell

ROOT = Path(__file__).resolve().parents[1]
REAL = max(ROOT.glob("results/*-torch2.13-tf2.21-cpu-quick"))
REAL_CELLS = json.loads((REAL / "run.json").read_text())["rows"]
NATIVE = "torch-eager"


def a_run(
    results: Path,
    outcomes: dict,
    *,
    hours: int = 0,
    whole: bool = True,
    set_name: str = "torch2.13-tf2.21",
    after_set: str = "",
    devices: tuple[str, ...] = ("cpu",),
    samples: dict | None = None,
    provenance: dict | None = None,
    **more,
) -> Path:
    """A finished run of (model, route) -> the columns that are known of the cell.

    With ``after_set`` it is of two version sets, and ``outcomes`` of (before, after) pairs.
    """
    started = STARTED + datetime.timedelta(hours=hours)
    sets = [set_name, after_set] if after_set else [set_name]
    run = new_run(results, started, version_sets=sets, **more)
    cells = {
        Cell(name, device, "float32", *key): (key, outcome[place] if after_set else outcome)
        for place, name in enumerate(sets)
        for device in devices
        for key, outcome in outcomes.items()
    }
    run.plan({cell: {"family": "gaps", "tier": more.get("tier", "quick")} for cell in cells})
    for cell, (key, outcome) in cells.items():
        known = dict(outcome)
        state = known.pop("state", "done")
        run.update(cell, **known)
        for launch, seconds in enumerate((samples or {}).get(key, ())):
            run.samples(cell, launch, [seconds] * 3)
        if state != "planned":
            run.state(cell, state)
    run.close(whole, **{"machine": MACHINE, "whole_selection": True, **(provenance or {})})
    return run.path


GOOD = {"verdict": "excellent", "stage": "compare", "mse": 1e-14}
BAD = {"verdict": "failed", "stage": "run", "kind": "crash", "message": "boom at 3",
       "signature": "boom at #"}  # fmt: skip
A = ("a", "dynamo-ort")
B = ("b", "dynamo-ort")


@pytest.fixture
def said(capsys, monkeypatch):
    """Run a command; its status, its standard output and its standard error."""
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run

"""Run folders for the tests of what writes and reads them."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from switchyard.tables.writing import RunFolder
from switchyard.vocabulary import Cell

STARTED = datetime.datetime(2026, 11, 22, 20, 45, tzinfo=datetime.timezone.utc)
ROOT = Path(__file__).resolve().parents[1]


def cell(model: str = "fft", route: str = "dynamo-ort") -> Cell:
    return Cell("torch2.13-tf2.21", "cpu", "float32", model, route)


def new_run(results: Path, started: datetime.datetime = STARTED, **more) -> RunFolder:
    about = {"version_sets": ["torch2.13-tf2.21"], "devices": ["cpu"], "tier": "quick", **more}
    return RunFolder.create(results, started=started, **about)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    run = new_run(tmp_path)
    run.plan({cell("a"): {"family": "gaps", "tier": "quick"}, cell("b"): {}, cell("c"): {}})
    return run


def finish(run: RunFolder, *models: str) -> None:
    for model in models:
        run.update(cell(model), verdict="excellent", mse=1e-13)
        run.state(cell(model), "done")

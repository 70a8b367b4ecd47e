"""What a cell that was done before an interruption says when the run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import types

import pytest

from switchyard.routes import Route
from switchyard.runner import training
from switchyard.runner.asked import CellUnderTest
from switchyard.runner.plan import Planned
from switchyard.tables import schema
from switchyard.vocabulary import Cell, Outcome

CELL = Cell("set", "cpu", "float32", "fft", "dynamo-ort")
PLANNED = Planned(CELL, Route("dynamo-ort", ("dynamo",), "ort", "quick"), {"precision": "float32"})


@contextlib.contextmanager
def ends_in(outcome, match):
    """``pytest.raises`` of a skip or a failure: the other one, left uncaught, would make this
    suite's own test a skipped one."""
    with pytest.raises((pytest.fail.Exception, pytest.skip.Exception), match=match) as caught:
        yield
    assert caught.type is outcome


def gone_on_with(**row) -> CellUnderTest:
    """The cell in a run that goes on, with what its row has from before."""
    known = {**dict.fromkeys(schema.NAMES), **row}
    options = {"--tier": "quick", "--version-set": [], "--zoo": [], "--hop": []}
    run = types.SimpleNamespace(
        resumed=frozenset({CELL}),
        folder=types.SimpleNamespace(row=lambda cell: known),
        answer=lambda planned: Outcome("compare", "excellent"),
        recorded_samples=lambda cell: known.get("samples", []),
        config=types.SimpleNamespace(getoption=lambda name: options.get(name)),
    )
    return CellUnderTest(run, PLANNED, "latency")


@pytest.mark.parametrize("ask", [CellUnderTest.durations, CellUnderTest.memory])
def test_measuring_that_failed_before_fails_again(ask, monkeypatch):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    cell = gone_on_with(measure_kind="crash", measure_message="gone", samples=[1e-3])
    with ends_in(pytest.fail.Exception, match="before the run was interrupted: crash: gone"):
        ask(cell)


@pytest.mark.parametrize("ask", [CellUnderTest.durations, CellUnderTest.memory])
def test_what_was_never_measured_is_skipped(ask):
    with ends_in(pytest.skip.Exception, match="not measured before the run"):
        ask(gone_on_with())


def test_what_was_measured_stands_and_noise_is_no_failure():
    cell = gone_on_with(
        measure_kind="noisy", samples=[1e-3], memory_steady_mib=3.0, latency_median_ms=1.0
    )
    assert cell.durations() == [1e-3]
    assert cell.memory()["memory_steady_mib"] == 3.0


def test_training_that_failed_is_no_failure_of_the_latency_nor_the_other_way_round(monkeypatch):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    lost = {"measure_kind": "crash", "measure_message": "gone"}
    timed = gone_on_with(**lost, samples=[1e-3], latency_median_ms=1.0)
    assert timed.durations() == [1e-3]
    with ends_in(pytest.fail.Exception, match="crash: gone"):
        timed.trained()
    trained = gone_on_with(**lost, **dict.fromkeys(training.COLUMNS, 0.0))
    assert set(trained.trained().values()) == {0.0}
    with ends_in(pytest.fail.Exception, match="crash: gone"):
        trained.durations()


@pytest.mark.parametrize("device, kind, ends", [
    ("cuda:0", "device-lost", pytest.fail.Exception),
    ("cuda:0", "provider-fallback", pytest.fail.Exception),
    ("cuda:0", "unsupported-operator", pytest.skip.Exception),
    ("cpu", "crash", pytest.skip.Exception),
])  # fmt: skip
def test_without_expectations_what_the_card_did_is_not_merely_recorded(
    monkeypatch, device, kind, ends
):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    nothing = types.SimpleNamespace(exists=False, of=lambda cell: None)
    options = {"--tier": "quick", "--version-set": [], "--zoo": [], "--hop": []}
    run = types.SimpleNamespace(
        resumed=frozenset(), expectations_of=lambda cell: nothing,
        config=types.SimpleNamespace(getoption=lambda name: options.get(name)),
    )  # fmt: skip
    planned = dataclasses.replace(PLANNED, cell=dataclasses.replace(CELL, device=device))
    with ends_in(ends, match=kind):
        CellUnderTest(run, planned, "accuracy")._judge(Outcome("run", "failed", kind))

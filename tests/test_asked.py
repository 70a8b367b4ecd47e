"""What a cell says to a test: of its outcome, of what failed, and of what was done before an
interruption when the run goes on."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import pathlib
import types

import pytest

from switchyard.routes import Route
from switchyard.runner import sharing, training
from switchyard.runner.asked import CellUnderTest
from switchyard.runner.expectations import AsExpected, Expectation
from switchyard.runner.launches import Launch
from switchyard.runner.on_device import OnDevice
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
        yield caught
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
    return CellUnderTest(run, PLANNED)


def asked_anew(outcome=Outcome("compare", "excellent"), known=True, wanted=None, **more):
    """The cell in a run of its own that found ``outcome``, where ``known`` outcomes are recorded,
    of it ``wanted``."""
    table = types.SimpleNamespace(exists=known, of=lambda cell: wanted)
    run = types.SimpleNamespace(
        resumed=frozenset(), expectations_of=lambda cell: table, answer=lambda planned: outcome,
        config=types.SimpleNamespace(getoption=lambda name: None),
        **more,
    )  # fmt: skip
    return CellUnderTest(run, PLANNED)


QUESTIONS = {"conversion": "converts", "accuracy": "answers_as_torch_does", "memory": "memory",
             "training": "trains_as_torch_does", "sharing": "shares_the_card"}  # fmt: skip


@pytest.mark.parametrize("suite", QUESTIONS)
def test_a_suite_asks_its_own_question_and_no_more(suite):
    path = pathlib.Path(__file__).parents[1] / "bench" / f"test_{suite}.py"
    spec = importlib.util.spec_from_file_location(f"the_{suite}_suite", path)
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    assert bench.pytestmark.args == (suite,)
    asked = []
    cell = types.SimpleNamespace(**{QUESTIONS[suite]: lambda: asked.append(suite)})
    getattr(bench, f"test_{suite}")(cell)
    assert asked == [suite]


WRONG = Outcome("compare", "investigate", "unexplained", message="off by one")
REFUSED = Outcome("convert:dynamo", "refused", "unsupported-operator")


def test_what_was_converted_and_answers_wrongly_converts_all_the_same():
    cell = asked_anew(WRONG)
    cell.converts()
    with ends_in(pytest.fail.Exception, match="off by one"):
        cell.answers_as_torch_does()


def test_what_was_not_converted_is_no_failure_to_answer():
    cell = asked_anew(REFUSED)
    with ends_in(pytest.fail.Exception, match="refused at convert:dynamo"):
        cell.converts()
    with ends_in(pytest.skip.Exception, match="stopped before"):
        cell.answers_as_torch_does()


def test_an_expectation_is_met_by_the_question_that_it_is_about():
    cell = asked_anew(WRONG, wanted=Expectation("compare", "unexplained", "investigate", "so"))
    cell.converts()
    with pytest.raises(AsExpected):
        cell.answers_as_torch_does()


LOG = "its log: /cache/logs/run/00001.log\nSIGSEGV in Conv_7"


@pytest.mark.parametrize("kind", ["crash", "bad-fixture"])
def test_a_failure_leads_to_the_log_and_to_the_command(kind):
    cell = asked_anew(Outcome("run", "failed", kind, message="it died", detail=LOG))
    with ends_in(pytest.fail.Exception, match="it died") as caught:
        cell.answers_as_torch_does()
    *_, place, said, command = str(caught.value).splitlines()
    assert f"{place}\n{said}" == LOG and command.startswith("again, alone: pytest bench/")


def test_a_measurement_that_failed_leads_to_its_log_too():
    crash = Outcome("measure", "failed", "crash", message="status -11", detail=LOG)
    cell = asked_anew(measured=lambda planned: [Launch([1e-3]), Launch(outcome=crash)])
    with ends_in(pytest.fail.Exception, match="could not be measured: crash: status") as caught:
        cell.durations()
    assert LOG in str(caught.value)


def test_a_card_that_is_lost_behind_the_first_samples_is_a_failure_of_what_measured():
    found = OnDevice(broke=("device-lost", "series device: gone"))
    cell = asked_anew(measured=lambda planned: [Launch([1e-3]), Launch([1e-3], device=found)])
    with ends_in(pytest.fail.Exception, match="to the end: device-lost: series device: gone"):
        cell.durations()


@pytest.mark.parametrize("steady, peak, said", [
    (0.0, 5.0, "held 0 MiB"), (5.0, 4.0, "held 5 MiB at the end, and 4 at its peak"),
    (5.0, 5.0, ""), (5.0, None, ""),  # some kernels do not tell the peak
])  # fmt: skip
def test_memory_that_cannot_be_is_a_failure_and_says_how_to_run_it_again(steady, peak, said):
    row = {"memory_steady_mib": steady, "memory_peak_mib": peak}
    cell = asked_anew(measured=lambda planned: [Launch([1e-3])],
                      folder=types.SimpleNamespace(row=lambda cell: row))  # fmt: skip
    if not said:
        assert cell.memory() == row
        return
    with ends_in(pytest.fail.Exception, match=said) as caught:
        cell.memory()
    assert "again, alone: " in str(caught.value)


def test_what_no_momentum_explains_is_a_failure_of_the_training(monkeypatch):
    monkeypatch.setattr(training, "train", lambda run, planned: None)
    for unexplained in (9e-4, 2e-3, float("nan")):
        row = {**dict.fromkeys(training.COLUMNS, 0.5), "running_unexplained_100": unexplained}
        cell = asked_anew(folder=types.SimpleNamespace(row=lambda cell, row=row: row))
        if unexplained < 1e-3:
            assert cell.trains_as_torch_does() == row
            continue
        with ends_in(pytest.fail.Exception, match="(?s)unexplained.*again, alone: "):
            cell.trains_as_torch_does()


def test_a_framework_that_does_not_run_alone_is_a_failure(monkeypatch):
    found = Outcome("measure", "failed", message="alone tf did 3 of 20 turns", detail=LOG)
    monkeypatch.setattr(sharing, "judged", lambda run, planned: found)
    with ends_in(pytest.fail.Exception, match="does not run alone: alone tf did 3") as caught:
        asked_anew().shares_the_card()
    assert LOG in str(caught.value) and "again, alone: " in str(caught.value)
    monkeypatch.setattr(sharing, "judged", lambda run, planned: None)
    asked_anew().shares_the_card()


@pytest.mark.parametrize("ask", [CellUnderTest.durations, CellUnderTest.memory])
def test_measuring_that_failed_before_fails_again(ask, monkeypatch):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    cell = gone_on_with(measure_kind="crash", measure_message="gone", samples=[1e-3])
    with ends_in(pytest.fail.Exception, match="before the run was interrupted: crash: gone"):
        ask(cell)


@pytest.mark.parametrize("ask", [CellUnderTest.durations, CellUnderTest.memory])
@pytest.mark.parametrize("device, known", [
    ("cpu", {}),  # the first launch went well, the second did not
    ("cuda", {"latency_median_ms": 1.0}),  # the card was lost behind the sample set
])
def test_measuring_that_failed_in_part_fails_again(ask, device, known, monkeypatch):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    monkeypatch.setitem(globals(), "CELL", dataclasses.replace(CELL, device=device))
    cell = gone_on_with(measure_kind="device-lost", measure_message="gone", samples=[1e-3],
                        memory_steady_mib=3.0, **known)  # fmt: skip
    cell._planned = dataclasses.replace(PLANNED, cell=CELL)
    with ends_in(pytest.fail.Exception, match="before the run was interrupted: device-lost"):
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
        timed.trains_as_torch_does()
    trained = gone_on_with(**lost, **dict.fromkeys(training.COLUMNS, 0.0))
    assert set(trained.trains_as_torch_does().values()) == {0.0}
    with ends_in(pytest.fail.Exception, match="crash: gone"):
        trained.durations()


@pytest.mark.parametrize("stage, kind, ends", [
    ("resolve", "no-result", pytest.fail.Exception),  # a full disk, an index that was not reached
    ("resolve", "timeout", pytest.fail.Exception),
    ("resolve", "unsatisfiable-pins", pytest.skip.Exception),
    ("resolve", "missing-dependency", pytest.skip.Exception),
    ("import", "timeout", pytest.fail.Exception),  # its worker did not start
    ("import", "crash", pytest.fail.Exception),
    ("import", "missing-dependency", pytest.skip.Exception),  # the set has no such package
])  # fmt: skip
def test_without_expectations_an_environment_that_could_not_be_made_today_is_not_merely_recorded(
    monkeypatch, stage, kind, ends
):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    with ends_in(ends, match=kind):
        asked_anew(Outcome(stage, "unavailable", kind), known=False).converts()


@pytest.mark.parametrize("stage, ends", [
    ("run", pytest.fail.Exception), ("load", pytest.fail.Exception),
    ("import", pytest.skip.Exception), ("convert:dynamo", pytest.skip.Exception),
])  # fmt: skip
def test_packages_that_do_not_fit_the_card_are_not_merely_recorded(monkeypatch, stage, ends):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    cell = asked_anew(Outcome(stage, "failed", "abi-mismatch"), known=False)
    cell._planned = dataclasses.replace(PLANNED, cell=dataclasses.replace(CELL, device="cuda:0"))
    with ends_in(ends, match="abi-mismatch") as caught:
        if stage.startswith("convert"):
            cell.converts()
        else:
            cell.answers_as_torch_does()
    assert "no expectation can cover" not in str(caught.value)


@pytest.mark.parametrize("device, kind, ends", [
    ("cuda:0", "device-lost", pytest.fail.Exception),
    ("cuda:0", "provider-fallback", pytest.fail.Exception),
    ("cuda:0", "abi-mismatch", pytest.fail.Exception),  # no kernels for this card
    ("cuda:0", "unsupported-operator", pytest.skip.Exception),
    ("cpu", "crash", pytest.skip.Exception),
])  # fmt: skip
def test_without_expectations_what_the_card_did_is_not_merely_recorded(
    monkeypatch, device, kind, ends
):
    monkeypatch.setattr("switchyard.runner.options.recorded", lambda config: {})
    cell = asked_anew(Outcome("run", "failed", kind), known=False)
    cell._planned = dataclasses.replace(PLANNED, cell=dataclasses.replace(CELL, device=device))
    with ends_in(ends, match=kind):
        cell.answers_as_torch_does()

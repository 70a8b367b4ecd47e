"""In which order the launches of a run's cells are made."""

from __future__ import annotations

import contextlib
import types

import pytest

from switchyard.routes import Route
from switchyard.runner import measurements
from switchyard.runner.launches import Launch
from switchyard.runner.measurements import Measurements
from switchyard.runner.on_device import OnDevice
from switchyard.runner.plan import Planned
from switchyard.vocabulary import Cell, Outcome

LOST = Outcome("measure", "failed", "crash")


def planned(model: str, route: str = "torch-eager", file: str = "zoo.py") -> Planned:
    cell, about = Cell("set", "cpu", "float32", model, route), {"file": file}
    return Planned(cell, Route(route, (), route, "quick"), {**about, "precision": "float32"})


class Run:
    """A run whose cells have all been converted; it writes down what is launched, and whose rows
    are filled."""

    def __init__(self, selected, launches, timed=None, wrong=(), crash=()):
        self.selected, self.crash = selected, crash
        self.launched, self.filled, self.columns, self.threads = [], [], {}, set()
        self.timed = frozenset(one.cell for one in (selected if timed is None else timed))
        self._wrong = {one.cell for one in wrong}
        options = {"--launches": launches, "--jobs": 1, "--record-memory": False, "--threads": 3}
        self.config = types.SimpleNamespace(getoption=options.__getitem__)
        self.runtimes = {"torch-eager": types.SimpleNamespace(environment="core", name="torch")}
        self.progress = types.SimpleNamespace(watch=lambda text: lambda: None)
        self.crew = types.SimpleNamespace(
            gate=types.SimpleNamespace(alone=contextlib.nullcontext),
            environment=lambda version_set, name: (version_set, name),
            killed_in=lambda environment: self.killed_in.append(environment),
        )
        self.killed_in = []
        kept = types.SimpleNamespace(folder="kept", outcome=None)
        self.yard = types.SimpleNamespace(
            converted=lambda one: kept, reference=lambda one: kept, lost=lambda one: None
        )
        self.folder = types.SimpleNamespace(
            update=lambda cell, **fields: (
                self.filled.append(cell.model), self.columns.update({cell.model: fields})
            ),
            figure=lambda *given: None, samples=lambda *given: None,
        )  # fmt: skip
        self.card, self.resumed, self.natives = None, frozenset(), []
        self.selection = self

    def ready_behind(self, one):
        return iter(self.selected[self.selected.index(one) + 1 :])

    def passed(self, one):
        return one.cell not in self._wrong

    def native_of(self, one):
        return next((n for n in self.natives if n.cell.model == one.cell.model), one)

    def in_order(self, some):
        return sorted(some, key=[*self.natives, *self.selected].index)

    def measured_before(self, one):
        return one.cell in self.resumed


@pytest.fixture
def made(monkeypatch):
    def made(run):
        def launch(ready, job, card):
            run.launched.append(job["model"] + "'" * (job["file"] == "native"))
            run.threads.add(job["threads"])
            facts = dict.fromkeys(("import_seconds", "load_seconds", "first_call_seconds"), 0.1)
            facts.update(warm_up_calls=7, warm_up_settled=True)
            lost = LOST if job["model"] in run.crash else None
            return Launch([0.001], facts=facts, outcome=lost)

        monkeypatch.setattr(measurements, "launch", launch)
        monkeypatch.setattr(measurements.rows, "memory_columns", lambda found: {})
        monkeypatch.setattr(measurements.Standby, "take", lambda self, key, upcoming: None)
        measuring = measurements.Measurements(run)
        run.measured = measuring.of
        return measuring

    return made


A, B, C = map(planned, "abc")


def test_cells_take_turns_so_that_no_cell_has_all_its_launches_in_one_state_of_the_machine(made):
    run = Run([A, B, C], launches=3)
    of = made(run)
    assert len(of.of(A)) == 3
    assert run.launched == [*"abc", *"cba", *"abc"] and run.filled == ["a", "b", "c"]
    assert len(of.of(C)) == 3 and len(run.launched) == 9  # nothing is measured twice


def test_a_single_launch_is_made_when_it_is_asked_for(made):
    run = Run([A, B, C], launches=1)
    of = made(run)
    of.of(B)
    assert run.launched == run.filled == ["b"] and run.threads == {3}


def test_what_no_test_will_ask_for_and_what_answered_wrongly_take_no_turn(made):
    run = Run([A, B, C], launches=2, timed=[A, C])
    made(run).of(A)
    assert run.launched == [*"ac", *"ca"]
    run = Run([A, B, C], launches=2, wrong=[C])
    made(run).of(A)
    assert run.launched == [*"ab", *"ba"]


def test_a_cell_that_fails_takes_no_further_turn(made):
    run = Run([A, B, C], launches=3, crash="b")
    of = made(run)
    assert [len(of.of(one)) for one in (A, B, C)] == [3, 1, 3]
    assert run.launched == [*"abc", *"ca", *"ac"]
    assert of.of(B)[-1].outcome is LOST
    assert len(run.killed_in) == 1  # once; of the others nothing is left half written


def test_launches_that_were_made_before_an_exception_stand_and_are_written_down_once(made):
    run = Run([A, B, C], launches=2)
    of, entered, broken = made(run), [], [OSError("the disk is full")]
    run.folder.samples = lambda cell, number, durations: entered.append((cell.model, number))
    job = of._job

    def full_once(planned):
        if planned is C and broken:
            raise broken.pop()
        return job(planned)

    of._job = full_once
    with pytest.raises(OSError):
        of.of(A)
    assert run.launched == [*"ab"] and run.filled == []
    assert [len(of.of(one)) for one in (A, B, C)] == [2, 2, 2]
    assert sorted(entered) == [(model, number) for model in "abc" for number in (0, 1)]
    assert run.filled == ["a", "b", "c"]


def test_a_row_that_could_not_be_filled_leaves_the_others_theirs(made):
    run = Run([A, B], launches=2)
    of, update, broken = made(run), run.folder.update, [OSError("the disk is full")]

    def full_once(cell, **fields):
        if broken:
            raise broken.pop()
        update(cell, **fields)

    run.folder.update = full_once
    with pytest.raises(OSError):
        of.of(A)
    assert len(of.of(B)) == len(of.of(A)) == 2 and run.filled == ["b", "a"]
    assert len(run.launched) == 4


def test_baselines_that_nobody_asked_for_take_turns_with_what_they_are_the_yardstick_of(made):
    cells = [planned(model, "dynamo-ort") for model in "ab"]
    run = Run(cells, launches=2)
    run.runtimes["dynamo-ort"] = run.runtimes["torch-eager"]
    run.natives = [planned(model, file="native") for model in "ab"]
    made(run).of(cells[0])
    assert run.launched == ["a'", "b'", "a", "b", "b", "a", "b'", "a'"]


def test_what_was_measured_before_an_interruption_is_not_measured_again(made):
    run = Run([A, B, C], launches=2)
    run.resumed = frozenset({B.cell})
    made(run).of(A)
    assert run.launched == [*"ac", *"ca"]


def test_a_launch_that_failed_says_more_than_one_that_was_disturbed(made, monkeypatch):
    run = Run([A, B], launches=2)
    measuring = made(run)
    disturbed = OnDevice(series={"device": [0.001]}, noisy="another process computed on the card")
    first = {"a": Launch([0.001], device=disturbed), "b": Launch([0.001], device=disturbed)}

    def launch(ready, job, card):
        return first.pop(job["model"], None) or Launch([0.001], outcome=LOST, device=OnDevice())

    monkeypatch.setattr(measurements, "launch", launch)
    monkeypatch.setattr(Measurements, "_enter", lambda *given: None)
    measuring.of(A)
    assert [run.columns[name]["measure_kind"] for name in "ab"] == ["crash", "crash"]
    assert run.columns["a"]["gpu_samples_retaken"] == 0  # what its good launch learnt stays


def test_what_a_resumed_run_lost_and_cannot_make_again_is_not_launched(made):
    run = Run([A], launches=2)
    gone = Outcome("convert:dynamo", "failed", "timeout", message="no end after 600 s")
    run.yard.lost = lambda one: gone
    assert [one.outcome for one in made(run).of(A)] == [gone]
    assert run.launched == [] and run.columns["a"]["measure_kind"] == "timeout"

"""What a run converts before it measures: whole models, in every version set."""

from __future__ import annotations

import types

import pytest

from switchyard.runner import session
from switchyard.runner.selection import Selection
from switchyard.runner.session import Run
from switchyard.vocabulary import Cell, Outcome


def a_run(planned, monkeypatch, ahead: int):
    """A run that has planned these (model, route, set) and converts ``ahead`` cells at least."""
    monkeypatch.setattr(session, "AHEAD", ahead)
    run = Run.__new__(Run)
    run.selection = Selection(
        [
            types.SimpleNamespace(
                cell=Cell(version_set, "cpu", "float32", model, route),
                native=route == "torch-eager",
            )
            for model, route, version_set in planned
        ]
    )
    run._answered = frozenset()
    run.config = types.SimpleNamespace(getoption={"--jobs": 1}.get)
    run.states = []
    run.folder = types.SimpleNamespace(state=lambda *given: run.states.append(given))
    made = []
    run.yard = types.SimpleNamespace(prepare=made.append, errors={})
    return run, made


@pytest.mark.parametrize("ahead", [1, 2, 3, 4])
def test_a_models_cells_of_all_sets_are_made_before_any_is_measured(monkeypatch, ahead):
    """Else those of one set would take turns in another state of the machine than the other's."""
    one = [("a", route, name) for route in ("torch-eager", "dynamo-ort") for name in "st"]
    other = [("b", route, name) for _, route, name in one]
    run, made = a_run(one + other, monkeypatch, ahead)
    cells = run.selection.cells
    run._prepare(cells[0])
    assert made == [cells[:4]]
    assert list(run.selection.ready_behind(cells[0])) == cells[1:4]


def test_cells_that_were_answered_before_an_interruption_are_ready_as_well(monkeypatch):
    run, _ = a_run([(model, "torch-eager", "s") for model in "abcd"], monkeypatch, 1)
    first, second, third, fourth = run.selection.cells
    run.selection.answered_before([second.cell, Cell("t", "cpu", "float32", "b", "torch-eager")])
    assert run.selection.ahead(third, least=1) == [third]
    assert list(run.selection.ready_behind(first)) == [second, third]


def test_a_cell_is_set_to_running_once_though_preparing_it_was_broken_off(monkeypatch):
    """It may have been done meanwhile, and nobody would set it to done again."""
    run, _ = a_run([("a", route, "s") for route in ("torch-eager", "dynamo-ort")], monkeypatch, 1)

    class BrokenOff(BaseException):
        pass

    def prepare(wanted):
        raise BrokenOff

    run.yard.prepare = prepare
    with pytest.raises(BrokenOff):
        run._prepare(run.selection.cells[1])
    run._prepare(run.selection.cells[0])
    assert run.states == [(one.cell, "running") for one in run.selection.cells]


def test_a_cell_that_no_answer_could_be_had_of_did_not_pass(monkeypatch):
    run, _ = a_run([(model, "torch-eager", "s") for model in "abc"], monkeypatch, 1)
    good, wrong, lost = run.selection.cells
    outcomes = {good.cell: Outcome("compare", "excellent"),
                wrong.cell: Outcome("compare", "investigate")}  # fmt: skip

    def prepare(wanted):
        run.yard.errors[lost.cell] = OSError("the disk is full")

    run.yard.prepare = prepare
    run.yard.answer = lambda one: types.SimpleNamespace(outcome=outcomes[one.cell])
    assert [run.passed(one) for one in (lost, wrong, good)] == [False, False, True]


@pytest.mark.parametrize("answered, verdict, resumed, states", [
    (True, "refused", False, ["done"]),
    (True, None, False, ["interrupted"]),
    (False, "excellent", False, ["interrupted"]),
    (False, "excellent", True, []),
])  # fmt: skip
def test_a_cell_whose_items_have_ended_is_done_where_all_was_learnt(
    monkeypatch, answered, verdict, resumed, states
):
    run, _ = a_run([("a", "torch-eager", "s")], monkeypatch, 1)
    cell = run.selection.cells[0].cell
    run.resumed = {cell} if resumed else set()
    run.folder.row = lambda cell: {"verdict": verdict}
    run.ended(cell, answered)
    assert run.states == [(cell, state) for state in states]


def test_what_is_kept_of_several_sets_lies_in_a_folder_each(monkeypatch, tmp_path):
    run, _ = a_run([("a", "dynamo-ort", name) for name in "st"], monkeypatch, 1)
    run.folder = types.SimpleNamespace(path=tmp_path)
    for sets, inside in ((["s"], ""), (["s", "t"], "s")):
        run.sets = sets
        assert run.folder_of(run.selection.cells[0].cell, "memory") == tmp_path / "memory" / inside

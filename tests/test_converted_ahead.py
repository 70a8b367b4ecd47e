"""What a run converts before it measures: whole models, in every version set."""

from __future__ import annotations

import types

import pytest

from switchyard.runner import session
from switchyard.runner.session import Run
from switchyard.vocabulary import Cell


def a_run(planned, monkeypatch, ahead: int):
    """A run that has planned these (model, route, set) and converts ``ahead`` cells at least."""
    monkeypatch.setattr(session, "AHEAD", ahead)
    run = Run.__new__(Run)
    run.selected = [
        types.SimpleNamespace(
            cell=Cell(version_set, "cpu", "float32", model, route), native=route == "torch-eager"
        )
        for model, route, version_set in planned
    ]
    run._place = {one.cell: place for place, one in enumerate(run.selected)}
    run._prepared, run._answered = set(), set()
    run.config = types.SimpleNamespace(getoption={"--jobs": 1}.get)
    run.folder = types.SimpleNamespace(state=lambda cell, state: None)
    made = []
    run.yard = types.SimpleNamespace(prepare=made.append)
    return run, made


@pytest.mark.parametrize("ahead", [1, 2, 3, 4])
def test_a_models_cells_of_all_sets_are_made_before_any_is_measured(monkeypatch, ahead):
    """Else those of one set would take turns in another state of the machine than the other's."""
    one = [("a", route, name) for route in ("torch-eager", "dynamo-ort") for name in "st"]
    other = [("b", route, name) for _, route, name in one]
    run, made = a_run(one + other, monkeypatch, ahead)
    run._prepare(run.selected[0])
    assert [planned.cell for planned in made[0]] == [each.cell for each in run.selected[:4]]
    assert [each.cell for each in run.ready_behind(run.selected[0])] == [
        each.cell for each in run.selected[1:4]
    ]


def test_cells_that_were_answered_before_an_interruption_are_ready_as_well(monkeypatch):
    run, _ = a_run([(model, "torch-eager", "s") for model in "abcd"], monkeypatch, 1)
    run._prepared, run._answered = {run.selected[2].cell}, {run.selected[1].cell}
    assert list(run.ready_behind(run.selected[0])) == run.selected[1:3]


def test_what_is_kept_of_several_sets_lies_in_a_folder_each(monkeypatch, tmp_path):
    run, _ = a_run([("a", "dynamo-ort", name) for name in "st"], monkeypatch, 1)
    run.folder = types.SimpleNamespace(path=tmp_path)
    for sets, inside in ((["s"], ""), (["s", "t"], "s")):
        run.sets = sets
        assert run.folder_of(run.selected[0].cell, "memory") == tmp_path / "memory" / inside

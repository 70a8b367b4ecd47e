"""Which run may be gone on with: what was asked for and what it was made from must be the same."""

from __future__ import annotations

import json
import types
from pathlib import Path

import pytest
from run_folders import STARTED, new_run

from switchyard.runner import resuming
from switchyard.tables import reading
from switchyard.tables.journal import replay
from switchyard.vocabulary import Cell

DEFAULTS = {"tier": "quick", "model": [], "route": [], "precision": [], "zoo": [], "hop": [],
            "launches": 1, "stage-timeout": 300.0, "memory-limit": 8192.0, "gpu": False,
            "device": None, "tf32": False, "record-memory": False}  # fmt: skip
SOURCES = {"zoo": "ab12"}
BEGAN = "pytest bench/ --tier smoke"


def asked(sets=("s",), **given):
    values = {**DEFAULTS, **{name.replace("_", "-"): value for name, value in given.items()}}
    config = types.SimpleNamespace(getoption=lambda name: values[name[2:]])
    return resuming.asked_for(config, sets)


def begin(run, options=None, given={}, command=BEGAN, resumed=False, whole=True):
    options = options or asked()
    return resuming.record_beginning(run, SOURCES, options, given, command, resumed, whole)


@pytest.fixture
def begun(tmp_path):
    """A run that was begun with the defaults, and killed."""
    run = new_run(tmp_path, STARTED)
    begin(run, given={"tier": "quick"})
    run._journal.close()
    return run.path


@pytest.mark.parametrize("sets, launches, in_turn", [
    (("s", "t"), 2, True),
    (("s", "t"), 1, False),
    (("s",), 5, False),
])  # fmt: skip
def test_sets_of_one_run_took_turns_unless_it_was_gone_on_with(tmp_path, sets, launches, in_turn):
    run = new_run(tmp_path, STARTED, version_sets=sets)
    options = asked(sets, launches=launches)
    begin(run, options)
    assert run.about["sets_in_turn"] is in_turn
    begin(run, options, command="again", resumed=True)
    assert run.about["sets_in_turn"] is False
    run._journal.close()


def resume(path, **given):
    return resuming.reopen("newest", path.parent, SOURCES, asked(**given), lambda *names: "")


@pytest.mark.parametrize("given, said", [
    ({"tier": "full"}, "--tier quick, now full"),
    ({"model": ["b", "a"]}, "--model none, now a and b"),
    ({"route": ["dynamo-ort"]}, "--route none, now dynamo-ort"),
    ({"precision": ["float16"]}, "--precision none, now float16"),
    ({"zoo": ["builtin", "z.py"]}, "--zoo builtin, now ./z.py and builtin"),
    ({"hop": ["h.py"]}, "--hop none, now ./h.py"),
    ({"sets": ["s", "t"]}, "--version-set s, now s and t"),
    ({"launches": 5}, "--launches 1, now 5"),
    ({"stage_timeout": 20.5}, "--stage-timeout 300, now 20.5"),
    ({"memory_limit": 10.0}, "--memory-limit 8192, now 10"),
    ({"gpu": True}, "--device cpu, now cuda:0"),
    ({"device": "cuda:1", "tf32": True}, "--device cpu, now cuda:1; --tf32 not given, now given"),
    ({"gpu": True, "record_memory": True}, "--record-memory not given, now given"),
])  # fmt: skip
def test_other_options_are_refused_by_name_and_the_run_stays_as_it_is(
    begun, monkeypatch, given, said
):
    monkeypatch.chdir(Path(__file__).resolve().parents[1])
    before = (begun / "run.json").read_bytes()
    with pytest.raises(pytest.UsageError) as refused:
        resume(begun, **given)
    assert said in str(refused.value) and f"begun by: {BEGAN}" in str(refused.value)
    assert (begun / "run.json").read_bytes() == before


def test_two_ways_of_typing_the_same_are_the_same(tmp_path, monkeypatch):
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert asked(model=["b", "a", "a"]) == asked(model=["a", "b"])
    assert asked(zoo=["../z.py"]) == asked(zoo=[str(tmp_path / "z.py")])
    assert asked(zoo=["builtin"]) == asked()
    assert asked(device="cuda") == asked(gpu=True) == asked(device="cuda:0", gpu=True)
    assert asked(device="cpu") == asked()
    assert str(tmp_path.parent) not in json.dumps(asked(zoo=["../z.py"]))


def test_a_run_goes_on_under_the_time_and_the_command_that_began_it(begun):
    first = reading.read_about(begun)
    for sitting in (1, 2):
        run = resume(begun)
        begin(run, command=f"again {sitting}", resumed=True)
        assert resuming.of_the_beginning(run) == {"started": first["started"], "command": BEGAN}
        run._journal.close()
    about = reading.read_about(begun)
    assert about["resumed_by"] == ["again 1", "again 2"] and about["resumed"] == 2
    assert about["options"] == {"tier": "quick"}


def test_a_run_from_before_options_were_kept_is_gone_on_with(begun):
    about = json.loads((begun / "run.json").read_text())
    for name in ("asked", "command", "options"):
        del about[name]
    (begun / "run.json").write_text(json.dumps(about))
    resume(begun, launches=5)._journal.close()


def test_a_refusal_for_other_sources_leaves_the_run_as_it_is(begun):
    before = (begun / "run.json").read_bytes()
    with pytest.raises(pytest.UsageError, match=r"other sources \(zoo changed since\)"):
        resuming.reopen("newest", begun.parent, {"zoo": "cd34"}, asked(), lambda *names: "")
    assert (begun / "run.json").read_bytes() == before


def environment(name, lock, **packages):
    return types.SimpleNamespace(
        version_set="s", name=name, python_version="3.11", lock_hash=lock, fingerprint=lock,
        packages=packages,
    )  # fmt: skip


def test_a_side_environment_whose_lock_has_moved_is_other_sources(begun):
    run = resume(begun)
    run.record(sets=resuming.environments(run, ["s"], [environment("onnx2tf", "ab")]))
    run._journal.close()
    with pytest.raises(pytest.UsageError, match="the lock of s/onnx2tf changed since"):
        resuming.reopen("newest", begun.parent, SOURCES, asked(), lambda *names: "cd")
    resuming.reopen("newest", begun.parent, SOURCES, asked(), lambda *names: "ab")._journal.close()


def test_environments_that_only_an_earlier_sitting_used_stay_known(begun):
    run = resume(begun)
    run.record(sets=resuming.environments(run, ["s"], [environment("onnx2tf", "ab", onnx2tf="1")]))
    found = resuming.environments(run, ["s"], [environment("core", "ef", torch="2")])
    run._journal.close()
    packages = {name: one["packages"] for name, one in found["s"]["environments"].items()}
    assert packages == {"onnx2tf": {"onnx2tf": "1"}, "core": {"torch": "2"}}


@pytest.mark.parametrize("began, goes_on", [(True, True), (True, False), (False, True)])
def test_a_run_is_whole_only_if_each_sitting_asked_every_question(tmp_path, began, goes_on):
    run = new_run(tmp_path, STARTED)
    sittings = [(BEGAN, False, began), ("again", True, goes_on)]
    for command, resumed, whole in sittings:
        said = begin(run, command=command, resumed=resumed, whole=whole)
    run._journal.close()
    assert said is (began and goes_on)


def test_a_baseline_that_nobody_asked_for_and_that_was_not_timed_starts_its_launches_over(tmp_path):
    """It is done with its answer; an interruption may leave half of its launches."""
    run = new_run(tmp_path, STARTED)
    half, timed, wrong = (Cell("s", "cpu", "float32", name, "torch-eager") for name in "htw")
    run.plan([half, timed, wrong])
    for cell, fields in ((half, {"verdict": "excellent"}), (wrong, {"verdict": "failed"}),
                         (timed, {"verdict": "excellent", "latency_median_ms": 1.0})):  # fmt: skip
        run.update(cell, stage="compare", **fields)
        run.samples(cell, 0, [1e-3])
        run.state(cell, "done")
    resuming.reopen_untimed(run, {half, timed, wrong})
    assert run.done == {timed, wrong}
    known = resuming.answered(run)
    assert set(known) == {half}
    run.plan([half, timed, wrong])
    resuming.enter_again(run, half, known[half])
    run._journal.close()
    kept = {cell: len(launches) for cell, launches in replay(run.path).ledger.samples.items()}
    assert kept == {timed: 1, wrong: 1} and run.row(half)["verdict"] == "excellent"

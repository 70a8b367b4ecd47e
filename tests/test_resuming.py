"""Which run may be gone on with: what was asked for and what it was made from must be the same."""

from __future__ import annotations

import json
import shutil
import types
from pathlib import Path

import pytest
from run_folders import STARTED, new_run

from switchyard.routes import Route
from switchyard.runner import resuming, sources
from switchyard.runner.plan import Planned
from switchyard.runner.session import Run
from switchyard.runner.staging import PROJECT
from switchyard.runner.yard import Made
from switchyard.runtimes import builtin
from switchyard.tables import provenance, reading
from switchyard.tables.journal import replay
from switchyard.tables.writing import RunFolder
from switchyard.vocabulary import Cell, Outcome

DEFAULTS = {"tier": "quick", "model": [], "route": [], "precision": [], "zoo": [], "hop": [],
            "launches": 1, "threads": None, "stage-timeout": 300.0, "memory-limit": 8192.0,
            "gpu": False, "device": None, "tf32": False, "record-memory": False}  # fmt: skip
SOURCES = {"zoo": "ab12"}
BEGAN = "pytest bench/ --tier smoke"


def asked(sets=("s",), **given):
    values = {**DEFAULTS, **{name.replace("_", "-"): value for name, value in given.items()}}
    config = types.SimpleNamespace(getoption=lambda name: values[name[2:]])
    return resuming.asked_for(config, sets)


def begin(run, options=None, given={}, command=BEGAN, resumed=False, whole=True, **more):
    options = options or asked()
    return resuming.record_beginning(run, SOURCES, options, given, command, resumed, whole, **more)


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
    ({"threads": 1}, "--threads not given, now 1"),
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
        assert resuming.of_the_beginning(run) == {
            "started": first["started"], "command": BEGAN, "options": {"tier": "quick"},
        }
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


@pytest.mark.parametrize("now, said", [
    ({"cpu": "another", "cores_usable": 2}, "machine: cpu"),
    ({"cpu": "some CPU", "cores_usable": 1, "governor": "powersave"},
     "machine: cores_usable, machine: governor"),
])  # fmt: skip
def test_what_differs_of_a_machine_is_named(begun, now, said):
    run = RunFolder.reopen(begun)
    run.record(sources={"machine": {"cpu": "some CPU", "cores_usable": 2}})
    run._journal.close()
    with pytest.raises(pytest.UsageError, match=rf"other sources \({said} changed since\)"):
        resuming.reopen("newest", begun.parent, {"machine": now}, asked(), lambda *names: "")


def test_a_run_is_not_gone_on_with_under_other_settings_of_a_framework(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("JAX_COORDINATOR", "build7.corp:1234")  # no table's business
    first = a_sitting(tmp_path, CELLS)
    first.end(whole=True)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    about = (first.folder.path / "run.json").read_text()
    assert "OMP_NUM_THREADS" in about and "JAX_COORDINATOR" in about and "build7" not in about
    said = r"\(environment variables: OMP_NUM_THREADS changed since\)"
    with pytest.raises(pytest.UsageError, match=said):
        a_sitting(tmp_path, CELLS, resume="newest")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    a_sitting(tmp_path, CELLS, resume="newest").end(whole=True)


def test_a_run_is_not_gone_on_with_on_another_machine(tmp_path, monkeypatch):
    a_sitting(tmp_path, CELLS).end(whole=True)
    other = {**provenance.machine(), "cpu": "another"}
    monkeypatch.setattr(provenance, "machine", lambda: other)
    with pytest.raises(pytest.UsageError, match=r"\(machine: cpu changed since\)"):
        a_sitting(tmp_path, CELLS, resume="newest")


def test_of_two_sittings_the_first_ones_circumstances_stay(tmp_path, monkeypatch):
    first = a_sitting(tmp_path, CELLS)
    first.end(whole=True)
    begun = reading.read_about(first.folder.path)
    monkeypatch.setattr(provenance, "machine", lambda: {**begun["machine"], "boot": "another"})
    second = a_sitting(tmp_path, CELLS, resume="newest")
    second.end(whole=True)
    about = reading.read_about(second.folder.path)
    kept = ("machine", "options", "environment_variables", "started", "command")
    assert [about[name] for name in kept] == [begun[name] for name in kept]
    assert about["resumed"] == 1


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


def test_a_run_that_a_relative_path_names_is_gone_on_with_by_its_whole_one(begun, monkeypatch):
    monkeypatch.chdir(begun.parent)
    elsewhere = begun.parent / "nowhere"
    run = resuming.reopen(begun.name, elsewhere, SOURCES, asked(), lambda *names: "")
    run._journal.close()
    assert run.path == begun


def test_environments_that_only_an_earlier_sitting_used_stay_known(begun):
    run = resume(begun)
    run.record(sets=resuming.environments(run, ["s"], [environment("onnx2tf", "ab", onnx2tf="1")]))
    found = resuming.environments(run, ["s"], [environment("core", "ef", torch="2")])
    run._journal.close()
    packages = {name: one["packages"] for name, one in found["s"]["environments"].items()}
    assert packages == {"onnx2tf": {"onnx2tf": "1"}, "core": {"torch": "2"}}


@pytest.mark.parametrize("sets, launches, ordered, in_turn", [
    (["s", "t"], 2, True, True),
    (["s", "t"], 2, False, False),  # --failed-first
    (["s", "t"], 1, True, False),
    (["s"], 2, True, False),
])  # fmt: skip
def test_sets_take_turns_where_each_cell_is_launched_beside_the_other_sets(
    tmp_path, sets, launches, ordered, in_turn
):
    run = new_run(tmp_path, STARTED, version_sets=sets)
    begin(run, asked(sets, launches=launches), ordered=ordered)
    run._journal.close()
    assert reading.read_about(run.path)["sets_in_turn"] is in_turn


@pytest.mark.parametrize("began, goes_on", [(True, True), (True, False), (False, True)])
def test_a_run_is_whole_only_if_each_sitting_asked_every_question(tmp_path, began, goes_on):
    run = new_run(tmp_path, STARTED)
    sittings = [(BEGAN, False, began), ("again", True, goes_on)]
    for command, resumed, whole in sittings:
        said = begin(run, command=command, resumed=resumed, whole=whole)
    run._journal.close()
    assert said is (began and goes_on)


@pytest.mark.parametrize("began", [True, False])
def test_to_go_on_with_what_is_done_takes_nothing_from_a_run(tmp_path, began):
    run = new_run(tmp_path, STARTED, version_sets=["s", "t"])
    options = asked(["s", "t"], launches=2)
    begin(run, options, whole=began)
    said = begin(run, options, command="again -k x", resumed=True, whole=False, measures=False)
    run._journal.close()
    about = reading.read_about(run.path)
    assert said is about["every_question"] is began
    assert about["sets_in_turn"] is True and about["resumed_by"] == ["again -k x"]


def a_sitting(results, cells, resume=None, whole=True):
    """A run of ``cells``, begun with no other options."""
    run = Run.__new__(Run)
    given = {"--results": str(results), "--resume": resume, "--launches": 2, "--tier": "smoke",
             "--device": None, "--gpu": False, "--tf32": False, "--record-memory": False,
             "--jobs": 1, "--threads": None, "--stage-timeout": 300.0, "--memory-limit": 8192.0,
             "--expectations": None}  # fmt: skip
    run.config = types.SimpleNamespace(
        getoption=lambda name: given.get(name, []),
        invocation_params=types.SimpleNamespace(args=("bench/",)),
    )
    run.sets, run.zoos, run.hop_files, run.device = ["s", "t"], {}, [], "cpu"
    run.runtimes = builtin()
    run.started, run.staged, run.card = STARTED, types.SimpleNamespace(path=results), None
    run.crew = types.SimpleNamespace(known=list, other_runs=lambda: 0)
    run.yard = run.measurements = types.SimpleNamespace(close=lambda: None)
    run.progress = types.SimpleNamespace(begin=lambda total, folder: None)
    run._recorded, run._measures = 0, True
    route = Route("torch-eager", (), "torch-eager", "quick")
    run.begin([Planned(cell, route, {"family": "f"}) for cell in cells], whole)
    return run


CELLS = [Cell(version_set, "cpu", "float32", "m", "torch-eager") for version_set in "st"]


@pytest.mark.parametrize("done, ended, whole", [
    (2, True, True),
    (2, False, True),  # Ctrl-C over what is replayed
    (1, True, False),
])  # fmt: skip
def test_a_whole_run_stays_one_when_a_part_of_it_is_replayed(tmp_path, done, ended, whole):
    first = a_sitting(tmp_path, CELLS)
    for cell in CELLS[:done]:
        first.folder.update(cell, verdict="failed")
        first.done(cell)
    first.end(whole=True)
    assert reading.read_about(first.folder.path)["whole"] is whole
    second = a_sitting(tmp_path, CELLS[:1], resume="newest", whole=False)
    second.end(whole=ended)
    about = reading.read_about(first.folder.path)
    assert (about["whole"], about["sets_in_turn"], about["resumed"]) == (whole, True, 1)


def test_a_run_that_is_gone_on_with_in_part_is_whole_no_more(tmp_path):
    first = a_sitting(tmp_path, CELLS)
    first.done(CELLS[0])
    first.end(whole=True)
    second = a_sitting(tmp_path, CELLS[1:], resume="newest", whole=False)
    second.done(CELLS[1])
    second.end(whole=True)
    about = reading.read_about(first.folder.path)
    assert (about["state"], about["whole"], about["sets_in_turn"]) == ("done", False, False)


def test_a_verdict_is_written_down_behind_all_that_goes_with_it(tmp_path):
    """What has one is not asked again where a run that was killed goes on."""
    run = a_sitting(tmp_path, CELLS)
    (one,) = (one for one in run.selection.cells if one.cell == CELLS[0])
    figures = [{"condition": probe, "metric": "mse", "value": 1e-9} for probe in ("fresh", "zeros")]
    made = Made(record={"fields": {"mse": 1e-9}, "figures": figures},
                outcome=Outcome("compare", "excellent"))  # fmt: skip
    run.yard.unhosted = lambda planned: None
    run.expectations = {"s": types.SimpleNamespace(exists=False)}
    run.progress.answered = lambda: None
    run._keep_artefact = lambda planned, made: entered.append("artefact")
    run.folder.figure = lambda cell, condition, *more: entered.append(condition)
    run.folder.update = lambda cell, **fields: entered.append(fields["verdict"])
    entered = []
    run._enter(one, made)
    assert entered == ["fresh", "zeros", "artefact", "excellent"]


def test_a_run_is_made_from_the_runners_code_as_well(tmp_path):
    assert a_sitting(tmp_path, CELLS).folder.about["sources"]["measuring"] == sources.measuring()


@pytest.mark.parametrize("module", sources.MEASURING)
def test_code_of_the_runners_that_makes_a_column_is_a_source_of_its_runs(
    tmp_path, monkeypatch, module
):
    before = sources.measuring()
    files = {one: f"switchyard/{one.replace('.', '/')}.py" for one in sources.MEASURING}
    for file in files.values():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / file, tmp_path / file)
    monkeypatch.setattr(sources, "PROJECT", tmp_path)
    assert sources.measuring() == before
    with open(tmp_path / files[module], "a") as file:
        file.write("# edited\n")
    assert sources.measuring() != before


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

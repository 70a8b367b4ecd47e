"""``pytest bench/`` as a person meets it: usage errors, selections, interruptions."""

from __future__ import annotations

import errno
import json
import re
import shutil
import signal
import time
import types
from pathlib import Path

import pytest

from switchyard.runner import plugin
from switchyard.tables.reading import read_about, read_cells, read_figures
from switchyard.vocabulary import Cell, NotUsable

PLANTED = Path(__file__).parent / "planted"
TINY = ("--zoo", PLANTED / "tiny.py")
BOTH = ("tiny_linear-torchscript-ort", "tiny_mlp-torchscript-ort")
USAGE_ERROR, FAILED, NOTHING = 4, 1, 5


def until(condition, process, patience=300):
    """Wait for ``condition`` while ``process`` lives; False where it never came."""
    deadline = time.monotonic() + patience
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return bool(condition())
        time.sleep(0.05)
    return True


# --- usage errors: said at once, with the nearest names, and nothing is left behind


@pytest.mark.parametrize("arguments, said", [
    (["--model", "tiny_linaer"], "did you mean tiny_linear"),
    (["--route", "torchscript-otr"], "did you mean torchscript-ort"),
    (["--version-set", "torch2.13-tf2.12"], "did you mean torch2.13-tf2.21"),
    (["--tier", "quik"], "'quick'"),
    (["--accept"], "--accept needs --reason"),
    (["--reason", "why not"], "--reason does nothing without --accept"),
    (["-n", "2"], "--jobs"),
    (["--jobs", "0"], "--jobs"),
    (["--stage-timeout", "-1"], "--stage-timeout"),
    (["--zoo", "no_such_zoo.py"], "no_such_zoo.py"),
    (["--hop", "no_such_hop.py"], "no_such_hop.py"),
    (["--resume"], "there is no run"),
])  # fmt: skip
def test_a_wrong_option_is_a_usage_error_that_helps(bench, arguments, said):
    ended = bench(*TINY, *arguments)
    assert ended.status == USAGE_ERROR, ended.output
    assert said in ended.output and "Traceback" not in ended.output, ended.output
    assert not ended.results.exists()


def test_a_hop_file_that_does_not_import_is_a_usage_error_with_file_and_line(bench, tmp_path):
    hop = tmp_path / "my_hop.py"
    hop.write_text("import json\n\nHOPS = (json.nothing,)\n")
    ended = bench(*TINY, "--hop", hop)
    assert ended.status == USAGE_ERROR and f"{hop}:3" in ended.output, ended.output


def test_a_hop_file_that_is_no_python_is_told_by_its_line(bench, tmp_path):
    hop = tmp_path / "my_hop.py"
    hop.write_text("import json\n\nHOPS = (\n")
    ended = bench(*TINY, "--hop", hop)
    assert ended.status == USAGE_ERROR and f"{hop}:3: SyntaxError" in ended.output, ended.output


def test_a_hop_that_no_route_of_the_run_has_is_said_once(bench, tmp_path):
    hop = tmp_path / "my_hop.py"
    hop.write_text(
        "from switchyard.hops.onnxslim import OnnxSlim\n\n\nclass Mine(OnnxSlim):\n"
        "    name, after = 'mine', ()\n\n\nHOPS = [Mine()]\n"
    )
    ended = bench(*TINY, "--hop", hop, "--collect-only", *bench.only(BOTH[0]))
    assert ended.output.count("hop 'mine' is in no cell of this run") == 1, ended.output
    asked = bench(*TINY, "--hop", hop, "--collect-only", "--route", "torchscript-mine-ort")
    assert "in no cell" not in asked.output and "torchscript-mine-ort" in asked.output


def test_a_zoo_file_that_fails_is_named_with_its_line_and_the_rest_runs(bench, tmp_path):
    broken = tmp_path / "broken_zoo.py"
    broken.write_text("import torch\n\nraise RuntimeError('half a thought')\n")
    ended = bench(*TINY, "--zoo", broken, *bench.only(BOTH[0]))
    assert f"{broken}:3" in ended.output and "half a thought" in ended.output
    (failures,) = read_about(ended.folder)["zoo_failures"].values()
    assert failures == {"<path>/broken_zoo.py": "RuntimeError: half a thought"}
    assert ended.outcome(BOTH[0])[2] == "excellent"
    assert ended.status == FAILED


def test_a_zoo_file_without_a_model_is_a_failure_and_said(bench, tmp_path):
    empty = tmp_path / "empty_zoo.py"
    empty.write_text("def forgotten():\n    return None\n")
    ended = bench("--zoo", empty)
    assert ended.status == FAILED and not ended.results.exists()
    assert f"{empty} (torch2.13-tf2.21): no model is declared in it" in ended.output, ended.output


class Unusable(NotUsable):
    pass


@pytest.mark.parametrize("error, said", [
    (Unusable("no such pin"), "no such pin"),
    (OSError(errno.ENOSPC, "No space left on device"), "set SWITCHYARD_CACHE"),
])  # fmt: skip
def test_what_a_run_cannot_begin_with_is_a_usage_error(monkeypatch, error, said):
    def run(config, progress):
        raise error

    monkeypatch.setattr(plugin, "Run", run)
    stash = pytest.Stash()
    stash[plugin.PROGRESS] = None
    with pytest.raises(pytest.UsageError, match=said):
        plugin._run(types.SimpleNamespace(stash=stash))


# --- selection


def test_collecting_only_leaves_no_trace_and_shows_the_ids(bench):
    ended = bench(*TINY, "--collect-only", "-q", "--route", "torchscript-ort")
    assert ended.status == 0 and not ended.results.exists()
    ids = re.findall(r"\[(.*)\]", ended.output)
    assert "torch2.13-tf2.21:cpu:float32:tiny_mlp-torchscript-ort" in ids
    assert all(re.fullmatch(r"[\w.-]+:cpu:float32:[a-z0-9_]+-torchscript-ort", one) for one in ids)
    assert len(ids) == 2 * 3


def test_a_parameter_called_cell_of_somebody_elses_test_is_left_alone():
    def item(marker):
        callspec = types.SimpleNamespace(params={"cell": "theirs"})
        return types.SimpleNamespace(callspec=callspec, stash=pytest.Stash(),
                                     get_closest_marker=lambda name: marker)  # fmt: skip

    theirs, stand_in, deselected = item(None), item("suite"), []
    stash = pytest.Stash()
    stash[plugin.RUN] = types.SimpleNamespace(planned=[])
    hook = types.SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items))
    items = [theirs, stand_in]
    plugin.pytest_collection_modifyitems(types.SimpleNamespace(stash=stash, hook=hook), items)
    assert items == [theirs] and deselected == [stand_in]


def test_a_plan_of_what_would_be_set_up_leaves_no_run(bench):
    ended = bench(*TINY, "--setup-plan", *bench.only(BOTH[0]), files=["bench/"])
    assert ended.status == 0 and not ended.results.exists(), ended.output


@pytest.mark.parametrize("option", [
    "", "collectonly", "setupplan", "showfixtures", "show_fixtures_per_test",
])  # fmt: skip
def test_what_only_shows_what_there_is_begins_no_run(option):
    begun, stash, item = [], pytest.Stash(), types.SimpleNamespace(stash=pytest.Stash())
    cell = Cell("s", "cpu", "float32", "m", "torch-eager")
    planned = types.SimpleNamespace(cell=cell)
    item.stash[plugin.PLANNED] = plugin.Parameter(0, planned, "accuracy")
    stash[plugin.RUN] = types.SimpleNamespace(
        planned=[], begin=lambda *given, **more: begun.append(given)
    )
    config = types.SimpleNamespace(stash=stash, getoption=lambda name: name == option,
                                   pluginmanager=pytest.PytestPluginManager(),
                                   add_cleanup=lambda what: what())  # fmt: skip
    plugin.pytest_collection_finish(types.SimpleNamespace(config=config, items=[item]))
    assert begun == ([] if option else [([planned],)])


@pytest.mark.parametrize("only, skip, left", [
    (False, False, ["accuracy", "latency"]),
    (True, False, ["latency"]),
    (False, True, ["accuracy"]),
])  # fmt: skip
def test_what_pytest_benchmark_would_skip_is_not_asked_at_all(only, skip, left):
    def item(suite, *fixtures):
        callspec = types.SimpleNamespace(params={"cell": plugin.Parameter(0, None, suite)})
        return types.SimpleNamespace(callspec=callspec, stash=pytest.Stash(), fixturenames=fixtures)

    stash, deselected = pytest.Stash(), []
    stash[plugin.RUN] = types.SimpleNamespace(planned=[])
    hook = types.SimpleNamespace(pytest_deselected=lambda items: deselected.extend(items))
    benchmarks = types.SimpleNamespace(only=only, skip=skip)
    config = types.SimpleNamespace(stash=stash, hook=hook, _benchmarksession=benchmarks)
    items = [item("accuracy", "cell"), item("latency", "cell", "replay", "benchmark")]
    every = list(items)
    plugin.pytest_collection_modifyitems(config, items)
    assert [one.stash[plugin.PLANNED].suite for one in items] == left
    assert [one for one in every if one not in items] == deselected


def test_the_stand_ins_of_suites_that_ask_nothing_are_not_counted_as_selected(bench):
    ended = bench(*TINY, "--collect-only", "--route", "torchscript-ort", files=["bench/"])
    counts = re.search(r"collected (\d+) items / (\d+) deselected / (\d+) selected", ended.output)
    collected, deselected, selected = map(int, counts.groups())
    assert deselected > 0 and collected - deselected == selected == ended.output.count("<Function")


def test_a_selection_that_leaves_nothing_runs_nothing(bench):
    ended = bench(*TINY, "-k", "no_such_cell_at_all")
    assert ended.status == NOTHING and not ended.results.exists()


def test_last_failed_alone_runs_what_failed_and_what_it_needs(bench):
    first = bench(*TINY, *bench.only(BOTH[0], "tiny_nan-torchscript-ort"))
    assert first.status == FAILED
    second = bench(*TINY, "--lf")
    assert second.status == FAILED
    assert set(second.rows) == {"tiny_nan-torch-eager", "tiny_nan-torchscript-ort"}


def test_one_suite_alone_asks_for_what_it_needs_and_artefacts_are_kept(bench):
    ended = bench(*TINY, *bench.only(BOTH[0]), "--keep-artifacts", files=["bench/test_latency.py"])
    assert ended.status == 0
    row = ended.rows[BOTH[0]]
    assert row["verdict"] == "excellent" and float(row["latency_median_ms"]) > 0
    assert float(row["ratio_to_native"]) > 0
    kept = ended.folder / "artifacts" / BOTH[0]
    assert (kept / "model.onnx").stat().st_size > 0 and (kept / "manifest.json").exists()


# --- interruptions


@pytest.fixture
def zoo(tmp_path):
    return Path(shutil.copy(PLANTED / "tiny.py", tmp_path / "my_zoo.py"))


def answer_times(folder):
    """Cell -> how long asking it took, of those that have a verdict: nobody asks twice in the
    same time to the last digit."""
    rows = read_cells(folder).to_dict("records")
    return {f"{r['model']}-{r['route']}": r["stage_seconds"] for r in rows if r["verdict"]}


def arguments_of(zoo, bench):
    return ["--zoo", zoo, *bench.only(*BOTH, *(c.replace("torchscript-ort", "torch-eager")
                                               for c in BOTH))]  # fmt: skip


def done(results):
    """The cells whose ``done`` stands in the journal."""
    lines = [line for path in results.glob("*/journal.jsonl") for line in path.open()]
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return {e["cell"]["model"] + "-" + e["cell"]["route"] for e in entries
            if e["event"] == "state" and e["state"] == "done"}  # fmt: skip


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_was_finished_survives_an_interruption_and_resume_takes_up_there(bench, zoo, ending):
    arguments = arguments_of(zoo, bench)
    process = bench.start(*arguments, files=["bench/"])
    assert until(lambda: done(process.results), process), process.log.read_text()
    process.send_signal(ending)
    ended = bench.end(process)
    told = ending != signal.SIGKILL
    assert ended.status == (2 if told else -9)
    assert ended.left_behind() == []
    finished = done(ended.results)
    assert finished and len(finished) < 4
    answered = answer_times(ended.folder)
    assert set(answered) > finished

    before = {cell: ended.rows[cell] for cell in finished} if told else {}
    if told:
        states = {cell: row["state"] for cell, row in ended.rows.items()}
        assert {c for c, state in states.items() if state == "done"} == finished
        assert "running" not in states.values()

    begun = read_about(ended.folder)
    # What a reader has to know of a run that was killed as well.
    assert begun["whole_selection"] is False and begun["machine"] and begun["source"]
    other = bench(*arguments, "--launches", "2", "--resume", files=["bench/"],
                  results=ended.results)  # fmt: skip
    assert other.status == USAGE_ERROR, other.output
    assert "--launches 1, now 2" in other.output and begun["command"] in other.output
    assert read_about(ended.folder) == begun

    resumed = bench(*arguments, "--resume", files=["bench/"], results=ended.results)
    assert resumed.status == 0, resumed.output
    about = read_about(resumed.folder)
    assert [about[name] for name in ("started", "command")] == [
        begun[name] for name in ("started", "command")]  # fmt: skip
    assert [command.count("--resume") for command in about["resumed_by"]] == [1]
    assert {row["state"] for row in resumed.rows.values()} == {"done"}
    assert {row["verdict"] for row in resumed.rows.values()} == {"excellent"}
    assert all(row["latency_median_ms"] for row in resumed.rows.values())
    again = answer_times(resumed.folder)
    assert {cell: again[cell] for cell in answered} == answered
    figures = read_figures(resumed.folder)
    assert not figures.duplicated(["model", "route", "probe_or_condition", "metric"]).any()
    for route, of_route in figures.groupby("route"):
        points = set(of_route["probe_or_condition"])
        assert {"import 0", "load 0", "first_call 0"} <= points
        assert ("build 0" in points) == (route == "torch-eager")  # built where it is measured
    for cell, row in before.items():
        assert resumed.rows[cell]["latency_median_ms"] == row["latency_median_ms"]

    whole = (resumed.folder / "cells.csv").read_bytes()
    zoo.write_text(zoo.read_text().replace("nn.Linear(6, 4)\n", "nn.Linear(6, 4, bias=False)\n"))
    refused = bench(*arguments, "--resume", files=["bench/"], results=ended.results)
    assert refused.status == USAGE_ERROR and "other sources" in refused.output, refused.output
    assert (ended.folder / "cells.csv").read_bytes() == whole


BROKEN = """
from switchyard.runner import session


def measured(self, planned):
    raise OSError("the disk is full")


session.Run.measured = measured
"""


def test_a_cell_whose_question_the_runner_broke_off_is_not_done_and_taken_up_again(bench, tmp_path):
    (tmp_path / "broken.py").write_text(BROKEN)
    select = [*TINY, *bench.only(BOTH[0])]
    files = ["bench/test_accuracy.py", "bench/test_latency.py"]
    first = bench(*select, "-p", "broken", files=files, PYTHONPATH=str(tmp_path))
    assert first.status == FAILED and "the disk is full" in first.output
    row, about = first.rows[BOTH[0]], read_about(first.folder)
    assert (row["state"], row["verdict"], about["state"]) == (
        "interrupted", "excellent", "interrupted")  # fmt: skip
    assert re.search(r"excellent .*<- interrupted", first.output), first.output

    resumed = bench(*select, "--resume", files=files, results=first.results)
    assert resumed.status == 0, resumed.output
    again = resumed.rows[BOTH[0]]
    assert again["state"] == "done" and float(again["latency_median_ms"]) > 0
    assert again["stage_seconds"] == row["stage_seconds"]  # nobody asks twice in the same time


TOLD_AGAIN = """
import os
import signal

import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_sessionfinish():
    os.kill(os.getpid(), int(os.environ["TOLD_AGAIN"]))
    yield
"""


def _interrupted_during_a_conversion(bench, *arguments, **variables):
    process = bench.start("--zoo", PLANTED / "zoo.py", "--hop", PLANTED / "hops.py", "--route",
                          "hangs-ort", "--model", "mlp", "--stage-timeout", "3000", *arguments,
                          **variables)  # fmt: skip
    assert until(lambda: "cells to go" in process.log.read_text(), process)
    assert until(lambda: _hanging(process.mark), process)
    process.send_signal(signal.SIGINT)
    return bench.end(process)


def test_ctrl_c_during_a_conversion_ends_at_once_and_blames_nobody(bench):
    ended = _interrupted_during_a_conversion(bench)
    assert ended.status == 2
    assert ended.left_behind() == []
    assert ended.rows["mlp-hangs-ort"]["state"] == "interrupted"
    assert not ended.rows["mlp-hangs-ort"]["kind"]


@pytest.mark.parametrize("again", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_end_while_it_ends_leaves_nothing_behind(bench, tmp_path, again):
    (tmp_path / "told_again.py").write_text(TOLD_AGAIN)
    ended = _interrupted_during_a_conversion(
        bench, "-p", "told_again", PYTHONPATH=str(tmp_path), TOLD_AGAIN=str(int(again))
    )
    assert ended.left_behind() == []
    closed = again == signal.SIGTERM  # CI's cancel is one signal and then the other
    assert ended.status == (2 if closed else -signal.SIGINT)
    assert (ended.rows["mlp-hangs-ort"]["state"] == "interrupted") is closed


FAILS_AT_THE_END = """
import os

import pytest


def fail():
    raise OSError("no room for the benchmark")


if os.environ["FAILS_AT"] == "finish":

    @pytest.hookimpl(hookwrapper=True)
    def pytest_sessionfinish():
        fail()
        yield

else:

    def pytest_terminal_summary():
        fail()
"""


@pytest.mark.parametrize("at", ["finish", "summary"])
def test_what_another_plugin_fails_at_in_the_end_costs_nothing_of_the_run(bench, tmp_path, at):
    """As pytest-benchmark does whose storage is full, or for --benchmark-compare-fail."""
    (tmp_path / "fails_at_the_end.py").write_text(FAILS_AT_THE_END)
    ended = bench(*TINY, *bench.only(BOTH[0]), "-p", "fails_at_the_end",
                  PYTHONPATH=str(tmp_path), FAILS_AT=at)  # fmt: skip
    assert ended.status != 0 and "no room for the benchmark" in ended.output
    assert read_about(ended.folder)["state"] == "done"
    assert ended.rows[BOTH[0]]["state"] == "done" and ended.left_behind() == []
    assert at == "finish" or "table: " in ended.output


def _hanging(mark):
    """Whether the planted hop's own child is there."""
    import psutil

    for process in psutil.process_iter():
        try:
            if mark in process.environ().values() and "SIGTERM" in " ".join(process.cmdline()):
                return True
        except psutil.Error:
            continue
    return False


def test_a_cells_line_names_its_set_where_the_run_is_of_several():
    cell = Cell("torch2.9-tf2.20", "cpu", "float32", "fft", "dynamo-ort")
    planned = types.SimpleNamespace(cell=cell, label="fft")
    row = {"verdict": "excellent", "kind": None, "mse": None, "latency_median_ms": 2.0,
           "memory_model_data_mib": None, "expected": None, "state": "done"}  # fmt: skip
    assert plugin._line(row, planned, several_sets=False).startswith("fft-dynamo-ort ")
    assert plugin._line(row, planned, several_sets=True).split()[:3] == [
        "torch2.9-tf2.20", "fft-dynamo-ort", "excellent"]  # fmt: skip


def test_expectations_that_cannot_be_written_cost_nothing_of_the_run(bench, tmp_path):
    accepted = tmp_path / "accepted"
    (accepted / "torch2.13-tf2.21-cpu.csv").mkdir(parents=True)  # in the new table's way
    options = ["--accept", "--reason", "because", "--expectations", str(accepted)]
    ended = bench(*TINY, "--model", "tiny_linear", "--route", "torch-eager", *options)
    assert ended.status == FAILED, ended.output
    assert "could not be written: " in ended.output and "Traceback" not in ended.output
    (about,) = ended.results.rglob("run.json")
    assert json.loads(about.read_text())["state"] == "done"

"""``pytest bench/`` as a person meets it: usage errors, selections, lines."""

from __future__ import annotations

import errno
import json
import re
import types
from pathlib import Path

import pytest

from switchyard.runner import plugin
from switchyard.tables.reading import read_about
from switchyard.vocabulary import Cell, NotUsable

PLANTED = Path(__file__).parent / "planted"
TINY = ("--zoo", PLANTED / "tiny.py")
BOTH = ("tiny_linear-torchscript-ort", "tiny_mlp-torchscript-ort")
USAGE_ERROR, FAILED, NOTHING = 4, 1, 5


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

"""Expectations: a table of what is known not to work, strict both ways."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import models_zoo
from switchyard import hops, routes, runtimes
from switchyard.runner import describing, plugin, staging
from switchyard.runner.expectations import (
    COLUMNS,
    BadExpectations,
    Expectation,
    Expectations,
    table_path,
)
from switchyard.runner.plan import Zoo
from switchyard.runner.selection import Selection
from switchyard.vocabulary import UNACCEPTABLE_KINDS, Cell, Outcome

PLANTED = Path(__file__).parent / "planted"
HEADER = ",".join(COLUMNS)
FINE = Outcome("compare", "excellent")
WRONG = Outcome("compare", "investigate", "layout-permuted")
REFUSED = Outcome("convert:dynamo", "refused", "unsupported-operator")


def cell(model="fft", route="dynamo-ort"):
    return Cell("set", "cpu", "float32", model, route)


def table(folder, *rows):
    path = folder / "set-cpu.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def accepted(folder, outcome, reason="known"):
    expectations = Expectations(table_path(folder, "set", "cpu"))
    lines = expectations.accept([(cell(), outcome)], reason)
    expectations.write()
    return lines


def test_a_table_that_is_not_there_expects_nothing(tmp_path):
    expectations = Expectations(table_path(tmp_path, "set", "cpu"))
    assert not expectations.exists and expectations.of(cell()) is None


def test_rows_of_a_model_or_route_that_there_is_not_are_found(tmp_path):
    path = table(
        tmp_path, *(f"float32,{one},compare,layout-permuted,investigate,known"
                    for one in ("fft,dynamo-ort", "ftt,dynamo-ort", "fft,dynamoo-ort"))
    )  # fmt: skip
    stray = Expectations(path).stray({"fft"}, {"dynamo-ort", "torch-eager"})
    assert stray == ["ftt-dynamo-ort", "fft-dynamoo-ort"]


def test_a_model_of_ones_own_is_not_expected_to_fail_as_the_zoos_of_its_name(tmp_path):
    row = "{},dynamo-ort,compare,layout-permuted,investigate,known"
    path = table(tmp_path, *(f"float32,{row.format(model)}" for model in ("fft", "lstm")))
    mine = tmp_path / "mine.py"
    mine.write_text("")
    staged = staging.stage(tmp_path / "cache")
    [recurrent] = [file for file in describing.zoo_files([], staged) if file.stem == "recurrent"]
    zoo = Zoo({"fft": {"file": str(mine)}, "lstm": {"file": str(recurrent)}}, {})
    expectations = Expectations(path)
    expectations.forget(describing.own_models(zoo, staged))
    assert expectations.of(cell("fft")) is None and expectations.of(cell("lstm")) is not None
    assert not expectations.changed and not expectations.stray({"lstm"}, {"dynamo-ort"})
    family = staging.PROJECT / "models_zoo" / "recurrent.py"
    assert not describing.own_models(Zoo({"lstm": {"file": str(family)}}, {}), staged)


def test_no_committed_row_is_of_a_model_or_route_that_there_is_not():
    every = routes.routes(hops.builtin(), runtimes.builtin(), every=True)
    zoo = Path(models_zoo.__file__).parent
    models = {
        node.name
        for file in zoo.glob("*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    tables = sorted((zoo.parent / "bench" / "expectations").glob("*.csv"))
    assert tables and "adaptive_avg_pool" in models
    assert {path.name: Expectations(path).stray(models, every) for path in tables} == {
        path.name: [] for path in tables
    }


def test_what_was_accepted_is_read_back_with_its_reason(tmp_path):
    assert accepted(tmp_path, WRONG, 'because, as "they" say') == [
        "+ fft-dynamo-ort: investigate at compare (layout-permuted)"
    ]
    read = Expectations(table_path(tmp_path, "set", "cpu")).of(cell())
    assert read == Expectation(
        "compare", "layout-permuted", "investigate", 'because, as "they" say'
    )


def test_a_reason_that_a_spreadsheet_would_run_is_guarded_and_read_back(tmp_path):
    reason = "=HYPERLINK(1)"
    accepted(tmp_path, WRONG, reason)
    path = table_path(tmp_path, "set", "cpu")
    assert f",'{reason}" in path.read_text()
    assert Expectations(path).of(cell()).reason == reason


def test_accepting_says_what_changed_and_keeps_the_reason_of_what_did_not(tmp_path):
    accepted(tmp_path, WRONG, "first")
    assert accepted(tmp_path, WRONG, "second") == []
    assert Expectations(table_path(tmp_path, "set", "cpu")).of(cell()).reason == "first"
    (line,) = accepted(tmp_path, REFUSED, "third")
    assert line == (
        "~ fft-dynamo-ort: investigate at compare (layout-permuted) -> "
        "refused at convert:dynamo (unsupported-operator)"
    )
    assert Expectations(table_path(tmp_path, "set", "cpu")).of(cell()).reason == "third"
    assert accepted(tmp_path, FINE)[0].startswith("- fft-dynamo-ort")
    assert len(Expectations(table_path(tmp_path, "set", "cpu"))) == 0


def test_a_baseline_that_nobody_asked_for_is_not_accepted_along(tmp_path):
    asked, native = cell(), cell(route="torch-eager")
    run = types.SimpleNamespace(
        expectations={asked.version_set: Expectations(tmp_path / "set-cpu.csv")},
        selection=Selection(
            [types.SimpleNamespace(cell=one) for one in (native, asked)], unasked={native}
        ),
        folder=types.SimpleNamespace(row=lambda cell: {"state": "done"}),
        answer=lambda planned: WRONG,
    )
    said = plugin._accept(run, "of one route")
    assert said[1:] == ["+ fft-dynamo-ort: investigate at compare (layout-permuted)"]
    assert Expectations(tmp_path / "set-cpu.csv").of(native) is None


def test_a_run_that_ended_before_any_cell_makes_no_table_of_its_set(tmp_path):
    """What has one expects every other cell to pass."""
    run = types.SimpleNamespace(
        expectations={"set": Expectations(tmp_path / "set-cpu.csv")}, selection=Selection([])
    )
    assert plugin._accept(run, "a reason") == ["set-cpu.csv: 0 changed"]
    assert not (tmp_path / "set-cpu.csv").exists()


@pytest.mark.parametrize("kind", sorted({*UNACCEPTABLE_KINDS, "bad-reference", "bad-fixture"}))
def test_what_may_end_otherwise_next_time_cannot_be_accepted(tmp_path, kind):
    accepted(tmp_path, WRONG)
    (line,) = accepted(tmp_path, Outcome("convert:dynamo", "failed", kind))
    assert line == f"! fft-dynamo-ort: {kind} cannot be accepted"
    assert Expectations(table_path(tmp_path, "set", "cpu")).of(cell()).kind == "layout-permuted"


def test_what_could_not_be_installed_is_accepted_where_the_packages_are_at_fault(tmp_path):
    (line,) = accepted(tmp_path, Outcome("resolve", "unavailable", "no-result"))
    assert line == (
        "! fft-dynamo-ort: no-result cannot be accepted: its environment could not be made"
    )
    assert Expectations(table_path(tmp_path, "set", "cpu")).of(cell()) is None
    (line,) = accepted(tmp_path, Outcome("resolve", "unavailable", "unsatisfiable-pins"))
    assert line == "+ fft-dynamo-ort: unavailable at resolve (unsatisfiable-pins)"


def test_a_table_is_of_one_encoding_whatever_the_shells(tmp_path):
    program = (
        "import pathlib, sys; from switchyard.runner.expectations import Expectations\n"
        "from switchyard.vocabulary import Cell, Outcome\n"
        "table = Expectations(pathlib.Path(sys.argv[1]))\n"
        "of = Cell('set', 'cpu', 'float32', 'fft', 'dynamo-ort')\n"
        "table.accept([(of, Outcome('compare', 'investigate', 'precision'))], '\\u00b5')\n"
        "table.write(); assert Expectations(table.path).of(of).reason == '\\u00b5'"
    )
    path = table_path(tmp_path, "set", "cpu")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", program, str(path)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, env={**os.environ, **plain}, cwd=root, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert Expectations(path).of(cell()).reason == "\u00b5"


def test_timeout_oom_and_silent_exit_are_among_them():
    assert {"timeout", "host-oom", "device-lost", "no-result"} <= UNACCEPTABLE_KINDS


@pytest.mark.parametrize("other", [
    Outcome("compare", "investigate", "precision"),
    Outcome("compare", "failed", "layout-permuted"),
    Outcome("run", "investigate", "layout-permuted"),
    FINE,
])  # fmt: skip
def test_stage_kind_and_verdict_must_all_be_met(other):
    wanted = Expectation("compare", "layout-permuted", "investigate", "known")
    assert wanted.met_by(WRONG) and not wanted.met_by(other)


@pytest.mark.parametrize("stage, suite", [
    ("convert:onnx2tf", "conversion"), ("build", "conversion"), ("load", "accuracy"),
    ("run", "accuracy"), ("compare", "accuracy"),
])  # fmt: skip
def test_an_expectation_binds_to_the_suite_that_owns_its_stage(stage, suite):
    assert Expectation(stage, "crash", "failed", "known").suite == suite


@pytest.mark.parametrize("row, said", [
    ("float32,a,r,comparing,precision,investigate,x", "stage"),
    ("float32,a,r,compare,imprecision,investigate,x", "did you mean precision"),
    ("float32,a,r,compare,precision,investigated,x", "did you mean investigate"),
    ("float32,a,r,compare,precision,investigate,", "without a reason"),
    ("float32,a,r,compare,precision,investigate,  ", "without a reason"),
    ("float32,a,r,compare,precision", "columns"),
    ("float32,a,r,compare,precision,investigate,x,y", "columns"),
    ("float32,good,r,compare,precision,investigate,x", "good-r stands twice"),
    ("float32,a,r,convert:dynamo,timeout,failed,x", "timeout cannot be expected"),
    ("float32,a,r,measure,crash,failed,x", "what is measured cannot be expected to fail"),
])  # fmt: skip
def test_a_bad_row_is_named_with_file_and_line(tmp_path, row, said):
    path = table(tmp_path, "float32,good,r,compare,precision,investigate,because", row)
    with pytest.raises(BadExpectations) as bad:
        Expectations(path)
    assert f"{path}:3" in str(bad.value) and said in str(bad.value)


def test_a_table_with_other_columns_is_refused(tmp_path):
    path = tmp_path / "set-cpu.csv"
    path.write_text("model,route,reason\n")
    with pytest.raises(BadExpectations, match="first line should be precision,model"):
        Expectations(path)


# --- in real runs


#: Cells by their converter: what it does to a zeroed output in the first run and in the next.
DRIFT = {
    "steady": ("graph=all_zero", "graph=all_zero"),
    "worse": ("graph=all_zero", "graph=nan_in_one_place"),
    "earlier": ("graph=all_zero", "process=exit_quietly"),
    "better": ("graph=all_zero", "graph=None"),
}


@pytest.fixture(scope="module")
def drifted(bench, tmp_path_factory):
    """Three runs: outcomes are accepted, their converters change, what came is accepted."""
    folder = tmp_path_factory.mktemp("drifting")
    honest, _, _ = (PLANTED / "hops.py").read_text().partition("\nHOPS = ")
    expected = folder / "torch2.13-tf2.21-cpu.csv"

    def run(time, *arguments):
        hops = ", ".join(f"Planted({name!r}, {how[time]})" for name, how in DRIFT.items())
        (folder / "hop.py").write_text(f"{honest}\nHOPS = ({hops},)\n")
        chosen = [word for name in DRIFT for word in ("--route", f"{name}-ort")]
        ended = bench("--zoo", PLANTED / "tiny.py", "--hop", folder / "hop.py", "--model",
                      "tiny_mlp", *chosen, "--expectations", folder, *arguments)  # fmt: skip
        ended.table = dict(
            (row.split(",")[2], row.split(",", 3)[3])
            for row in expected.read_text().splitlines()[1:]
        )
        return ended

    return [run(0, "--accept", "--reason", "planted"), run(1),
            run(1, "--accept", "--reason", "it changed")]  # fmt: skip


ZERO = "compare,constant-output,investigate,planted"


def test_accepting_a_run_writes_the_table_and_prints_the_difference(drifted):
    first, _, _ = drifted
    assert first.status == 0
    assert first.table == {f"{name}-ort": ZERO for name in DRIFT}
    for name in DRIFT:
        said = f"+ tiny_mlp-{name}-ort: investigate at compare (constant-output)"
        assert said in first.output


def test_an_outcome_that_changes_or_mends_itself_fails_the_run(drifted):
    _, second, _ = drifted
    assert second.status == 1
    kinds = {name: second.rows[f"tiny_mlp-{name}-ort"]["expected"] for name in DRIFT}
    assert kinds == {
        "steady": "as-expected", "worse": "changed", "earlier": "changed", "better": "fixed"
    }  # fmt: skip
    assert "expected: investigate at compare (constant-output) because planted" in second.output
    assert "pytest bench/ --model tiny_mlp --route worse-ort" in second.output
    assert "XPASS(strict)" in second.output
    assert "3 failed" in second.output and "1 xfailed" in second.output, second.output


def test_what_cannot_be_accepted_stays_as_it_was_and_is_said(drifted):
    _, _, third = drifted
    assert third.table == {
        "steady-ort": ZERO,
        "worse-ort": "compare,non-finite,investigate,it changed",
        "earlier-ort": ZERO,
    }
    assert "! tiny_mlp-earlier-ort: no-result cannot be accepted" in third.output
    assert "~ tiny_mlp-worse-ort: investigate at compare (constant-output) -> " in third.output
    assert "- tiny_mlp-better-ort: investigate at compare (constant-output)" in third.output


def test_a_bad_table_is_a_usage_error_with_file_and_line(bench, tmp_path):
    path = table(tmp_path, "float32,a,r,compare,imprecision,investigate,x")
    path = path.rename(tmp_path / "torch2.13-tf2.21-cpu.csv")
    ended = bench("--zoo", PLANTED / "tiny.py", "--expectations", tmp_path)
    assert ended.status == 4 and f"{path}:2" in ended.output and not ended.results.exists()

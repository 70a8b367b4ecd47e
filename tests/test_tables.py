"""Tables survive what happens to them: kills, resumes, spreadsheets, other tools, cuts."""

from __future__ import annotations

import contextlib
import csv
import math
import resource
import signal
import subprocess
import sys

import pytest
from run_folders import ROOT, STARTED, cell, finish, new_run, run  # noqa: F401

from switchyard import vocabulary
from switchyard.tables import journal, reading, schema, writing
from switchyard.tables.writing import RunFolder
from switchyard.vocabulary import UnknownName

# the columns


def test_columns_are_named_once_and_described():
    assert len(set(schema.NAMES)) == len(schema.NAMES)
    assert schema.NAMES[0] == "schema"
    assert all(column.description for column in schema.COLUMNS)
    assert set(schema.KEY) == {field for field in vars(cell())}


@pytest.mark.parametrize("column", schema.COLUMNS, ids=lambda column: column.name)
def test_units_stand_in_the_names(column):
    suffix = {"ms": "_ms", "s": "_seconds", "MiB": "_mib", "bytes": "_bytes"}.get(column.unit, "")
    assert column.name.endswith(suffix)
    for unit, ending in (("ms", "_ms"), ("MiB", "_mib"), ("s", "_seconds")):
        if column.name.endswith(ending):
            assert column.unit == unit


def test_the_docs_table_names_every_column():
    lines = schema.as_markdown().splitlines()
    assert len(lines) == len(schema.COLUMNS) + 2
    assert "`investigate`" in schema.as_markdown()


@pytest.mark.parametrize(
    "name, value, error",
    [
        ("msee", 1.0, UnknownName),
        ("mse", "1.0", TypeError),
        ("mse", True, TypeError),
        ("opset", 17.5, TypeError),
        ("opset", math.nan, TypeError),
        ("message", 3, TypeError),
        ("verdict", "great", UnknownName),
        ("kind", "oops", UnknownName),
        ("stage", "converting", UnknownName),
        ("dynamic", "maybe", UnknownName),
    ],
)
def test_a_field_that_is_not_of_the_schema_is_refused(run, name, value, error):
    before = run.row(cell("a"))
    with pytest.raises(error):
        run.update(cell("a"), **{name: value})
    assert run.row(cell("a")) == before


def test_numbers_of_numpy_become_plain(run):
    import numpy

    run.update(cell("a"), mse=numpy.float32(0.5), opset=numpy.int64(20), cosine=numpy.float64(0.1))
    row = run.row(cell("a"))
    assert (row["mse"], row["opset"], row["cosine"]) == (0.5, 20, 0.1)
    assert type(row["mse"]) is float and type(row["opset"]) is int and type(row["cosine"]) is float


def test_text_becomes_one_printable_line():
    text = "a\r\nb\x00c\x1b[31m red\x1b[0m\u2028d \udcff"
    assert schema.checked("message", text) == "a b c red d \\udcff"


# the run folder


def test_a_run_reads_back_as_it_was_written(run):
    values = {"mse": 0.1 + 0.2, "nmse": 5e-324, "max_abs_err": math.inf, "cosine": -0.25}
    run.update(
        cell("a"),
        verdict="investigate",
        stage="convert:dynamo",
        opset=20,
        artefact_bytes=2**53 + 1,
        message='said "no", then, ünïcode',
        **values,
    )
    run.state(cell("a"), "done")
    finish(run, "b", "c")
    run.close(whole=True)
    frame = reading.read_cells(run.path)
    assert list(frame.columns) == list(schema.NAMES)
    assert list(frame["model"]) == ["a", "b", "c"]
    first = frame.iloc[0]
    for name, value in values.items():
        assert first[name] == value, name
    assert first["artefact_bytes"] == 2**53 + 1
    assert first["message"] == 'said "no", then, ünïcode'
    assert first["family"] == "gaps" and first["stage"] == "convert:dynamo"


def test_what_was_not_measured_is_empty_never_zero(run):
    run.update(cell("a"), mse=0.0, nmse=math.nan, message="", latency_p99_ms=None)
    run.close(whole=True)
    with (run.path / "cells.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    assert row["mse"] == "0.0"
    measured = {name for name, value in row.items() if value}
    assert measured == {"schema", "state", *schema.KEY, "family", "tier", "mse"}
    first = reading.read_cells(run.path).iloc[0]
    assert math.isnan(first["nmse"]) and first["message"] == ""
    import pandas

    assert first["opset"] is pandas.NA


def test_a_failure_to_measure_keeps_the_accuracy_columns(run):
    run.update(cell("a"), mse=1e-13, verdict="excellent")
    run.update(cell("a"), measure_kind="timeout", measure_message="no answer in 60 s")
    assert run.row(cell("a"))["mse"] == 1e-13
    assert run.row(cell("a"))["verdict"] == "excellent"


def test_a_cell_that_was_not_planned_can_have_no_result(run):
    with pytest.raises(journal.UnplannedCell, match="fft-other"):
        run.update(cell("fft", "other"), mse=0.0)
    with pytest.raises(ValueError, match="state"):
        run.update(cell("a"), state="done")


def test_two_runs_in_one_second_have_folders_of_their_own(tmp_path):
    first, second = new_run(tmp_path), new_run(tmp_path)
    assert first.name == "20261122T204500-torch2.13-tf2.21-cpu-quick"
    assert second.path != first.path and second.path.is_dir()


def test_a_run_name_holds_no_separator_and_counts_its_sets():
    name = writing.run_name(STARTED, ["a+onnx==1/2", "b", "c"], ["cuda:1"], "full")
    assert name == "20261122T204500-a+onnx_1_2+2more-cuda_1-full"


def test_the_csv_is_there_from_the_plan_on_and_replaced_at_most_once_a_second(run):
    planned = reading._read_csv(run.path / "cells.csv")
    assert list(planned["state"]) == ["planned"] * 3
    for _ in range(50):
        run.update(cell("a"), mse=1.0)
    assert reading._read_csv(run.path / "cells.csv")["mse"].isna().all()
    run.flush(force=True)
    assert reading._read_csv(run.path / "cells.csv")["mse"][0] == 1.0
    assert not list(run.path.glob(".*writing"))


def test_close_interrupts_what_runs_and_leaves_the_planned(run):
    finish(run, "a")
    run.state(cell("b"), "running")
    run.close(whole=True, note="kept")
    assert list(reading.read_cells(run.path)["state"]) == ["done", "interrupted", "planned"]
    about = reading.read_about(run.path)
    assert (about["state"], about["whole"], about["unfinished"]) == ("interrupted", False, 2)
    assert about["note"] == "kept" and about["schema_version"] == schema.SCHEMA_VERSION


def test_figures_and_samples_are_kept_whole(run):
    run.figure(cell("a"), "batch=5", "mse", 2.5e-9)
    run.figure(cell("a"), "dynamo", "convert_seconds", 1.5, "s")
    run.samples(cell("b"), 0, [0.001, 0.002])
    run.samples(cell("b"), 1, (d / 1e3 for d in range(700)))
    run.close(whole=True)
    figures = reading.read_figures(run.path)
    assert figures["value"].tolist() == [2.5e-9, 1.5]
    assert figures["unit"].tolist() == ["", "s"] and set(figures["model"]) == {"a"}
    samples = reading.read_samples(run.path)
    assert samples["launch"].tolist() == [0, 1]
    assert samples["durations_s"][0].tolist() == [0.001, 0.002]
    assert len(samples["durations_s"][1]) == 700


# kills and resumes

_KILLED = """
import signal, sys
from switchyard.tables.writing import RunFolder
from switchyard.vocabulary import Cell
run = RunFolder.create(sys.argv[1], version_sets=["s"], devices=["cpu"], tier="quick")
cells = [Cell("s", "cpu", "float32", f"m{i}", "r") for i in range(40)]
run.plan(cells)
for i, cell in enumerate(cells):
    run.state(cell, "running")
    run.update(cell, mse=float(i), verdict="excellent")
    run.samples(cell, 0, [0.5] * 100)
    run.state(cell, "done")
    print(i, flush=True)
    if i == 12:
        signal.pause()
"""


def test_a_killed_process_loses_nothing_that_was_finished(tmp_path):
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT, text=True) as process:
        for line in process.stdout:
            if line.strip() == "12":
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    (folder,) = tmp_path.iterdir()
    frame = reading.read_cells(folder)
    assert len(frame) == 40
    done = frame[frame["state"] == "done"]
    assert len(done) == 13 and done["mse"].tolist() == list(map(float, range(len(done))))
    assert len(reading.read_samples(folder)) >= len(done)
    resumed = RunFolder.reopen(folder)
    assert len(resumed.done) == len(done)
    resumed.close(whole=True)


def test_a_torn_last_line_is_left_out_reported_and_cut_off(run):
    finish(run, "a")
    run._journal.close()
    path = run.path / "journal.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"event":"row","cell":{"version_s')
    resumed = RunFolder.reopen(run.path)
    assert resumed.torn.startswith('{"event":"row"')
    assert resumed.done == {cell("a")}
    finish(resumed, "b")
    resumed._journal.close()
    assert journal.replay(run.path).torn == ""
    assert RunFolder.reopen(run.path).done == {cell("a"), cell("b")}


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_journal_cut_anywhere_in_its_last_line_still_reads(run, cut):
    finish(run, "a", "b")
    run._journal.close()
    path = run.path / "journal.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    replayed = journal.replay(run.path)
    assert cell("a") in replayed.ledger.done() and cell("b") not in replayed.ledger.done()


@contextlib.contextmanager
def room(path, size):
    """Room for ``size`` more bytes behind what ``path`` holds, as on a disk that fills up: what is
    written beyond is written in part, and then not at all."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [1, 40])
def test_a_disk_that_is_full_for_a_moment_costs_one_entry_and_no_other(run, size):
    finish(run, "a")
    whole = (run.path / "journal.jsonl").read_bytes()
    with room(run.path / "journal.jsonl", size), pytest.raises(OSError):
        run.update(cell("b"), verdict="excellent")
    assert (run.path / "journal.jsonl").read_bytes() == whole
    assert run.row(cell("b"))["verdict"] is None
    finish(run, "c")
    run._journal.close()
    assert journal.replay(run.path).ledger.done() == {cell("a"), cell("c")}


def test_a_damaged_line_in_the_middle_is_not_passed_over(run):
    run._journal.close()
    path = run.path / "journal.jsonl"
    path.write_bytes(path.read_bytes() + b"\x00\x00\n" + b'{"event":"row"}\n')
    with pytest.raises(journal.JournalDamaged, match="line 2"):
        journal.replay(run.path)
    with pytest.raises(reading.DamagedTable, match="line 2"):
        reading.read_cells(run.path)


def test_resuming_keeps_what_is_done_and_starts_the_rest_over(run):
    finish(run, "a")
    run.state(cell("b"), "running")
    run.update(cell("b"), mse=7.0)
    run.samples(cell("b"), 0, [1.0])
    run.samples(cell("a"), 0, [2.0])
    run.close(whole=True)
    resumed = RunFolder.reopen(run.path)
    assert resumed.done == {cell("a")}
    resumed.plan([cell("a"), cell("b"), cell("c"), cell("d")])
    assert resumed.row(cell("b"))["mse"] is None and resumed.row(cell("a"))["mse"] == 1e-13
    assert resumed.row(cell("a"))["family"] == "gaps"
    finish(resumed, "b", "c", "d")
    resumed.samples(cell("b"), 0, [3.0])
    resumed.close(whole=True)
    about = reading.read_about(run.path)
    assert (about["state"], about["whole"], about["resumed"]) == ("done", True, 1)
    samples = reading.read_samples(run.path)
    assert sorted(d[0] for d in samples["durations_s"]) == [2.0, 3.0]


def test_only_one_process_writes_a_run(run):
    with pytest.raises(journal.JournalBusy, match="another process"):
        RunFolder.reopen(run.path)
    run.close(whole=True)
    RunFolder.reopen(run.path).close(whole=True)


def test_reopening_what_is_no_run_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="not a run's folder"):
        RunFolder.reopen(tmp_path)


def test_a_run_copied_without_its_journal_is_not_started_over_in_its_place(run):
    finish(run, "a")
    run.close(whole=True)
    (run.path / journal.JOURNAL_NAME).unlink()
    before = {file.name: file.read_bytes() for file in run.path.iterdir()}
    with pytest.raises(FileNotFoundError, match="no journal.jsonl, from which a run goes on"):
        RunFolder.reopen(run.path)
    assert {file.name: file.read_bytes() for file in run.path.iterdir()} == before


# spreadsheets


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1",
        "-x",
        "@SUM(A1)",
        "'=1",
        "''@x",
        "'quoted'",
        "plain",
        "a=b",
        "'",
        "-",
    ],
)
def test_no_text_is_a_formula_and_every_text_comes_back(run, text):
    run.update(cell("a"), message=text)
    run.close(whole=True)
    with (run.path / "cells.csv").open(newline="") as file:
        written = next(csv.DictReader(file))["message"]
    assert written[0] not in "=+-@\t\r"
    assert reading.read_cells(run.path)["message"][0] == text


@pytest.mark.parametrize("text", ["\tx", "\r=x", "'\tx"])
def test_guarding_is_undone_exactly_for_tabs_too(text):
    assert writing.guarded(text).startswith("'")
    assert writing.unguarded(writing.guarded(text)) == text


def test_a_negative_number_stays_a_number(run):
    run.update(cell("a"), cosine=-0.5)
    run.close(whole=True)
    assert ",-0.5," in (run.path / "cells.csv").read_text()


# walls


def test_importing_the_tables_imports_no_pandas():
    code = (
        "import sys; import switchyard.tables.schema, switchyard.tables.journal, "
        "switchyard.tables.writing, switchyard.tables.reading, switchyard.tables.provenance, "
        "switchyard.compare.rendering, switchyard.compare.statistics; "
        "print(sorted({'pandas', 'pyarrow', 'numpy', 'torch', 'tensorflow', 'pytest', 'psutil'} "
        "& set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert found.stdout.strip() == "[]", found.stderr


def test_a_run_is_written_without_pandas(tmp_path):
    code = (
        "import sys; from switchyard.tables.writing import RunFolder; "
        "from switchyard.vocabulary import Cell; c = Cell('s', 'cpu', 'float32', 'm', 'r'); "
        "run = RunFolder.create(sys.argv[1], version_sets=['s'], devices=['cpu'], tier='quick'); "
        "run.plan([c]); run.update(c, mse=1.0); run.flush(force=True); "
        "print(sorted({'pandas', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]", found.stderr


def test_every_verdict_and_kind_can_be_written(run):
    for verdict in vocabulary.VERDICTS:
        run.update(cell("a"), verdict=verdict)
    for kind in vocabulary.KINDS:
        run.update(cell("a"), kind=kind, measure_kind=kind)

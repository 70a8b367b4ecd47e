"""Reading tables back: what is refused and why, and which run is the newest."""

from __future__ import annotations

import csv
import datetime
import json
from pathlib import Path

import pytest
from run_folders import ROOT, STARTED, cell, finish, new_run, run  # noqa: F401

from switchyard.tables import reading, schema, whole_runs
from switchyard.tables.writing import RunFolder

# what is refused


@pytest.fixture
def table(run) -> Path:
    """A lone CSV, away from its folder."""
    finish(run, "a", "b", "c")
    run.update(cell("c"), message="last, with a comma", environment="e3b0")
    run.close(whole=True)
    return (run.path / "cells.csv").rename(run.path.parent / "alone.csv")


def test_a_lone_csv_reads(table):
    assert list(reading.read_cells(table)["model"]) == ["a", "b", "c"]


def as_of_an_older_schema(table, change):
    """The table with its rows' schema set back by one, its lines of fields changed."""
    lines = list(csv.reader(table.open(newline="")))
    place = lines[0].index("schema")
    for line in lines[1:]:
        line[place] = str(schema.SCHEMA_VERSION - 1)
    change(lines, place)
    with table.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)
    return table


def _mix(lines, place):
    lines[2][place] = str(schema.SCHEMA_VERSION)


def _double(lines, place):
    for line in lines:
        line.append(line[lines[0].index("message")])


def _drop(lines, place):
    at = lines[0].index("verdict")
    for line in lines:
        del line[at]


def _grow(lines, place):
    lines[1][lines[0].index("launches")] = str(10**20)


@pytest.mark.parametrize("change, said", [
    (_mix, "mixes rows of schemas"),
    (_double, "has twice the column message"),
    (_drop, "lacks the columns verdict"),
    (_grow, "column launches does not hold numbers"),
])  # fmt: skip
def test_an_older_table_is_refused_for_what_one_of_today_is(table, change, said):
    with pytest.raises(reading.DamagedTable, match=said):
        reading.read_cells(as_of_an_older_schema(table, change))


def test_an_older_table_reads(table):
    older = as_of_an_older_schema(table, lambda lines, place: None)
    assert list(reading.read_cells(older)["model"]) == ["a", "b", "c"]


def test_a_csv_cut_within_its_last_line_is_refused_wherever_it_is_cut(table):
    content = table.read_bytes()
    length = len(content.splitlines(keepends=True)[-1])
    for cut in range(1, length):
        table.write_bytes(content[:-cut])
        with pytest.raises(reading.TruncatedTable, match="alone.csv.*again"):
            reading.read_cells(table)


def test_a_line_that_lost_fields_is_refused(table):
    lines = table.read_text().splitlines()
    lines[2] = lines[2][:30]
    table.write_text("\n".join(lines) + "\n")
    with pytest.raises(reading.TruncatedTable, match="line that is cut"):
        reading.read_cells(table)


def test_a_csv_cut_between_lines_is_refused_beside_its_run_json(run):
    finish(run, "a", "b", "c")
    run.close(whole=True)
    path = run.path / "cells.csv"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(reading.TruncatedTable, match="2 rows .* says 3"):
        reading.read_cells(run.path)


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "e.csv").write_bytes(b"")
    with pytest.raises(reading.TruncatedTable, match="empty"):
        reading.read_cells(tmp_path / "e.csv")


def _replace(table: Path, old: str, new: str, count: int = -1) -> None:
    table.write_text(table.read_text().replace(old, new, count))


def test_a_newer_schema_is_refused(table):
    _replace(table, f"\n{schema.SCHEMA_VERSION},", "\n99,")
    with pytest.raises(reading.NewerSchema, match="schema 99.*update Switchyard"):
        reading.read_cells(table)


def test_a_newer_run_is_refused_by_its_run_json(run):
    run.close(whole=True)
    about = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**about, "schema_version": 9}))
    with pytest.raises(reading.NewerSchema):
        reading.read_cells(run.path)
    with pytest.raises(ValueError, match="schema 9"):
        RunFolder.reopen(run.path)


def test_tables_of_two_schemas_in_one_are_refused(table):
    start, last = table.read_text().rstrip("\n").rsplit("\n", 1)
    other = schema.SCHEMA_VERSION + 1
    table.write_text(f"{start}\n{other}{last[1:]}\n")
    with pytest.raises(reading.DamagedTable, match=rf"\[{schema.SCHEMA_VERSION}, {other}\]"):
        reading.read_cells(table)


@pytest.mark.parametrize(
    "content",
    [
        "name,min,max\nx,1,2\n",
        "\x89PNG\r\n\x1a\n",
        "schema,model\n1,a\n",
    ],
)
def test_a_table_of_another_tool_is_refused(tmp_path, content):
    path = tmp_path / "other.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(reading.ForeignTable, match="other.csv"):
        reading.read_cells(path)


def test_columns_of_somebodys_own_are_refused_by_name(table):
    _replace(table, "schema,", "schema,mine,", 1)
    _replace(table, f"\n{schema.SCHEMA_VERSION},", f"\n{schema.SCHEMA_VERSION},x,")
    with pytest.raises(reading.ForeignTable, match="unknown or doubled: mine"):
        reading.read_cells(table)


def test_duplicate_cells_are_refused_by_name(table):
    with table.open("a") as file:
        file.write(table.read_text().splitlines()[1] + "\n")
    with pytest.raises(reading.DuplicateCells, match="cpu:float32:a-dynamo-ort"):
        reading.read_cells(table)


def test_a_text_where_a_number_belongs_is_refused(table):
    _replace(table, ",1e-13,", ",nought,", 1)
    with pytest.raises(reading.DamagedTable, match="nought"):
        reading.read_cells(table)


def test_what_is_not_there_is_said_to_be_missing(tmp_path):
    with pytest.raises(reading.MissingTable, match="does not exist"):
        reading.read_cells(tmp_path / "nowhere")
    with pytest.raises(reading.MissingTable, match="run.json"):
        reading.read_cells(tmp_path)


def test_an_older_schema_is_migrated(table, monkeypatch):
    """A later Switchyard that renamed mse, told by a fake migration to one version more."""
    now, later = schema.SCHEMA_VERSION, schema.SCHEMA_VERSION + 1

    def renamed(frame):
        return frame.rename(columns={"mse": "squared"})

    columns = tuple(
        schema.Column("squared", "float", "renamed") if c.name == "mse" else c
        for c in schema.COLUMNS
    )
    monkeypatch.setattr(schema, "SCHEMA_VERSION", later)
    monkeypatch.setattr(schema, "COLUMNS", columns)
    monkeypatch.setattr(schema, "NAMES", tuple(c.name for c in columns))
    with pytest.raises(reading.OlderSchema, match=f"nothing leads from there to {later}"):
        reading.read_cells(table)
    monkeypatch.setattr(reading, "MIGRATIONS", {now: renamed})
    frame = reading.read_cells(table)
    assert frame["squared"].tolist() == [1e-13] * 3 and frame["squared"].dtype == "float64"
    assert set(frame["schema"]) == {later} and str(frame["opset"].dtype) == "Int64"
    assert frame["message"][2] == "last, with a comma" and frame["kind"][0] == ""


#: The columns of schema 1, which had none of a GPU.
SCHEMA_1 = """
    schema state version_set device precision model family route hops tier stage kind
    verdict operator message signature expected expected_outcome expected_reason mse nmse
    max_abs_err cosine match_fraction top1_agreement error_vs_fp64 worst_probe dynamic
    layout_basis task_accuracy task_accuracy_native opset convert_seconds artefact_bytes
    artefact_key latency_median_ms latency_p10_ms latency_p90_ms latency_p99_ms
    latency_min_ms latency_samples launches ratio_to_native memory_peak_mib
    memory_steady_mib memory_import_mib memory_model_mib heap_free_mib measure_kind
    measure_message harness_seconds stage_seconds environment
""".split()


@pytest.mark.parametrize("names", [SCHEMA_1, schema.NAMES, schema.NAMES[:-1]])
def test_a_table_without_rows_may_lack_what_one_with_rows_may(tmp_path, names):
    path = tmp_path / "none.csv"
    path.write_text(",".join(names) + "\n")
    frame = reading.read_cells(path)
    assert list(frame.columns) == list(schema.NAMES) and not len(frame)
    assert frame["mse"].dtype == "float64" and str(frame["opset"].dtype) == "Int64"
    for wrong in ("mine", names[-1]):
        path.write_text(",".join([*names, wrong]) + "\n")
        with pytest.raises(reading.ForeignTable, match="has not its columns"):
            reading.read_cells(path)


def test_a_table_of_the_first_schema_is_read_with_the_new_columns_empty(run, tmp_path):
    finish(run, "a", "b", "c")
    run.close(whole=True)
    with (run.path / "cells.csv").open(newline="") as file:
        rows = [{**row, "schema": "1"} for row in csv.DictReader(file)]
    old = tmp_path / "old.csv"
    with old.open("w", newline="") as file:
        writer = csv.DictWriter(file, SCHEMA_1, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    frame = reading.read_cells(old)
    assert "gpu_slack" not in SCHEMA_1 and list(frame.columns) == list(schema.NAMES)
    assert set(frame["schema"]) == {schema.SCHEMA_VERSION} and len(frame) == 3
    assert frame["gpu_slack"].isna().all() and (frame["providers"] == "").all()
    assert list(frame["mse"]) == [1e-13] * 3 and list(frame["verdict"]) == ["excellent"] * 3


@pytest.mark.parametrize("column, word, near", [
    ("verdict", "excelent", "did you mean excellent"),
    ("stage", "Compare", "did you mean compare"),
    ("state", "don", "did you mean done"),
])  # fmt: skip
def test_a_word_that_a_closed_column_does_not_know_is_refused(run, column, word, near):
    finish(run, "a", "b")
    run.close(whole=True)
    path = run.path / "cells.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    rows[1][column] = word
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, schema.NAMES, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(reading.DamagedTable, match=near) as caught:
        reading.read_cells(run.path)
    assert word in str(caught.value) and "cells.csv" in str(caught.value)


# the newest whole run


def test_the_newest_whole_run_is_by_start_and_whole(tmp_path):
    def made(hours: int, whole: bool, finished: bool = True, **more) -> Path:
        run = new_run(tmp_path, STARTED + datetime.timedelta(hours=hours), **more)
        run.plan([cell("a")])
        if finished:
            finish(run, "a")
        run.close(whole=whole)
        return run.path

    first = made(0, True)
    wanted = made(5, True)
    made(1, True)
    made(6, False)
    made(7, True, finished=False)
    made(8, True, version_sets=["torch2.0-tf2.13"])
    full = made(3, True, tier="full")
    new_run(tmp_path, STARTED + datetime.timedelta(hours=9))._journal.close()
    (tmp_path / "stray").mkdir()
    (tmp_path / "stray" / "run.json").write_text("{")
    assert whole_runs.newest_whole_run(tmp_path, "torch2.13-tf2.21") == wanted != first
    assert whole_runs.newest_whole_run(tmp_path, "torch2.13-tf2.21", tier="full") == full
    with pytest.raises(reading.MissingTable, match="torch2.0-tf2.13, torch2.13-tf2.21"):
        whole_runs.newest_whole_run(tmp_path, "torch9")
    with pytest.raises(reading.MissingTable, match="no whole run of torch2.13-tf2.21 cuda"):
        whole_runs.newest_whole_run(tmp_path, "torch2.13-tf2.21", device="cuda")


def test_sets_with_whole_runs_stand_in_the_order_of_versions(tmp_path):
    names = ["torch2.0-tf2.13", "torch2.5-tf2.18", "torch2.13-tf2.21"]
    for hours, name in enumerate(reversed(names)):
        run = new_run(tmp_path, STARTED + datetime.timedelta(hours=hours), version_sets=[name])
        run.plan([cell("a")])
        finish(run, "a")
        run.close(whole=True)
    assert whole_runs.sets_with_whole_runs(tmp_path) == names

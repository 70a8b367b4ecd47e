"""What does comparing two large tables cost, in seconds and in memory?

Writes pairs of tables of the size asked for into a scratch folder (routes by models, one cell
in fifty changed, one in six failing with an error of its own text) and runs ``python -m
switchyard compare`` on each pair in a process of its own, its report thrown away: once as
tables with a single launch, and once with five launches of twenty durations in
``samples.parquet``, which are then read and compared too. Wall time is the child's from start
to end, Python's start and pandas' import included; memory is the child's own peak resident set.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import goals
import sessions

GOAL_SECONDS, GOAL_GIB = 3.0, 1.0
#: From 100,000 to 1,000,000 rows: ten times the rows, so ten times the time, and a little.
GOAL_GROWTH = 12.0
ROUTES = 40
LAUNCHES, DURATIONS = 5, 20
PATIENCE_SECONDS = 300


def frame(rows: int, changed: bool, launches: int):
    """A table with every column of the schema, the same each time but for what changed."""
    import numpy
    import pandas

    from switchyard.tables import schema

    rng = numpy.random.default_rng(1)
    place = numpy.arange(rows)
    failed = place % 6 == 0
    if changed:
        failed = failed ^ (place % 50 == 3)
    columns: dict[str, Any] = {name: numpy.full(rows, None, object) for name in schema.NAMES}
    error = numpy.where(failed, numpy.nan, 10 ** rng.uniform(-16, -8, rows))
    latency = numpy.where(failed, numpy.nan, rng.lognormal(-3, 1, rows))
    columns.update(
        schema=schema.SCHEMA_VERSION, state="done", version_set="torch2.13-tf2.21",
        device="cpu", precision="float32", tier="full", family="conv", expected="as-expected",
        model=[f"model_number_{number // ROUTES:06}" for number in place],
        route=numpy.where(
            place % ROUTES == 0, "torch-eager",
            [f"some-converter{number % ROUTES:02}-ort" for number in place],
        ),
        stage=numpy.where(failed, "convert:dynamo", "compare"),
        kind=numpy.where(failed, "unsupported-operator", None),
        verdict=numpy.where(failed, "refused", "excellent"),
        message=numpy.where(
            failed, [f"No function found for operator aten.op_{n % 300}, node {n}" for n in place],
            None,
        ),
        signature=numpy.where(
            failed, [f"No function found for operator aten.op_{n % 300}, node #" for n in place],
            None,
        ),
        mse=error, nmse=error * 3, latency_median_ms=latency, ratio_to_native=latency / 0.1,
        launches=numpy.where(failed, None, launches),
        memory_model_data_mib=rng.lognormal(2.5, 0.2, rows)
        * (1 + 0.5 * (changed & (place % 50 == 7))),
        memory_peak_data_mib=rng.lognormal(4, 0.2, rows),
    )  # fmt: skip
    return pandas.DataFrame(columns)[list(schema.NAMES)]


def write(folder: pathlib.Path, rows: int, changed: bool, launches: int) -> None:
    """A run's folder: ``cells.csv``, ``run.json`` and, of several launches, the samples."""
    import numpy
    import pyarrow
    import pyarrow.csv
    import pyarrow.parquet

    from switchyard.tables import schema

    folder.mkdir()
    cells = frame(rows, changed, launches)
    table = pyarrow.Table.from_pandas(cells, preserve_index=False)
    pyarrow.csv.write_csv(table, folder / "cells.csv")
    about = {
        "schema_version": schema.SCHEMA_VERSION, "state": "done", "rows": rows, "tier": "full",
        "version_sets": ["torch2.13-tf2.21"], "devices": ["cpu"], "whole_selection": True,
        "machine": {"cpu": "a", "architecture": "b", "cores_logical": 2},
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(about))
    if launches == 1:
        return
    measured = cells[cells["verdict"] == "excellent"]
    measured = measured.loc[measured.index.repeat(launches)].reset_index(drop=True)
    rng = numpy.random.default_rng(int(changed))
    slower = numpy.where(changed & (measured["model"].str[-1] == "7"), 3.0, 1.0)
    own = measured["latency_median_ms"].to_numpy(float) * slower / 1e3
    own = own * rng.lognormal(0, 0.2, len(own))
    values = numpy.repeat(own, DURATIONS) * rng.lognormal(0, 0.05, len(own) * DURATIONS)
    lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(values), DURATIONS)
    columns = {name: pyarrow.array(measured[name].astype(str)) for name in schema.KEY}
    columns["launch"] = pyarrow.array(numpy.arange(len(own)) % launches)
    columns["durations_s"] = lists.cast(pyarrow.list_(pyarrow.float64()))
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "samples.parquet")


def in_a_child(function: Any, *arguments: Any) -> None:
    """Call in a fresh interpreter: a process that has held a million rows hands its own peak
    memory down to every child it starts, as if it were theirs."""
    child = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    child.start()
    child.join(PATIENCE_SECONDS)
    if child.exitcode != 0:
        child.kill()
        sys.exit("the tables could not be written")


def measured(command: Sequence[str]) -> tuple[float, float, float, int]:
    """Wall seconds, CPU seconds, peak GiB and exit status of a child that is waited for."""
    began = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=sessions.PROJECT)
    deadline = began + PATIENCE_SECONDS
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        if time.monotonic() > deadline:
            child.kill()
            os.wait4(child.pid, 0)
            sys.exit(f"{' '.join(command)} took more than {PATIENCE_SECONDS} s")
        time.sleep(0.005)
    child.returncode = os.waitstatus_to_exitcode(status)  # so that Popen waits for nobody
    wall, cpu = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    return wall, cpu, usage.ru_maxrss / 2**20, child.returncode


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3, help="the fastest counts")
    options = parser.parse_args()
    goals.conditions()
    cases = [(rows, 1) for rows in options.rows] + [(min(options.rows), LAUNCHES)]
    found: list[tuple[str, float, float, float]] = []
    for rows, launches in cases:
        with tempfile.TemporaryDirectory(prefix="switchyard-benchmark-") as scratch:
            folders = [pathlib.Path(scratch) / name for name in ("before", "after")]
            for folder, changed in zip(folders, (False, True)):
                in_a_child(write, folder, rows, changed, launches)
            command = [sys.executable, "-m", "switchyard", "compare", *map(str, folders)]
            runs = [measured(command) for _ in range(options.rounds)]
            if any(run[-1] != 1 for run in runs):
                sys.exit(f"{' '.join(command)} did not end with 1, though cells were changed")
        label = f"{rows} rows, {launches} launch{'es' if launches > 1 else ''}"
        wall, cpu, gib, _ = zip(*runs, strict=True)
        found.append((label, min(wall), min(cpu), max(gib)))
    goals.table(("two tables of", "wall s", "CPU s", "GiB"), found)
    print()
    goals.at_most(f"{found[0][0]}: wall", found[0][1], GOAL_SECONDS, "s")
    goals.at_most(f"{found[0][0]}: peak memory", found[0][3], GOAL_GIB, "GiB")
    if len(options.rows) > 1 and options.rows[1] == 10 * options.rows[0]:
        growth = found[1][2] / found[0][2]
        goals.at_most("ten times the rows: CPU", growth, GOAL_GROWTH, "times as much")


if __name__ == "__main__":
    main()

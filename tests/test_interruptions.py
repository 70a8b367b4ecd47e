"""How a run ends that is interrupted, once or several times, or broken off, and how it goes on."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from switchyard.tables.reading import read_about, read_cells, read_figures

PLANTED = Path(__file__).parent / "planted"
TINY = ("--zoo", PLANTED / "tiny.py")
BOTH = ("tiny_linear-torchscript-ort", "tiny_mlp-torchscript-ort")
USAGE_ERROR, FAILED = 4, 1


def until(condition, process, patience=300):
    """Wait for ``condition`` while ``process`` lives; False where it never came."""
    deadline = time.monotonic() + patience
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            return bool(condition())
        time.sleep(0.05)
    return True


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

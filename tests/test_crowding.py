"""Whether a run's cells had the machine to themselves while they were timed."""

import math
import types

import pytest
from made_tables import row, table
from test_rendering import row as written

from switchyard.compare.comparison import compare
from switchyard.compare.crowding import A_CORE, crowded
from switchyard.runner.summary import write_summary


def on_cpu(*busy):
    return [("cpu", cores) for cores in busy]


def test_what_computed_alone_is_not_said_to_have_been_disturbed():
    assert not crowded(on_cpu(1.0, 1.97, 0.93, A_CORE))
    assert not crowded([])
    assert not crowded(on_cpu(None, math.nan))  # not timed, and a table from before there was it


def test_beside_something_else_it_is_said_of_how_many():
    said = crowded(on_cpu(0.65, 0.45, 0.98, None, math.nan))
    assert said.startswith("2 of 3 timed cells kept less than 0.85 of a core busy")


def test_a_single_cell_may_wait_for_something_of_its_own():
    assert not crowded(on_cpu(0.1, *[1.0] * 9))
    assert crowded(on_cpu(0.1, *[1.0] * 8)).startswith("1 of 9")


def test_on_a_device_a_process_may_wait_for_it():
    assert not crowded([("cuda", 0.2)] * 20)


def test_a_comparison_names_the_side():
    alone, beside = (table([row(cores_busy=busy)]) for busy in (1.0, 0.5))
    (said,) = compare(alone, beside).conditions
    assert said.startswith("after: 1 of 1 timed cells")
    assert not compare(alone, alone).conditions


@pytest.mark.parametrize("busy, said", [(0.5, True), (1.0, False), (None, False)])
def test_a_run_says_it_at_its_end(busy, said, tmp_path):
    printed = []
    reporter = types.SimpleNamespace(
        section=lambda title, **_: None,
        write_line=lambda line, **_: printed.append(line),
        _tw=types.SimpleNamespace(fullwidth=100, markup=lambda text, **_: text),
    )
    rows = [written("one", "torch-eager", cores_busy=busy)]
    run = types.SimpleNamespace(
        zoos={},
        expectations={},
        sets=["torch2.13-tf2.21"],
        folder=types.SimpleNamespace(rows=lambda: rows, path=tmp_path),
        config=types.SimpleNamespace(getoption={"--zoo": ["mine.py"]}.get),
    )
    write_summary(reporter, run, None)
    assert any("1 of 1 timed cells kept less" in line for line in printed) == said
    assert any(line.startswith("table: ") for line in printed)

"""Whether a run's cells had the machine to themselves while they were timed."""

import math

from made_tables import row, table

from switchyard.compare.comparison import compare
from switchyard.compare.crowding import A_CORE, crowded


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

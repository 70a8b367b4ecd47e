"""When a cell's last item has ended, and whether each came to have its answer."""

from __future__ import annotations

import pytest

from switchyard.runner.expectations import AsExpected
from switchyard.runner.remaining import Remaining
from switchyard.vocabulary import Cell

CELL, OTHER = (Cell("s", "cpu", "float32", model, "dynamo-ort") for model in "ab")


def phase(when, does=lambda: None):
    return pytest.CallInfo.from_call(does, when)


def fails(error):
    def does():
        raise error

    return does


FULL = OSError("the disk is full")


@pytest.mark.parametrize("phases, answered", [
    ([phase("setup"), phase("call")], True),
    ([phase("setup"), phase("call", fails(AsExpected("known")))], True),
    ([phase("setup"), phase("call", lambda: pytest.fail("other than expected"))], True),
    ([phase("setup"), phase("call", fails(AssertionError("0 MiB")))], True),
    ([phase("setup"), phase("call", lambda: pytest.skip("recorded"))], True),
    ([phase("setup", lambda: pytest.skip("not measured"))], True),
    ([phase("setup", lambda: pytest.fail("could not be measured"))], True),
    ([phase("setup"), phase("call", fails(FULL))], False),
    ([phase("setup", fails(FULL))], False),
    ([phase("setup")], False),  # --setup-only
])  # fmt: skip
def test_an_exception_of_the_runners_own_is_no_answer(phases, answered):
    remaining = Remaining([CELL])
    assert not any(remaining.heard(CELL, one) for one in phases)
    assert remaining.heard(CELL, phase("teardown"))
    assert remaining.answered(CELL) is answered


def test_one_that_is_broken_off_as_it_is_cleaned_up_is_no_answer():
    remaining = Remaining([CELL])
    for one in (phase("setup"), phase("call"), phase("teardown", fails(FULL))):
        remaining.heard(CELL, one)
    assert not remaining.answered(CELL)


def test_a_cell_has_ended_with_its_last_item_and_each_of_them_counts():
    remaining = Remaining([CELL, OTHER, CELL])
    assert remaining.total == 3
    for cell, error, last in ((CELL, fails(FULL), False), (OTHER, lambda: None, True),
                              (CELL, lambda: None, True)):  # fmt: skip
        remaining.heard(cell, phase("setup"))
        remaining.heard(cell, phase("call", error))
        assert remaining.heard(cell, phase("teardown")) is last
    assert [remaining.answered(cell) for cell in (CELL, OTHER)] == [False, True]

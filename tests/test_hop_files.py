"""What a hop of the user's may do wrong, and what is said of it."""

from __future__ import annotations

import pytest

from switchyard.hops import Refusal
from switchyard.vocabulary import KINDS
from switchyard.worker.blame import outcome_of


def test_a_refusal_of_an_unknown_kind_is_an_error_with_the_nearest():
    with pytest.raises(ValueError, match="unknown kind 'unsupported-op'.*unsupported-operator"):
        Refusal("unsupported-op", "no flash attention")
    for wrong in (7, ["shape"], None, ""):
        with pytest.raises(ValueError, match="unknown kind"):
            Refusal(wrong, "no flash attention")
    assert {Refusal(kind, "no").kind for kind in KINDS} == set(KINDS)


def test_a_refusal_of_an_unknown_kind_is_a_failed_cell_that_says_so():
    try:
        try:
            raise NotImplementedError("flash attention")
        except NotImplementedError as error:
            raise Refusal("unsupported-op", "no flash attention") from error
    except ValueError as error:
        found = outcome_of(error, "convert:mine")
    assert (found.stage, found.verdict, found.kind) == ("convert:mine", "failed", "unexplained")
    assert found.message.startswith("UnknownName: unknown kind 'unsupported-op'; did you mean")


@pytest.mark.parametrize("kind", ["unsupported-op", 7, ["shape"], None, ""])
def test_an_attribute_of_that_name_that_is_no_kind_is_not_taken_for_one(kind):
    error = MemoryError("too large")
    error.kind, error.operator = kind, len
    found = outcome_of(error, "convert:mine")
    assert (found.kind, found.operator) == ("host-oom", "")
    error.kind = "timeout"
    assert outcome_of(error, "convert:mine").kind == "timeout"

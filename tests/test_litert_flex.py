"""LiteRT with operators of TensorFlow's: whether they run must not hang on who else was imported."""

import pytest

from switchyard.runtimes.litert import _refuse_borrowed
from switchyard.worker.blame import outcome_of


class Interpreter:
    def __init__(self, *operators):
        self._operators = operators

    def _get_ops_details(self):
        return [{"index": place, "op_name": name} for place, name in enumerate(self._operators)]


def test_operators_of_its_own_are_its_own():
    _refuse_borrowed(Interpreter("CONV_2D", "RESHAPE"))


def test_one_that_tensorflow_lends_is_refused_by_name_as_where_it_is_missing():
    with pytest.raises(RuntimeError, match="FlexErf$") as caught:
        _refuse_borrowed(Interpreter("CONV_2D", "FlexErf", "FlexErf"))
    found = outcome_of(caught.value, "load")
    assert (found.kind, found.verdict) == ("load-rejected", "failed")


def test_an_interpreter_that_does_not_list_them_is_taken_as_it_is():
    _refuse_borrowed(object())

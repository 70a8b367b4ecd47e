"""When two runs of a model are one: what is not declared stochastic must answer twice alike."""

from __future__ import annotations

import numpy as np
import pytest

from switchyard.worker.reference import _same


def same(one, two, dtype=np.float32):
    return _same({"y": np.array(one, dtype)}, {"y": np.array(two, dtype)})


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_beside_a_value_that_is_not_finite_a_difference_is_as_large_as_elsewhere(value):
    assert same([value, 1.0, 2.0], [value, 1.0 + 1e-5, 2.0])
    assert not same([value, 1.0, 2.0], [value, 1.5, 2.0])
    assert not same([1.0, 2.0], [1.5, 2.0])


def test_infinity_gives_no_scale_in_complex_numbers_either():
    assert same([complex(np.inf, 1), 1 + 1j], [complex(np.inf, 1), 1 + 1j], np.complex64)
    assert not same([complex(np.inf, 1), 1 + 1j], [complex(np.inf, 1), 2 + 1j], np.complex64)


def test_what_is_not_finite_stands_in_the_same_places_with_the_same_sign():
    assert same([np.nan, np.inf], [np.nan, np.inf])
    for other in ([np.inf, np.nan], [np.nan, -np.inf], [np.nan, 1.0], [1.0, np.inf]):
        assert not same([np.nan, np.inf], other)


def test_integers_are_alike_to_the_bit_and_nothing_differs_from_nothing():
    assert same([1, 2], [1, 2], np.int64) and not same([1, 2], [1, 3], np.int64)
    assert same([], [])

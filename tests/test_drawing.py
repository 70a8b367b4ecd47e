"""Probes made of the example: what is drawn for an input of any dtype stays legal."""

from __future__ import annotations

import types

import numpy as np
import pytest

from models_zoo import Tensor, model
from switchyard.worker import drawing
from switchyard.worker.drawing import _mirrored, probes_of


@pytest.mark.parametrize("dtype, low, high", [
    ("uint8", 128, 256), ("uint8", 0, 256), ("int8", -128, 128), ("int16", 30_000, 32_768),
    ("int64", -5, 5),
])  # fmt: skip
def test_integers_are_mirrored_within_a_range_whose_sums_their_dtype_does_not_hold(
    dtype, low, high
):
    example = np.array([low, high - 1, low + 1], dtype)
    found = _mirrored(example, Tensor(3, dtype=dtype, range=(low, high)))
    assert found.dtype == dtype
    assert found.tolist() == [high - 1, low, high - 2]


def probes(by_hand=(), **inputs):
    entry = types.SimpleNamespace(name="net", inputs=inputs, sizes={}, probes=dict(by_hand))
    return probes_of(entry)


def test_floats_are_asked_at_other_sizes_too_and_what_stands_beside_them_stays():
    drawn = probes(x=Tensor(2, 3), ids=Tensor(4, dtype="int64"), z=Tensor(2, dtype="complex64"))
    for probe, factor in (("tenfold", 10.0), ("thousandth", 1e-3)):
        for name in ("x", "z"):
            example, scaled = drawn["example"][name], drawn[probe][name]
            assert scaled.dtype == example.dtype
            np.testing.assert_allclose(scaled, example * factor, rtol=1e-6)
        np.testing.assert_array_equal(drawn[probe]["ids"], drawn["example"]["ids"])


@pytest.mark.parametrize("given, smaller", [((0, 1), True), ((-2, 2), True), ((1, 2), False)])
def test_of_a_range_nothing_leaves_it(given, smaller):
    drawn = probes(x=Tensor(2, 3, range=given))
    assert "tenfold" not in drawn and ("thousandth" in drawn) == smaller


def test_where_nothing_has_another_size_no_probe_is_asked_twice():
    drawn = probes(ids=Tensor(2, dtype="int64"), mask=Tensor(2, dtype="bool"))
    assert list(drawn) == ["example", "fresh", "negated", "zeros"]


@pytest.mark.parametrize("name", [*drawing.GENERATED, *drawing.SCALED, drawing.RESIZED, "picture"])
def test_a_probe_by_hand_has_a_name_of_its_own(name):
    with pytest.raises(ValueError, match=f"'{name}' is that of one which is made"):
        model(probes={name: {"x": 3.0}}, x=Tensor(2))

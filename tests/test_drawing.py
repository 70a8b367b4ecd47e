"""Probes made of the example: what is drawn for an input of any dtype stays legal."""

from __future__ import annotations

import numpy as np
import pytest

from models_zoo import Tensor
from switchyard.worker.drawing import _mirrored


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

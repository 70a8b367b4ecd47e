"""Arrays element by element, as whatever makes or judges one looks at them."""

from __future__ import annotations

import numpy as np


def as_float64(array: np.ndarray) -> np.ndarray:
    """The array in float64; complex as pairs of (real, imaginary) on a new last axis."""
    array = np.asarray(array)
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.float64)


def same_places(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether NaN and the infinities, by sign, stand in the same places."""
    one, two = (np.where(np.isfinite(x), 0.0, x) for x in (one, two))
    return np.array_equal(one, two, equal_nan=True)

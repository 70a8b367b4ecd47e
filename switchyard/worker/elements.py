"""Arrays element by element, as whatever makes or judges one looks at them."""

from __future__ import annotations

import numpy as np


def as_float64(array: np.ndarray) -> np.ndarray:
    """The array in float64; complex as pairs of (real, imaginary) on a new last axis."""
    array = np.asarray(array)
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).astype(np.float64)
    return array.astype(np.float64)


def is_exact(dtype: str) -> bool:
    """Whether values of the dtype of this name, integers or booleans, have no rounding."""
    return dtype.startswith(("bool", "int", "uint"))


def distance(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """How far two arrays of one shape and dtype are apart, element by element, shaped as
    ``as_float64`` shapes them. Integers are subtracted as integers: from 2**53 on float64 makes
    one number of neighbours."""
    one, two = np.asarray(one), np.asarray(two)
    with np.errstate(over="ignore", invalid="ignore"):
        if one.dtype.kind not in "iu":
            return np.abs(as_float64(one) - as_float64(two))
        # The difference fits in 64 bits without a sign: arithmetic modulo 2**64 finds it.
        high, low = (np.asarray(each).astype(np.uint64)
                     for each in (np.maximum(one, two), np.minimum(one, two)))  # fmt: skip
        return np.asarray(high - low).astype(np.float64)


def same_places(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether NaN and the infinities, by sign, stand in the same places."""
    one, two = (np.where(np.isfinite(x), 0.0, x) for x in (one, two))
    return np.array_equal(one, two, equal_nan=True)

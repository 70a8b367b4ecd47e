"""What rounding is honest: each dtype's limits, and how far an answer is from float64.

Pure numpy; arithmetic in float64.
"""

from __future__ import annotations

import math
from typing import Dict, Mapping, Optional, Tuple

import numpy as np

from switchyard.worker.drawing import GENERATED
from switchyard.worker.elements import as_float64, is_exact

#: By numpy's name: (spacing at 1, highest ``error_vs_fp64`` of an honest route, what two
#: runs of one session may differ by, of the output's RMS). Complex goes by its parts.
#:
#: The limits. float32: 268 honest zoo cells (both exporters, ONNX Runtime) show 0.7 in the
#: median and 3.4 at most; BatchNorm's eps at 1e-3 shows thousands. float16, bfloat16:
#: torch's own error there is 0.3 to 3 ulp, so a ratio of 100 would be 10% of the value and
#: more, which the bands call investigate anyway: it could never bind. 10 leaves room for a
#: runtime that also accumulates in 16 bits (the root of a sum's length, 8 for 64 terms)
#: where torch accumulates in float32. float64: reference and float64 reference are one, so
#: the ratio counts ulp of the output; 20 honest MLPs show 5 at most, ONNX Runtime's
#: approximation of tanh in double 2.4e4 (1e-12 of the value), arithmetic in float32 about
#: 2^29 = 5e8. The limit stands between, and still sees that 1% of the value went through
#: float32. Repeats: the order of a sum over threads moves about 100 ulp at
#: most, in 16 bits 4 ulp, since sums are held wider and rounded once.
DTYPES = {
    "bfloat16": (2.0**-7, 10.0, 2.0**-5),
    "float16": (2.0**-10, 10.0, 2.0**-8),
    "float32": (2.0**-23, 100.0, 1e-5),
    "complex64": (2.0**-23, 100.0, 1e-5),
    "float64": (2.0**-52, 1e6, 2e-14),
    "complex128": (2.0**-52, 1e6, 2e-14),
}

SIXTEEN_BITS = ("float16", "bfloat16")

#: An error this many times torch's own is still torch's own order: rounding.
ROUNDING = 10.0

#: What torch's own arithmetic in 16 bits is off by, against float64 with the same weights, in unit
#: roundoffs (half of the spacing at 1) of the output's standard deviation: of 100 zoo models cast
#: to float16 and to bfloat16 the median is 0.6 in both, 95% show 2.5 and 4.4 at most; those beyond
#: divide by what nearly vanishes or branch on a value.
HONEST_ROUNDINGS = 4.0

#: The highest honest ``error_vs_fp64`` of a float32 model computed in TF32: float16's, in units
#: of float32's rounding, since TF32 keeps 10 bits of 23.
TF32_LIMIT = 10.0 * 2.0**13


def limit_of(precision: str) -> Optional[float]:
    """The highest honest ``error_vs_fp64`` of a cell, where that is not its dtype's own."""
    return TF32_LIMIT if precision == "tf32" else None


def rms(values: np.ndarray) -> float:
    """Root mean square of what is finite; 0.0 where nothing is."""
    values = values[np.isfinite(values)]
    return math.sqrt(float(np.mean(values * values))) if values.size else 0.0


def scales(references: Mapping[str, Mapping[str, np.ndarray]]) -> Dict[str, float]:
    """The largest RMS each output has on any probe that is drawn, for ``compare``'s ``scales``.
    ``references``: by probe; one by hand that is far louder would excuse what the others show.

    On a probe of zeros an output may vanish by cancellation in torch and be 1e-7 of its
    usual size in an honest route; against the ulp of zero that is an infinite error.
    """
    largest: Dict[str, float] = {}
    for outputs in (references[probe] for probe in GENERATED if probe in references):
        for path, array in outputs.items():
            largest[path] = max(largest.get(path, 0.0), rms(as_float64(array)))
    return largest


def ulp_at(value: float, dtype: str) -> float:
    """The distance from ``value`` to its neighbour in ``dtype``, subnormals left out."""
    value = max(abs(value), 2.0**-14 if dtype == "float16" else 2.0**-126)
    return 2.0 ** math.floor(math.log2(value)) * DTYPES[dtype][0]


def errors_vs_fp64(
    dtype: str, own: np.ndarray, route: np.ndarray, wanted64: Optional[np.ndarray], scale: float
) -> Tuple[Optional[float], Optional[float]]:
    """How many times as far as torch's own answer a route's is from float64, by the RMS over all
    elements, floored at one ulp of torch's RMS (``scale``: see ``scales``), and by the worst
    element, floored at one ulp of torch's largest. Of integers and booleans, which have no
    rounding: in how many times as many places as torch's the route's differs from float64's, where
    torch's does in one. None: could not be had."""
    if wanted64 is None or not (dtype in DTYPES or is_exact(dtype)):
        return None, None
    exact = as_float64(wanted64)
    if exact.shape != own.shape:
        return None, None
    if is_exact(dtype):
        ours, theirs = np.sum(own != exact), np.sum(route != exact)
        return (float(theirs / ours) if ours else None), None
    # Where float16 overflowed and float64 did not, there is no distance to speak of.
    finite = np.isfinite(own) & np.isfinite(exact) & np.isfinite(route)
    if not finite.any():
        return None, None
    theirs, ours = np.abs(route - exact)[finite], np.abs(own - exact)[finite]
    mean = rms(theirs) / max(rms(ours), ulp_at(max(rms(own), scale), dtype))
    largest = max(float(np.abs(own[finite]).max()), scale)
    worst = float(theirs.max()) / max(float(ours.max()), ulp_at(largest, dtype))
    return mean if math.isfinite(mean) else None, worst if math.isfinite(worst) else None


def torn(dtype: str, worst: float) -> bool:
    """Whether a few elements are off by more than rounding explains, which in 16 bits no mean over
    all of them shows: its bands are as wide as a hundredth of the output's deviation."""
    return dtype in SIXTEEN_BITS and worst > DTYPES[dtype][1]

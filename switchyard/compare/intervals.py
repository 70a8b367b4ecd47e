"""How far two sets of launches differ, and how surely. Arrays in, arrays out; no I/O.

A launch is the unit of replication: calls within one process share its luck (its memory
layout, its core, what else ran just then), so a launch counts once, by its median.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy

#: Degrees of freedom above this are treated as this; t and normal differ by 0.6% there.
MOST_DF = 200


def t_two_sided(t: numpy.ndarray, df: int) -> numpy.ndarray:
    """P(|T| >= |t|) of Student's t with ``df`` whole degrees of freedom.

    The finite sums 26.7.3 and 26.7.4 of Abramowitz and Stegun, "Handbook of Mathematical
    Functions" (1964), exact for whole degrees of freedom; below about 1e-15 only the order
    of magnitude is lost, and nothing here asks for it.
    """
    import numpy

    if df < 1:
        raise ValueError(f"{df} degrees of freedom")
    angle = numpy.arctan(numpy.abs(t) / math.sqrt(df))
    sine, cosine = numpy.sin(angle), numpy.cos(angle)
    term = cosine if df % 2 else numpy.ones_like(cosine)
    total = numpy.zeros_like(cosine)
    for k in range(1 + df % 2, df, 2):
        total += term
        term = term * (cosine * cosine * (k / (k + 1)))
    within = (angle + sine * total) * (2 / math.pi) if df % 2 else sine * total
    return numpy.clip(1 - within, 0, 1)


@functools.lru_cache(maxsize=4096)
def t_quantile(confidence: float, df: int) -> float:
    """The t that ``|T|`` stays below with the given confidence, by bisection."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} is not between 0 and 1")
    low, high = 0.0, 1.0
    while t_two_sided(high, df) > 1 - confidence:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        if t_two_sided(middle, df) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def contrast(
    signs: Sequence[int],
    counts: numpy.ndarray,
    means: numpy.ndarray,
    variances: numpy.ndarray,
    df: numpy.ndarray,
    confidence: float,
) -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    """A signed sum of group means for many cells at once: estimate, half width, p.

    ``counts``, ``means``, ``variances`` and their ``df`` have the shape (groups, cells);
    ``signs`` has one sign a group. For the change of a ratio to native the four groups are
    the logs of launch medians of the cell and of torch eager, after and before, with signs
    ``+ - - +``.

    Assumes that launches are independent, and their logs near enough to normal; the groups
    may spread differently (Welch, "The generalization of 'Student's' problem when several
    different population variances are involved", Biometrika 34, 1947). The degrees of
    freedom are Satterthwaite's ("An approximate distribution of estimates of variance
    components", Biometrics Bulletin 2, 1946), rounded down, which is the careful side.
    p is two-sided, of the hypothesis that nothing changed. Raises ValueError where a group
    has fewer than two launches: one launch has no spread.
    """
    import numpy

    if counts.size and counts.min() < 2:
        raise ValueError("a group of fewer than two launches has no spread")
    shares = variances / counts
    estimate = (numpy.asarray(signs)[:, None] * means).sum(axis=0)
    error = shares.sum(axis=0)
    df = error**2 / (shares**2 / df).sum(axis=0)
    # a hair above, since the quotient of equal spreads may fall just short of its whole number
    df = numpy.clip(numpy.floor(df + 1e-9), 1, MOST_DF).astype(int)
    error = numpy.sqrt(error)
    half, p = numpy.empty_like(error), numpy.empty_like(error)
    for one in numpy.unique(df):
        own = df == one
        half[own] = t_quantile(confidence, int(one)) * error[own]
        p[own] = t_two_sided(estimate[own] / error[own], int(one))
    return estimate, half, p


def discoveries(p: numpy.ndarray, share: float) -> numpy.ndarray:
    """Which of many hypotheses may be rejected so that ``share`` of these is chance at most.

    Benjamini and Hochberg, "Controlling the false discovery rate", JRSS B 57 (1995): the k
    smallest p for the largest k with p(k) <= k share / m. Holds for independent p and for
    positively dependent ones (Benjamini and Yekutieli, Annals of Statistics 29, 2001), as
    those of routes that share one native measurement are. Where nothing changed at all, the
    chance of even one discovery is ``share``, however many cells there are.
    """
    import numpy

    found = numpy.zeros(len(p), bool)
    if len(p):
        order = numpy.argsort(p, kind="stable")
        fine = p[order] <= share * numpy.arange(1, len(p) + 1) / len(p)
        if fine.any():
            found[order[: numpy.flatnonzero(fine)[-1] + 1]] = True
    return found

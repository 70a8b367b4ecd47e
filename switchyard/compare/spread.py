"""How far a cell's launches spread, with what all cells of its run say of it.

Five launches tell little of their own spread, and how far launches spread is mostly the
machine's doing, so a run's cells are asked together: the empirical Bayes of Smyth, "Linear
models and empirical Bayes methods for assessing differential expression in microarray
experiments", Statistical Applications in Genetics and Molecular Biology 3 (2004). Each sample
variance is drawn towards the run's typical one, the more so the more alike they are, and
gains degrees of freedom for it; where the cells really differ, each is left to itself. A cell far
beyond the typical one, as by a launch that was disturbed, gains nothing from cells that were not:
after Phipson, Lee, Majewski, Alexander and Smyth, "Robust hyperparameter estimation protects
against hypervariable genes", Annals of Applied Statistics 10 (2016), but by a plain threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from switchyard.tables import schema

if TYPE_CHECKING:
    import numpy
    import pandas

#: What ``of_groups`` says of each.
NAMES = ("count", "mean", "var", "df")

#: Below this many cells nothing is borrowed: too few to tell how alike their spreads are.
FEWEST_CELLS = 10

#: A prior is never trusted for more than this many launches, however alike the variances.
MOST_PRIOR_DF = 60.0

#: A variance this many times the one that it is drawn to is of another kind, and stays its own.
FAR_BEYOND = 4.0


def digamma(x: float) -> float:
    """The derivative of log gamma, for x > 0: recurrence, then the asymptotic series
    (Abramowitz and Stegun 6.3.5 and 6.3.18); good to ten digits."""
    found = 0.0
    while x < 10:
        found -= 1 / x
        x += 1
    y = 1 / (x * x)
    return found + math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y / 240)))


def trigamma(x: float) -> float:
    """The second derivative, likewise (6.4.6 and 6.4.12)."""
    found = 0.0
    while x < 10:
        found += 1 / (x * x)
        x += 1
    y = 1 / (x * x)
    return found + 1 / x + y / 2 + y / x * (1 / 6 - y * (1 / 30 - y * (1 / 42 - y / 30)))


def trigamma_inverse(value: float) -> float:
    """The x > 0 of a trigamma > 0, by bisection of its logarithm; trigamma falls throughout."""
    low, high = math.log(1e-6), math.log(1e9)
    for _ in range(100):
        middle = (low + high) / 2
        if trigamma(math.exp(middle)) > value:
            low = middle
        else:
            high = middle
    return math.exp(high)


def prior(variances: numpy.ndarray, df: numpy.ndarray) -> tuple[float, float]:
    """The typical variance, and how many degrees of freedom it is worth beside a cell's own.

    From the moments of log variances: a sample variance with d degrees of freedom around one
    true value has a log whose variance is trigamma(d / 2), and whatever they spread beyond
    that is the cells' own difference. Takes positive variances; (nan, 0) for too few.
    """
    import numpy

    if len(variances) < FEWEST_CELLS:
        return math.nan, 0.0
    logs = numpy.log(variances)
    expected = numpy.zeros(len(logs))
    beyond = 0.0
    for one in numpy.unique(df):
        own = df == one
        expected[own] = digamma(one / 2) - math.log(one / 2)
        beyond += trigamma(one / 2) * own.sum() / len(df)
    centred = logs - expected
    excess = float(centred.var(ddof=1)) - beyond
    worth = MOST_PRIOR_DF
    if excess > 0:
        worth = min(worth, 2 * trigamma_inverse(excess))
    shift = digamma(worth / 2) - math.log(worth / 2)
    return float(math.exp(centred.mean() + shift)), worth


def moderated(
    variances: numpy.ndarray, df: numpy.ndarray, least: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Each variance drawn towards the prior, and its degrees of freedom with the prior's; one that
    is ``FAR_BEYOND`` what it would be drawn to is left as it is.

    ``least`` is the variance that none is taken for less than.
    """
    import numpy

    variances = numpy.maximum(variances, least)
    typical, worth = prior(variances, df)
    if worth == 0:
        return variances, df.astype(float)
    drawn = (worth * typical + df * variances) / (worth + df)
    alone = variances > FAR_BEYOND * drawn
    return numpy.where(alone, variances, drawn), numpy.where(alone, df, df + worth).astype(float)


def logs(launches: pandas.DataFrame) -> pandas.DataFrame:
    """The log of every launch's median, ``log``, beside the cell's columns and ``launch``."""
    import numpy

    # A coarse clock may show 0, which has no log; nor has infinity.
    known = (launches["median_s"] > 0) & numpy.isfinite(launches["median_s"])
    kept = launches[known]
    return kept[[*schema.KEY, "launch"]].assign(log=numpy.log(kept["median_s"].to_numpy()))


def of_groups(logs: pandas.DataFrame, by: Sequence[str], least: float) -> pandas.DataFrame:
    """Of ``log`` in each group of ``by``: count, mean, and the variance with its degrees of
    freedom, moderated over all groups; ``least`` as in ``moderated``."""
    import numpy

    grouped = logs.groupby(list(by), sort=False, observed=True)["log"]
    found = grouped.agg(["count", "mean", "var"]).reset_index()
    several = (found["count"] > 1).to_numpy()
    variance, df = found["var"].to_numpy(copy=True), numpy.zeros(len(found))
    own = found["count"].to_numpy()[several] - 1
    variance[several], df[several] = moderated(variance[several], own, least)
    return found.assign(var=variance, df=df)

"""Whether a stochastic model arrived: its runs against torch's, by mean and spread.

Pure numpy, all arithmetic in float64.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping, Tuple

import numpy as np

from switchyard.worker.agreement import (
    ATOL,
    RTOL,
    Agreement,
    Judgement,
    structure_fault,
)
from switchyard.worker.elements import as_float64

#: Output path -> runs, stacked on axis 0.
Runs = Mapping[str, np.ndarray]

#: False alarms of ``compare_spread`` on one output: SPREAD_ALPHA for each of its four tests.
SPREAD_ALPHA, SHUFFLES = 7.5e-5, 19_999


def judge(reference_runs: Mapping[str, Runs], got_runs: Mapping[str, Runs]) -> Judgement:
    """The cell's verdict, of its runs by probe: the first probe that is wrong decides.

    ``constant-baked`` where the route answers other inputs as torch answers the first probe's: it
    does not listen to them.
    """
    example, *others = reference_runs
    judged = compare_spread(reference_runs[example], got_runs[example])
    for probe in others:
        if judged.verdict == "investigate":
            break
        judged = compare_spread(reference_runs[probe], got_runs[probe], probe)
        if judged.kind == "unexplained":
            deaf = compare_spread(reference_runs[example], got_runs[probe])
            if deaf.verdict != "investigate":
                said = f"{judged.message}; as torch answers the probe {example!r}"
                judged = dataclasses.replace(judged, kind="constant-baked", message=said)
    return judged


def compare_spread(reference_runs: Runs, got_runs: Runs, probe: str = "example") -> Judgement:
    """A stochastic model by mean and spread, on one probe; 64 runs of each.

    Assumes that, where the route is right, its runs are independent of each other as torch's
    are, and of one distribution with them; elements of a run may depend on each other in any
    way, so no table of a normal or chi-squared variable fits. Statistics are therefore set
    against their own values under random exchanges (Fisher's permutation test, exact; the +1
    rule of Phipson and Smyth 2010). Of runs between torch and route: z, the RMS over elements
    of the difference of means in standard deviations; the log ratio of the two total variances;
    and how far the two matrices of second moments between elements are apart (Frobenius), since
    noise that is shared within a run, one mask for a whole batch or one number for a tensor, moves
    neither mean nor variance of any element (beside what torch itself shares it may not be seen).
    Of the order of the route's runs: how far runs that stand a given number apart are correlated,
    since a generator that is seeded anew with neighbouring numbers gives runs that are each fair,
    and follow from each other. An alarm needs p <= SPREAD_ALPHA, so an honest output raises one in
    at most 4 * SPREAD_ALPHA = 1 of 3,333 comparisons, however many elements it has: thirty
    stochastic cells a night, of two probes, alarm falsely once in about two months, five sets of
    them every eleven nights; who asks draws once more before it believes it (``asking``).
    Counted at a level of 1% on 12,000 honest pairs (normal, masked, heavy-tailed and run-wise
    shared noise, drawn for each element, for a row and once; 199 exchanges each): 0.9 to 1.0% in
    each test, 3.4% in any.
    Rounding is no alarm: 1e-5 of an element's RMS is added to its standard deviation.

    ``acceptable`` at best, since 64 runs never show equality; ``constant-baked`` where the
    route's runs are all alike and the reference's are not. The figures of one run are None.
    """
    fault = structure_fault(
        {path: np.asarray(runs)[0] for path, runs in reference_runs.items()},
        {path: np.asarray(runs)[0] for path, runs in got_runs.items()},
    )
    if fault:
        return Judgement("investigate", fault.kind, fault.message, probe, fault)
    order = ("", "unexplained", "constant-baked", "non-finite")
    spreads = {
        path: _spread_of(np.asarray(runs), np.asarray(got_runs[path]))
        for path, runs in reference_runs.items()
    }
    path = max(spreads, key=lambda each: order.index(spreads[each][0]))
    kind, message = spreads[path][0], f"probe {probe!r}: output {path!r}: {spreads[path][1]}"
    verdict = "investigate" if kind else "acceptable"
    return Judgement(verdict, kind, message, probe, Agreement(kind, message, path))


def _spread_of(reference: np.ndarray, got: np.ndarray) -> Tuple[str, str]:
    """(kind, text) of one output over its runs."""
    x = as_float64(reference).reshape(len(reference), -1)
    y = as_float64(got).reshape(len(got), -1)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        often = np.isfinite(x).mean(0), np.isfinite(y).mean(0)
        if not np.array_equal(*often):
            return "non-finite", "NaN or infinities not as often in each place as in torch"
        x, y = x[:, often[0] == 1], y[:, often[0] == 1]
    if not x.size:
        return "", "nothing to compare"
    both = np.concatenate([x, y])
    middle = both.mean(0)
    rounding = 1e-5 * np.sqrt(np.mean(both * both, 0))
    moves = [np.any(part.std(0) > rounding) for part in (x, y)]
    if moves[0] and not moves[1]:
        return "constant-baked", f"{len(y)} runs of the route all alike, torch's vary"
    deviation = np.sqrt(both.var(0) + rounding**2)
    deviation[deviation == 0] = 1.0
    z = (both - middle) / deviation
    if not moves[0]:
        gap = np.abs(x.mean(0) - y.mean(0))
        alike = not moves[1] and np.all(gap <= ATOL + RTOL * np.abs(x.mean(0)))
        return ("" if alike else "unexplained"), f"torch's runs are all alike, gap {gap.max():.3g}"
    gram, energy = z @ z.T, np.sum(z * z, 1)
    # Row 0 is the split as it came; weights give mean(x) - mean(y) of any split.
    rng, count = np.random.default_rng(0), len(both)
    chosen = np.argsort(rng.random((SHUFFLES + 1, count)), 1) < len(x)
    chosen[0] = np.arange(count) < len(x)
    weights = np.where(chosen, 1 / len(x), -1 / len(y))
    shift = np.sum((weights @ gram) * weights, 1)
    # A run's matrix is z z'; the product of two such, entry by entry, sums to (z . z')**2.
    moments = np.sum((weights @ gram**2) * weights, 1)
    own = (chosen @ energy) / len(x)
    ratio = np.abs(np.log((energy.sum() - own * len(x)) / len(y) / own))
    p = [float(np.mean(t >= t[0] * (1 - 1e-12))) for t in (shift, ratio, moments, _by_lag(y, rng))]
    text = (
        f"means {math.sqrt(shift[0] / z.shape[1]):.3g} standard deviations apart (RMS,"
        f" p {p[0]:.2g}), variance {y.var(0).sum() / x.var(0).sum():.3g} of torch's (p {p[1]:.2g}),"
        f" elements of a run that depend otherwise on each other (p {p[2]:.2g}),"
        f" runs that depend on those before them (p {p[3]:.2g})"
    )
    return ("unexplained" if min(p) <= SPREAD_ALPHA else ""), text


def _by_lag(runs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far runs that stand so and so many apart are correlated, in the order they came and in
    ``SHUFFLES`` random ones: the sum of squared mean correlations over lags up to half of them,
    each weighted by the pairs it rests on (Box and Pierce's portmanteau statistic, between
    vectors). ``runs``: shaped (runs, elements); the result (SHUFFLES + 1,), the own order first.
    """
    z = runs - runs.mean(0)
    length = np.linalg.norm(z, axis=1)
    length[length == 0] = 1.0
    z /= length[:, None]
    correlation, count = (z @ z.T).astype(np.float32), len(z)
    orders = np.argsort(rng.random((SHUFFLES + 1, count)), 1)
    orders[0] = np.arange(count)
    found = np.zeros(len(orders))
    for lag in range(1, count // 2 + 1):
        pairs = correlation[orders[:, lag:], orders[:, :-lag]]
        found += pairs.sum(1, dtype=np.float64) ** 2 / (count - lag)
    return found

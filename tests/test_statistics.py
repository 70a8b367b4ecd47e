"""The statistics against values known from elsewhere."""

from __future__ import annotations

import math

import numpy
import pytest

from switchyard.compare import statistics


@pytest.mark.parametrize(
    "successes, trials, low, high",
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_wilson_interval_agrees_with_published_values(successes, trials, low, high):
    found = statistics.wilson_interval(successes, trials)
    assert found == pytest.approx((low, high), abs=6e-5)


def test_wilson_interval_is_exact_at_its_ends():
    assert statistics.wilson_interval(0, 7)[0] == 0.0
    assert statistics.wilson_interval(7, 7)[1] == 1.0
    assert statistics.wilson_interval(0, 0) == (0.0, 1.0)


def test_wilson_interval_widens_with_confidence():
    narrow, wide = (statistics.wilson_interval(30, 60, c) for c in (0.8, 0.99))
    assert wide[0] < narrow[0] < 0.5 < narrow[1] < wide[1]


@pytest.mark.parametrize("successes, trials", [(3, 2), (-1, 2), (1, 0)])
def test_wilson_interval_refuses_impossible_counts(successes, trials):
    with pytest.raises(ValueError, match="trials"):
        statistics.wilson_interval(successes, trials)


@pytest.mark.parametrize("q", [0.0, 0.1, 0.25, 0.5, 0.9, 0.99, 1.0])
@pytest.mark.parametrize("n", [1, 2, 3, 10, 661])
def test_quantile_agrees_with_numpy(q, n):
    values = numpy.random.default_rng(n).lognormal(size=n).tolist()
    assert statistics.quantile(values, q) == pytest.approx(
        float(numpy.quantile(values, q)), rel=1e-12
    )


def test_quantile_does_not_reorder_what_it_is_given():
    values = [3.0, 1.0, 2.0]
    assert statistics.median(values) == 2.0
    assert values == [3.0, 1.0, 2.0]


@pytest.mark.parametrize("values", [[], [1.0, math.nan], [math.nan]])
def test_quantile_refuses_what_has_none(values):
    with pytest.raises(ValueError):
        statistics.quantile(values, 0.5)


def test_662_is_where_the_second_largest_bounds_the_99_percent_quantile():
    assert statistics.samples_for_upper_bound(0.99, 0.99, from_top=2) == statistics.P99_SAMPLES
    # Wilks's sample sizes as tables give them
    assert statistics.samples_for_upper_bound(0.95, 0.95, from_top=1) == 59
    assert statistics.samples_for_upper_bound(0.95, 0.95, from_top=2) == 93
    assert statistics.samples_for_upper_bound(0.99, 0.95, from_top=1) == 299
    assert statistics.samples_for_upper_bound(0.99, 0.95, from_top=2) == 473


def test_662_is_where_the_extremes_enclose_99_percent():
    """The tolerance-interval reading of the same number, from its own formula."""

    def confidence(n: int) -> float:
        return 1 - n * 0.99 ** (n - 1) + (n - 1) * 0.99**n

    assert confidence(statistics.P99_SAMPLES) >= 0.99 > confidence(statistics.P99_SAMPLES - 1)


def test_662_holds_in_a_simulation():
    """Uniform draws: the second largest of 662 passes 0.99 in 99% of samples."""
    draws = numpy.random.default_rng(7).random((4000, statistics.P99_SAMPLES))
    second_largest = numpy.partition(draws, -2, axis=1)[:, -2]
    share = float((second_largest >= 0.99).mean())
    assert share == pytest.approx(0.99, abs=0.005)


def test_p99_is_empty_below_662_samples():
    values = [float(i) for i in range(662)]
    assert statistics.p99(values[:661]) is None
    assert statistics.p99(values) == pytest.approx(0.99 * 661)


def test_geometric_mean_lets_reciprocals_cancel():
    assert statistics.geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
    assert statistics.geometric_mean([1.0, 10.0, 100.0]) == pytest.approx(10.0)
    assert statistics.geometric_mean([1e-200] * 5) == pytest.approx(1e-200)


@pytest.mark.parametrize("ratios", [[], [1.0, 0.0], [-1.0], [math.nan], [math.inf]])
def test_geometric_mean_refuses_what_has_none(ratios):
    with pytest.raises(ValueError):
        statistics.geometric_mean(ratios)

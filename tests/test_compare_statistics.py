"""The mathematics of launches: exact where it can be, and how often it is wrong where not."""

from __future__ import annotations

import math

import numpy
import pytest
from made_tables import ABOUT, timed

from switchyard.compare import intervals, spread
from switchyard.compare.comparison import compare

# Student's t, against tables printed in every textbook


@pytest.mark.parametrize(
    ("confidence", "df", "expected"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 4, 2.776),
        (0.95, 5, 2.571),
        (0.95, 16, 2.120),
        (0.99, 8, 3.355),
        (0.90, 30, 1.697),
        (0.999, 3, 12.924),
    ],
)
def test_the_quantiles_of_t_are_the_textbooks(confidence, df, expected):
    assert intervals.t_quantile(confidence, df) == pytest.approx(expected, abs=6e-4)


def test_t_has_the_closed_forms_of_one_and_two_degrees_of_freedom():
    t = numpy.array([0.0, 0.3, 1.0, 5.0, 40.0])
    assert intervals.t_two_sided(t, 1) == pytest.approx(1 - 2 / math.pi * numpy.arctan(t))
    assert intervals.t_two_sided(t, 2) == pytest.approx(1 - t / numpy.sqrt(2 + t * t))
    assert intervals.t_two_sided(-t, 7) == pytest.approx(intervals.t_two_sided(t, 7))
    with pytest.raises(ValueError, match="0 degrees"):
        intervals.t_two_sided(t, 0)
    with pytest.raises(ValueError, match="confidence 1"):
        intervals.t_quantile(1, 5)


def test_the_contrast_of_two_groups_is_welchs_example():
    """Two groups of 10 and 20; equal variances and counts give the pooled degrees of freedom."""
    counts = numpy.array([[5.0], [5.0]])
    means = numpy.array([[1.0], [0.2]])
    variances = numpy.array([[0.3], [0.3]])
    estimate, half, p = intervals.contrast((1, -1), counts, means, variances, counts - 1, 0.95)
    error = math.sqrt(0.3 / 5 + 0.3 / 5)
    assert estimate[0] == pytest.approx(0.8)
    assert half[0] == pytest.approx(2.306 * error, rel=1e-3)  # t of 8 degrees of freedom
    assert p[0] == pytest.approx(intervals.t_two_sided(numpy.array(0.8 / error), 8))


def test_unequal_spreads_leave_fewer_degrees_of_freedom():
    counts, means = numpy.array([[5.0], [5.0]]), numpy.zeros((2, 1))
    variances = numpy.array([[0.6], [1e-12]])
    _, half, _ = intervals.contrast((1, -1), counts, means, variances, counts - 1, 0.95)
    # the spread of the one group alone, with its four degrees of freedom
    assert half[0] == pytest.approx(2.776 * math.sqrt(0.6 / 5), rel=1e-3)


def test_launches_alike_to_the_last_tick_are_not_taken_for_certainty():
    same = [1e-5] * 5
    before = timed({("m", "torch-eager"): same, ("m", "r-ort"): same})
    after = timed({("m", "torch-eager"): same, ("m", "r-ort"): [1.001e-5] * 5})
    cell = compare(before, after).cells.iloc[1]
    assert cell["change_low"] < 1 < cell["change"] < cell["change_high"] < 1.05


def test_one_launch_has_no_spread():
    with pytest.raises(ValueError, match="two launches"):
        intervals.contrast((1, -1), numpy.array([[5], [1]]), *numpy.zeros((3, 2, 1)), 0.95)


def test_discoveries_are_benjamini_and_hochbergs():
    p = numpy.array([0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216])
    assert intervals.discoveries(p, 0.05).sum() == 2  # 0.039 > 3 x 0.05 / 10
    # a step up: the third is within its line, so the second is taken though it is not
    assert intervals.discoveries(numpy.array([0.04, 0.045, 0.05]), 0.05).all()
    assert not intervals.discoveries(numpy.array([0.06]), 0.05).any()
    assert intervals.discoveries(numpy.array([]), 0.05).size == 0
    shuffled = intervals.discoveries(p[::-1], 0.05)
    assert list(shuffled[::-1]) == list(intervals.discoveries(p, 0.05))


# what a cell's spread borrows from the others


def test_digamma_and_trigamma_have_their_known_values():
    assert spread.digamma(1) == pytest.approx(-0.5772156649, abs=1e-9)
    assert spread.digamma(0.5) == pytest.approx(-1.9635100260, abs=1e-9)
    assert spread.trigamma(1) == pytest.approx(math.pi**2 / 6, abs=1e-9)
    assert spread.trigamma(0.5) == pytest.approx(math.pi**2 / 2, abs=1e-9)
    assert spread.trigamma_inverse(spread.trigamma(3.3)) == pytest.approx(3.3)


def test_the_prior_of_simulated_variances_is_found():
    """Drawn as the model says: true variances 0.09 d0 / chi2(d0), five launches of each."""
    rng = numpy.random.default_rng(0)
    df = numpy.full(5000, 4)
    drawn = rng.chisquare(4, 5000) / 4
    typical, worth = spread.prior(0.09 * 4 / rng.chisquare(4, 5000) * drawn, df)
    assert typical == pytest.approx(0.09, rel=0.05) and worth == pytest.approx(4, rel=0.15)
    typical, worth = spread.prior(0.09 * drawn, df)  # all cells alike
    assert typical == pytest.approx(0.09, rel=0.05) and worth == spread.MOST_PRIOR_DF


def test_a_lucky_spread_is_drawn_up_and_few_cells_borrow_nothing():
    variances, df = numpy.linspace(0.01, 0.1, 20), numpy.full(20, 4)
    found, worth = spread.moderated(variances, df, 1e-4)
    assert found[0] > variances[0] and found[-1] < variances[-1] and (worth > df).all()
    assert (numpy.diff(found) > 0).all()
    alone, own = spread.moderated(variances[:9], df[:9], 0.02)
    assert list(alone) == list(numpy.maximum(variances[:9], 0.02)) and list(own) == [4] * 9


# the verdict over simulated launches: log-normal medians, all independent, routes sharing
# the native of their model as real ones do


def simulated(rng, models: int, routes: int, launches: int, cv: float, slowed=None):
    """Two tables of the same code; ``slowed`` maps cells to a factor on the second."""
    sigma = math.sqrt(math.log1p(cv * cv))
    both = []
    for side in (0, 1):
        medians = {}
        for model in range(models):
            for route in ("torch-eager", *(f"r{i}-ort" for i in range(routes))):
                factor = (slowed or {}).get((f"m{model}", route), 1.0) if side else 1.0
                base = 1e-4 * (1 + model) * factor
                medians[f"m{model}", route] = base * rng.lognormal(0, sigma, launches)
        both.append(timed(medians))
    return both


@pytest.mark.parametrize("launches", [3, 5])
def test_identical_code_is_almost_never_called_slower(launches):
    rng = numpy.random.default_rng(7)
    wrong = cells = 0
    alarms = []
    for _ in range(40):
        comparison = compare(*simulated(rng, 10, 6, launches, 0.3))
        found = comparison.counts.get("slower", 0) + comparison.counts.get("faster", 0)
        alarms.append(found > 0)
        wrong += found
        cells += 60
    assert cells == 2400
    assert wrong <= 0.005 * cells, f"{wrong} false alarms in {cells} cells"
    assert sum(alarms) <= 5, f"{sum(alarms)} of 40 comparisons of identical code are not green"


def test_cells_of_very_different_spread_raise_few_alarms_too():
    """Three cells in a hundred swing by a factor of e, which no typical spread covers."""
    rng = numpy.random.default_rng(4)
    alarms = 0
    for _ in range(25):
        sigma = {}
        both = []
        for _side in (0, 1):
            medians = {}
            for cell in [(f"m{m}", f"r{r}-ort") for m in range(20) for r in range(5)]:
                wild = sigma.setdefault(cell, 1.0 if rng.random() < 0.03 else 0.2)
                medians[cell] = 1e-4 * rng.lognormal(0, wild, 5)
                medians.setdefault((cell[0], "torch-eager"), 1e-4 * rng.lognormal(0, 0.2, 5))
            both.append(timed(medians))
        alarms += "slower" in compare(*both).counts
    assert alarms <= 4, f"{alarms} of 25"


def test_without_the_control_over_all_cells_there_would_be_false_alarms():
    """What ``discoveries`` is for: intervals alone stand apart in some percent of cells."""
    cells = compare(*simulated(numpy.random.default_rng(3), 60, 10, 5, 0.3)).cells
    apart = (cells["change_low"] > 1) | (cells["change_high"] < 1)
    assert 0.02 < apart.mean() < 0.08  # they are 95% intervals, torch eager's own cells aside
    assert not cells["verdict"].isin(["slower", "faster"]).any()
    assert (cells.loc[apart, "timing"] == "ambiguous").all()


def test_a_factor_of_two_with_five_launches_is_found():
    """At a CV of 18%, the quieter end of what identical code shows; and among many cells."""
    rng = numpy.random.default_rng(11)
    found = planted = false = 0
    for _ in range(20):
        slowed = {(f"m{i}", "r0-ort"): 2.0 for i in range(10)}
        comparison = compare(*simulated(rng, 10, 4, 5, 0.18, slowed))
        slower = comparison.cells[comparison.cells["verdict"] == "slower"]
        found += int((slower["route"] == "r0-ort").sum())
        false += int((slower["route"] != "r0-ort").sum())
        planted += 10
    assert found >= 0.9 * planted, f"{found} of {planted} found"
    assert false <= 0.05 * (found + false)


def test_more_launches_find_what_five_leave_open():
    """At a CV of 30%, where four groups of five launches leave a factor of two in doubt."""
    rng = numpy.random.default_rng(5)
    found = {5: 0, 15: 0}
    for launches in found:
        for _ in range(10):
            slowed = {(f"m{i}", "r0-ort"): 2.0 for i in range(10)}
            cells = compare(*simulated(rng, 10, 4, launches, 0.3, slowed)).cells
            own = cells[cells["route"] == "r0-ort"]
            found[launches] += int((own["verdict"] == "slower").sum())
            # what is not found is said to be open, and not said to be the same
            missed = own[(own["verdict"] == "same") & (own["change"] > 1.25)]
            assert (missed["timing"] == "ambiguous").all()
    assert 35 <= found[5] < 75 and found[15] >= 95, found


def test_a_cell_asked_for_alone_needs_less_evidence_than_one_of_many():
    """The same factor of two at a CV of 30% and five launches, as the only cell timed."""
    rng = numpy.random.default_rng(9)
    slowed = {("m0", "r0-ort"): 2.0}
    runs = [compare(*simulated(rng, 1, 1, 5, 0.3, slowed)).counts for _ in range(100)]
    assert sum("slower" in counts for counts in runs) >= 60


def test_a_busier_machine_is_divided_out():
    """Everything takes three times as long, torch eager too: nothing became slower."""
    rng = numpy.random.default_rng(2)
    everything = {
        (f"m{i}", route): 3.0 for i in range(5) for route in ("torch-eager", "r0-ort", "r1-ort")
    }
    comparison = compare(*simulated(rng, 5, 2, 5, 0.1, everything))
    assert comparison.counts == {"same": 15}
    assert comparison.native["models"] == 5
    assert comparison.native["ratio"] == pytest.approx(3, rel=0.15)


# one launch that was disturbed, in a run that is quiet otherwise


def quiet(disturbed, factor, launches=3, models=100, in_turn=False):
    """A run before and one after of which nothing changed; one launch of ``disturbed``, (side,
    model, route), took ``factor`` times as long."""
    drawn = numpy.random.default_rng(5)
    sides = [
        {
            (f"m{i}", route): 1e-3 * numpy.exp(drawn.normal(0, 0.02, launches))
            for i in range(models)
            for route in ("torch-eager", "dynamo-ort")
        }
        for _ in range(2)
    ]
    side, *cell = disturbed
    sides[side][tuple(cell)][1] *= factor
    about = {**ABOUT, "sets_in_turn": True, "version_sets": ["s", "t"]} if in_turn else ABOUT
    sets = ("s", "t") if in_turn else ("s", "s")
    return compare(*(timed(one, about, version_set=name) for one, name in zip(sides, sets)))


@pytest.mark.parametrize("in_turn", [False, True], ids=["two runs", "in turn"])
@pytest.mark.parametrize("factor", [2.5, 6, 20])
@pytest.mark.parametrize("disturbed", [(1, "m0", "dynamo-ort"), (0, "m0", "torch-eager")],
                         ids=["after", "the yardstick before"])  # fmt: skip
def test_one_disturbed_launch_is_no_change_however_quiet_the_others_are(
    disturbed, factor, in_turn
):
    found = quiet(disturbed, factor, in_turn=in_turn)
    assert not {"slower", "faster"} & set(found.counts) and found.status == 0, found.counts


def test_a_change_in_every_launch_is_found_in_such_a_run():
    drawn = numpy.random.default_rng(6)
    before, after = (
        {(f"m{i}", route): 1e-3 * numpy.exp(drawn.normal(0, 0.02, 3))
         for i in range(100) for route in ("torch-eager", "dynamo-ort")}
        for _ in range(2)
    )  # fmt: skip
    after["m0", "dynamo-ort"] *= 1.5
    found = compare(timed(before), timed(after))
    assert found.counts.get("slower") == 1 and found.status == 1


def test_a_variance_far_beyond_the_others_is_left_as_it_is():
    own, df = numpy.full(50, 0.01), numpy.full(50, 2)
    own[0] = 1.0
    variances, freedom = spread.moderated(own, df, 0.0)
    assert variances[0] == 1.0 and freedom[0] == 2
    assert 0.005 < variances[1] < 0.03 and freedom[1] > 2


def test_an_infinite_launch_is_no_launch():
    cells = {(f"m{i}", route): [1e-3, 1e-3, 1e-3] for i in range(12)
             for route in ("torch-eager", "dynamo-ort")}  # fmt: skip
    endless = {**cells, ("m0", "dynamo-ort"): [1e-3, math.inf, 1e-3]}
    assert compare(timed(endless), timed(cells)).counts == {"same": 24}


def test_what_is_ignored_decides_nothing_about_the_others():
    """How many cells ask is what tells a change from chance: those that are ignored do not."""
    found = []
    for seed in range(6):
        drawn = numpy.random.default_rng(seed)
        before, after = {}, {}
        for i in range(30):
            for route in ("torch-eager", "dynamo-ort", "manual-tf"):
                times = 12 if route == "manual-tf" else 1
                before[f"m{i}", route] = 1e-3 * numpy.exp(drawn.normal(0, 0.2, 5))
                after[f"m{i}", route] = times * 1e-3 * numpy.exp(drawn.normal(0, 0.2, 5))
        ignoring = compare(timed(before), timed(after), ignore=["*-manual-tf"])
        for side in (before, after):
            for cell in [cell for cell in side if cell[1] == "manual-tf"]:
                del side[cell]
        without = compare(timed(before), timed(after))
        assert ignoring.ignored == {"*-manual-tf": 30}
        found.append(((ignoring.counts, ignoring.status), (without.counts, without.status)))
    same = [one for one, other in found if one == other]
    # The launches of what is ignored still tell how far launches spread.
    assert len(same) >= 5, found

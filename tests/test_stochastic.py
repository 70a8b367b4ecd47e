"""A stochastic model's runs against torch's: by mean, spread, and what depends on what."""

import numpy as np
import pytest

from switchyard.worker import stochastic


def draws(seed, runs=64, elements=40, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    shared = rng.standard_normal((runs, 1))  # elements of a run depend on each other
    return {
        "y": (shift + scale * (rng.standard_normal((runs, elements)) + shared)).astype(np.float32)
    }


def test_equal_distributions_are_acceptable_never_excellent():
    verdicts = [stochastic.compare_spread(draws(i), draws(1000 + i)).verdict for i in range(20)]
    assert verdicts == ["acceptable"] * 20


def test_p_values_are_as_even_as_they_claim(monkeypatch):
    # At a level of 10% about a tenth of honest comparisons must fall out in each test, so
    # 40% at most in all four: over 53 (binomial(100, 0.4), 1 in 300) the null is wrong, and
    # under 4 (binomial(100, 0.1), 1 in 120) it could not find anything.
    monkeypatch.setattr(stochastic, "SPREAD_ALPHA", 0.1)
    monkeypatch.setattr(stochastic, "SHUFFLES", 199)
    alarms = sum(
        stochastic.compare_spread(draws(i, elements=8), draws(5000 + i, elements=8)).kind != ""
        for i in range(100)
    )
    assert 4 <= alarms <= 53


def masks(seed, runs=64, elements=66):
    """Dropout's masks as they should be: independent of each other."""
    return {"y": (np.random.default_rng(seed).random((runs, elements)) < 0.5).astype(np.float32)}


def neighbours(seed, runs=64, elements=66):
    """The same from a linear congruential generator (minstd) that each run seeds anew with the
    next number: every mask is fair for itself, and says much of the one before it."""
    state = seed + np.arange(runs)
    columns = []
    for _ in range(elements):
        state = state * 16807 % 2147483647
        columns.append(state / 2147483647 < 0.5)
    return {"y": np.stack(columns, 1).astype(np.float32)}


def test_runs_that_depend_on_each_other_are_found_every_time():
    for seed in range(5):
        judgement = stochastic.compare_spread(masks(seed), neighbours(1_000_003 * (seed + 1)))
        assert (judgement.verdict, judgement.kind) == ("investigate", "unexplained"), judgement
        honest = stochastic.compare_spread(masks(seed), masks(100 + seed))
        assert honest.verdict == "acceptable", honest.message


def noise(seed, shape, like):
    """Runs of (batch 4, features 10), on noise of this shape that fills the rest of them."""
    drawn = np.random.default_rng(seed).standard_normal((64, *shape))
    if like == "dropout":
        drawn = drawn > 0
    whole = np.broadcast_to(drawn, (64, 4, shape[-1]))
    return {"y": np.repeat(whole, 10 // shape[-1], axis=-1).astype(np.float32)}


@pytest.mark.parametrize("like", ["normal", "dropout"])
@pytest.mark.parametrize(
    "shared", [(4, 5), (1, 10), (4, 1), (1, 1)],
    ids=["by two neighbours", "over the batch", "over the features", "by all"],
)  # fmt: skip
def test_noise_that_is_shared_within_a_run_is_found(shared, like):
    """Each element alone has the mean and the spread that it should, and runs are independent."""
    judgement = stochastic.compare_spread(noise(1, (4, 10), like), noise(2, shared, like))
    assert (judgement.verdict, judgement.kind) == ("investigate", "unexplained"), judgement
    # What torch itself shares is no fault.
    honest = stochastic.compare_spread(noise(3, shared, like), noise(2, shared, like))
    assert honest.verdict == "acceptable", honest.message


@pytest.mark.parametrize("fault", [{"scale": 1.8}, {"scale": 0.5}, {"shift": 1.2}])
def test_another_spread_or_mean_is_found(fault):
    assert stochastic.compare_spread(draws(1), draws(2, **fault)).kind == "unexplained"


def test_runs_all_alike_are_constant_baked():
    frozen = {"y": np.repeat(draws(2)["y"][:1], 64, axis=0)}
    judgement = stochastic.compare_spread(draws(1), frozen)
    assert (judgement.verdict, judgement.kind) == ("investigate", "constant-baked")
    assert judgement.agreement.mse is None
    # Where torch's do not vary either, nothing was baked.
    assert stochastic.compare_spread(frozen, frozen).verdict == "acceptable"
    assert stochastic.compare_spread(frozen, draws(1)).kind == "unexplained"


def test_spread_looks_at_structure_and_nan_first():
    assert stochastic.compare_spread(draws(1), {"z": draws(2)["y"]}).kind == "output-structure"
    hole = draws(2)["y"].copy()
    hole[3, 3] = np.nan
    assert stochastic.compare_spread(draws(1), {"y": hole}).kind == "non-finite"


def test_a_route_that_does_not_listen_to_its_inputs_is_found():
    """On the example alone it is right to the last run."""
    torchs = {"example": draws(1), "fresh": draws(2, shift=2.0)}
    honest = stochastic.judge(torchs, {"example": draws(3), "fresh": draws(4, shift=2.0)})
    assert (honest.verdict, honest.worst_probe) == ("acceptable", "fresh")
    baked = stochastic.judge(torchs, {"example": draws(3), "fresh": draws(5)})
    assert (baked.verdict, baked.kind) == ("investigate", "constant-baked")
    assert baked.worst_probe == "fresh" and "as torch answers the probe 'example'" in baked.message
    # Wrong in another way: nothing was baked.
    other = stochastic.judge(torchs, {"example": draws(3), "fresh": draws(5, shift=-2.0)})
    assert (other.kind, other.worst_probe) == ("unexplained", "fresh")
    first = stochastic.judge(torchs, {"example": draws(3, scale=2.0), "fresh": draws(5)})
    assert (first.kind, first.worst_probe) == ("unexplained", "example")

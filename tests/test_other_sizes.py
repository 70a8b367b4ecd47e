"""The judgement of answers to inputs that are not of the model's own size."""

import numpy as np
import pytest

from switchyard.worker import agreement as ag

EXACT = np.random.default_rng(7).standard_normal((2, 50))
OWN = {"y": EXACT.astype(np.float32)}
FP64 = {"y": EXACT}


def off(amount):
    """As it is, with noise of this RMS, reproducible."""
    noise = np.random.default_rng(3).standard_normal(EXACT.shape)
    return {"y": (EXACT + amount * noise).astype(np.float32)}


def test_inputs_of_another_size_decide_only_where_they_are_worse():
    """Else a row's mse would be that of inputs ten times as large, wherever nothing is wrong."""
    large, large64 = {"y": OWN["y"] * np.float32(1e4)}, {"y": FP64["y"] * 1e4}
    fine = ag.ask("example", OWN, [OWN], FP64)

    def tenfold(error):
        got = {"y": large["y"] + np.float32(1e4 * error) * (1 + 0 * large["y"])}
        return ag.ask("tenfold", large, [got], large64, scaled=True)

    rounded = tenfold(1e-6)
    assert rounded.agreement.mse > 1e-5 > ag.deciding_error(rounded.agreement)
    assert ag.judge([fine, rounded]).worst_probe == "example"
    assert ag.judge([fine, rounded]).verdict == "excellent"
    wrong = ag.judge([fine, tenfold(0.5)])
    assert (wrong.worst_probe, wrong.verdict) == ("tenfold", "investigate")
    flags, other = {"y": np.zeros(4, bool)}, {"y": np.ones(4, bool)}
    assert ag.judge([ag.ask("tenfold", flags, [other], scaled=True)]).verdict == "investigate"


def test_a_fault_at_another_size_hides_none_at_the_models_own():
    hole = {"y": np.where(OWN["y"] == OWN["y"].max(), np.float32("inf"), OWN["y"])}
    wrong = ag.ask("example", OWN, [off(0.5)], FP64)
    for broken in (
        ag.ask("tenfold", OWN, [hole], FP64, scaled=True),
        ag.ask("tenfold", OWN, [OWN, off(0.5)], FP64, scaled=True),
        ag.ask("tenfold", OWN, [{"y": OWN["y"].T}], FP64, scaled=True),
    ):
        found = ag.judge([broken, wrong])
        assert (found.worst_probe, found.kind) == ("example", "unexplained")
        assert ag.judge([broken, ag.ask("example", OWN, [OWN], FP64)]).worst_probe == "tenfold"


@pytest.mark.parametrize("times, verdict", [(9, "excellent"), (12, "investigate")])
def test_at_another_size_torchs_own_loss_says_nothing_against_a_route(times, verdict):
    """A function that saturates has lost there what it gives, in torch as well."""
    little = {"y": np.float32(FP64["y"] + 0.01)}
    exact = {"y": np.float32(FP64["y"])}
    found = ag.ask("tenfold", little, [exact], FP64, scaled=True).agreement
    assert ag.EXCELLENT < ag.deciding_error(found) < ag.ACCEPTABLE
    assert ag.band(found) == ("excellent", "")
    lost = {"y": np.float32(FP64["y"] + 0.1)}
    got = {"y": np.float32(FP64["y"] + 0.1 * times)}
    found = ag.judge([ag.ask("tenfold", lost, [got], FP64, scaled=True)])
    assert found.verdict == verdict and bool(found.message) == (verdict != "excellent")
    labels, exact = np.arange(400), np.arange(400.0)
    own, route = labels.copy(), labels.copy()
    own[:10], route[: 10 * times] = 500, 501
    found = ag.judge([ag.ask("tenfold", {"y": own}, [{"y": route}], {"y": exact}, scaled=True)])
    assert found.verdict == verdict


@pytest.mark.parametrize("part, verdict", [(5e-4, "excellent"), (2e-3, "investigate")])
def test_at_another_size_digits_below_a_thousandth_are_not_counted(part, verdict):
    size = float(np.sqrt(np.mean(FP64["y"] ** 2)))
    got = {"y": np.float32(FP64["y"] + part * size)}
    found = ag.judge([ag.ask("tenfold", OWN, [got], FP64, scaled=True)])
    assert found.verdict == verdict and found.agreement.error_vs_fp64 > 1000
    assert ag.judge([ag.ask("fresh", OWN, [got], FP64)]).kind == "precision"

"""The judgement of outputs: structure before value, float64 as the scale, repeats."""

import dataclasses

import numpy as np
import pytest

from switchyard.vocabulary import KINDS, VERDICTS
from switchyard.worker import agreement as ag
from switchyard.worker import rounding

RNG = np.random.default_rng(7)
EXACT = RNG.standard_normal((2, 50))
OWN = {"y": EXACT.astype(np.float32)}
FP64 = {"y": EXACT}


def off(amount, base=EXACT, dtype=np.float32):
    """``base`` with noise of this RMS, reproducible."""
    noise = np.random.default_rng(3).standard_normal(base.shape)
    return {"y": (base + amount * noise).astype(dtype)}


def test_equal_outputs_have_no_error():
    result = ag.compare(OWN, OWN, FP64, classifier=True)
    assert (result.kind, result.mse, result.nmse, result.match_fraction) == ("", 0.0, 0.0, 1.0)
    assert result.top1_agreement == 1.0 and result.cosine == pytest.approx(1)
    assert result.error_vs_fp64 <= 1 and ag.band(result) == ("excellent", "")


def test_figures_are_as_defined():
    wanted = {"y": np.array([1.0, 2.0, 4.0], np.float32)}
    got = {"y": np.array([1.0, 2.0, 5.0], np.float32)}
    result = ag.compare(wanted, got)
    assert result.mse == pytest.approx(1 / 3)
    assert result.nmse == pytest.approx((1 / 3) / np.var([1.0, 2.0, 4.0]))
    assert result.max_abs_err == 1 and result.match_fraction == pytest.approx(2 / 3)
    assert result.error_vs_fp64 is None and result.top1_agreement is None


@pytest.mark.parametrize(
    "got, kind, said",
    [
        ({}, "output-structure", "'y' is missing"),
        ({**OWN, "z": OWN["y"]}, "output-structure", "'z' is not one"),
        ({"y": OWN["y"].T}, "shape", "(2, 50) in torch, (50, 2) in the route"),
        ({"y": EXACT}, "dtype", "float32 in torch, float64 in the route"),
    ],
)
def test_structure_comes_before_value(got, kind, said):
    result = ag.compare(OWN, got, FP64)
    assert result.kind == kind and said in result.message
    assert result.mse is None and ag.band(result) == ("investigate", kind)


def test_missing_goes_before_shape_and_shape_before_dtype():
    two = {"a": np.zeros(3, np.float32), "b": np.zeros(3, np.float32)}
    assert ag.compare(two, {"a": np.zeros(4, np.float32)}).kind == "output-structure"
    got = {"a": np.zeros(3), "b": np.zeros(4, np.float32)}
    assert (ag.compare(two, got).kind, ag.compare(two, got).output) == ("shape", "b")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_non_finite_place_is_told(value):
    got = OWN["y"].copy()
    got[1, 3] = value
    assert ag.compare(OWN, {"y": got}).kind == "non-finite"
    assert ag.compare({"y": got}, OWN).kind == "non-finite"
    same = ag.compare({"y": got}, {"y": got}, FP64)
    assert same.kind == "" and same.mse == 0


def test_infinities_of_other_sign_differ():
    one = {"y": np.array([np.inf, 1.0])}
    assert ag.compare(one, {"y": -one["y"]}).kind == "non-finite"


def test_the_band_is_that_of_the_worse_of_mse_and_nmse():
    small = {"y": (1e-4 * EXACT).astype(np.float32)}
    zeros = ag.compare(small, {"y": np.zeros_like(small["y"])})
    assert zeros.mse < 1e-7 and ag.band(zeros) == ("investigate", "unexplained")
    large = {"y": (1e3 * EXACT).astype(np.float32)}
    apart = ag.compare(large, {"y": large["y"] + np.float32(0.1)})
    assert apart.nmse < 1e-7 and ag.band(apart) == ("investigate", "unexplained")


def test_bands():
    for noise, verdict in ((1e-4, "excellent"), (1e-2, "acceptable"), (1e-1, "investigate")):
        assert ag.band(ag.compare(OWN, off(noise)))[0] == verdict


def test_a_constant_reference_has_no_nmse():
    ones = {"y": np.full(9, 3.0, np.float32)}
    result = ag.compare(ones, {"y": ones["y"] + np.float32(1e-3)})
    assert result.nmse is None and ag.band(result)[0] == "excellent"
    nought = ag.compare({"y": np.zeros(9)}, {"y": np.zeros(9)})
    assert nought.nmse is None and nought.cosine is None and nought.mse == 0


def test_in_16_bits_a_constant_reference_is_held_to_its_own_size():
    """One spacing off at 300 an honest route is beyond any band of mse, at 1e-3 a wrong one passes
    them all."""

    def judged(value, moved):
        own, got = ({"y": np.full(9, v, np.float16)} for v in (value, moved))
        found = ag.compare(own, got, {"y": np.full(9, value)})
        assert ag.deciding_error(found) == pytest.approx((moved / value - 1) ** 2, rel=1e-2)
        return ag.band(found)

    assert judged(300.0, 300.25) == ("excellent", "")
    assert judged(1.0, 1 + 2.0**-10) == ("excellent", "")
    assert judged(300.0, 330.0) == judged(1e-3, 1.5e-3) == ("investigate", "unexplained")
    nought, near = ({"y": np.full(9, v, np.float16)} for v in (0, 1e-2))
    found = ag.compare(nought, near)
    assert found.nmse is None and ag.band(found)[0] == "acceptable"  # its mse alone, 1e-4


def test_rounding_noise_passes_and_a_thousand_times_it_is_precision():
    assert ag.band(ag.compare(OWN, off(3e-7), FP64)) == ("excellent", "")
    fault = ag.compare(OWN, off(1e-4), FP64)
    assert fault.mse < 1e-7 and fault.error_vs_fp64 > 100
    assert ag.band(fault) == ("investigate", "precision")
    assert ag.band(fault, limit=1e9)[0] == "excellent"


def test_float64_narrowed_and_cast_back_is_precision():
    narrowed = {"y": EXACT.astype(np.float32).astype(np.float64)}
    assert ag.band(ag.compare(FP64, narrowed, FP64)) == ("investigate", "precision")
    assert ag.band(ag.compare(FP64, off(1e-14, dtype=np.float64), FP64)) == ("excellent", "")
    assert ag.compare(FP64, OWN, FP64).kind == "dtype"


def test_float16_has_its_own_limit():
    own = {"y": EXACT.astype(np.float16)}
    assert ag.band(ag.compare(own, off(1e-3, dtype=np.float16), FP64))[0] == "excellent"
    assert ag.band(ag.compare(own, off(2e-2, dtype=np.float16), FP64)) == (
        "investigate",
        "precision",
    )


def test_a_few_elements_that_are_far_off_are_no_rounding_in_16_bits():
    """The error over all of them is 1e-6, and five times torch's own: both of an honest route."""
    exact = np.random.default_rng(3).standard_normal((96, 80))
    own = exact.astype(np.float16)
    honest = (exact * (1 + 2.0**-11)).astype(np.float16)
    torn = honest.copy()
    torn[7, :3] += np.float16(0.05)
    fine, wrong = (ag.compare({"y": own}, {"y": y}, {"y": exact}) for y in (honest, torn))
    assert ag.band(fine) == ("excellent", "") and fine.worst_vs_fp64 < 3
    assert wrong.nmse < ag.EXCELLENT and wrong.error_vs_fp64 < 10 < wrong.worst_vs_fp64
    assert ag.band(wrong) == ("investigate", "unexplained")
    assert "one element" in wrong.message and "one element" not in fine.message
    # A torch that computes the element no better has nothing to say of the route's.
    as_bad = own.copy()
    as_bad[7, 3] += np.float16(0.05)
    assert ag.band(ag.compare({"y": as_bad}, {"y": torn}, {"y": exact}))[1] != "unexplained"


def test_an_error_that_torch_has_as_well_is_the_models_and_no_better_than_acceptable():
    large = {"y": (1e8 * EXACT).astype(np.float32)}
    beside = {"y": np.nextafter(large["y"], np.float32(np.inf))}
    found = ag.compare(large, beside, {"y": 1e8 * EXACT})
    assert found.mse > 1 and found.nmse < 1e-12
    assert ag.band(found) == ("acceptable", "")
    judged = ag.judge([ag.ProbeResult("fresh", found)])
    assert judged.message.endswith("and torch's own answer is no nearer to float64")
    # A route that is nearer than torch, however far off torch is.
    assert ag.band(ag.compare(off(0.1), OWN, FP64)) == ("acceptable", "")
    # Of torch's own order, and small; of its order, and not small.
    close = ag.compare(off(0.004), off(0.03), FP64)
    assert 7 < close.error_vs_fp64 < 8 and ag.band(close) == ("acceptable", "")
    wide = ag.compare(off(0.02), off(0.15), FP64)
    assert 7 < wide.error_vs_fp64 < 8 and ag.band(wide) == ("investigate", "unexplained")


def test_in_16_bits_only_a_route_that_is_nearer_than_torch_is_excused():
    off_by = {far: off(far, dtype=np.float16) for far in (0.1, 0.15)}
    assert ag.band(ag.compare(off_by[0.15], off_by[0.1], FP64)) == ("acceptable", "")
    assert ag.band(ag.compare(off_by[0.1], off_by[0.15], FP64))[0] == "investigate"


@pytest.mark.parametrize("own, got, verdict", [
    ((), (3,), "investigate"),
    ((3,), (), "acceptable"),        # where torch rounded to the other side
    ((3,), (4,), "acceptable"),
    ((3,), (3, 4), "investigate"),
    ((3,), (3,), "excellent"),       # alike
])  # fmt: skip
def test_integers_are_right_where_they_are_as_often_as_torchs(own, got, verdict):
    exact = np.arange(10)

    def changed(places):
        return {"y": np.where(np.isin(exact, places), exact - 1, exact)}

    assert ag.band(ag.compare(changed(own), changed(got), {"y": exact}))[0] == verdict
    assert ag.band(ag.compare(changed(own), changed(got)))[0] in ("investigate", "excellent")


def test_a_float32_route_that_went_through_float16_is_told():
    narrowed = {"y": EXACT.astype(np.float16).astype(np.float32)}
    assert ag.band(ag.compare(OWN, narrowed, FP64)) == ("investigate", "precision")


def test_an_output_that_cancels_is_held_to_its_usual_size():
    # Layer norm of a constant: nought in torch, 1e-7 of its usual size elsewhere.
    nought = {"y": np.zeros((2, 50), np.float32)}
    route = {"y": np.full((2, 50), 1e-7, np.float32)}
    usual = rounding.scales({"zeros": nought, "fresh": OWN})
    assert ag.band(ag.compare(nought, route, nought)) == ("investigate", "precision")
    assert ag.band(ag.compare(nought, route, nought, scales=usual)) == ("excellent", "")


def test_a_loud_probe_by_hand_excuses_nothing_of_the_others():
    loud = {"y": 100 * OWN["y"]}
    assert rounding.scales({"example": OWN, "edges": loud}) == rounding.scales({"example": OWN})
    assert rounding.scales({"edges": loud}) == {}


def test_integers_booleans_and_complex():
    ints = ag.compare({"y": np.array([3, 4])}, {"y": np.array([3, 6])}, {"y": np.array([3, 4])})
    assert ints.mse == 2 and ints.error_vs_fp64 is None
    flags = ag.compare({"y": np.array([True, False])}, {"y": np.array([True, True])})
    assert flags.mse == 0.5 and ag.band(flags)[0] == "investigate"
    waves = (EXACT + 1j * EXACT[::-1]).astype(np.complex64)
    turned = ag.compare({"y": waves}, {"y": waves.conj()}, {"y": waves.astype(complex)})
    assert turned.mse == pytest.approx(2 * np.mean(EXACT**2), rel=1e-5)
    assert ag.band(ag.compare({"y": waves}, {"y": waves}, {"y": waves}))[0] == "excellent"


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
def test_one_wrong_integer_of_many_is_wrong(dtype):
    """A segmentation's classes: 1 in 131,072 places is a mean squared error of 7.6e-6."""
    classes = np.random.default_rng(4).integers(0, 20, (2, 256, 256)).astype(dtype)
    moved = classes.copy()
    moved[1, 7, 9] += 1
    found = ag.compare({"y": classes}, {"y": moved})
    assert 0 < found.mse < ag.EXCELLENT and ag.band(found) == ("investigate", "unexplained")
    assert found.match_fraction == 1 - 1 / classes.size and found.max_abs_err == 1
    assert ag.band(ag.compare({"y": classes}, {"y": classes})) == ("excellent", "")


def test_integers_are_told_apart_where_float64_makes_them_one():
    ids = np.array([2**60, -(2**63), 2**63 - 1, 7])
    assert np.float64(2**60) == np.float64(2**60 + 100)
    found = ag.compare({"y": ids}, {"y": ids + np.array([100, 0, 0, 0])})
    assert found.mse == 2500 and found.max_abs_err == 100 and found.match_fraction == 0.75
    assert ag.band(found)[0] == "investigate"
    repeat = ag.compare_repeat({"y": ids}, {"y": ids - np.array([0, 0, 1, 0])})
    assert repeat.kind == "unstable-across-runs" and repeat.max_abs_err == 1
    # The widest difference there is fits in no signed integer; a lone value is no array.
    ends = ag.compare({"y": ids[1:3]}, {"y": ids[2:0:-1]})
    assert ends.max_abs_err == 2.0**64
    assert ag.compare({"y": np.int64(-3)}, {"y": np.int64(2)}).max_abs_err == 5


def test_floats_without_a_float64_answer_are_acceptable_at_most_and_say_so():
    """The bands alone would call a thousand times torch's own rounding excellent."""
    small = off(1e-4)
    with_it = ag.judge([ag.ask("example", OWN, [small], FP64)])
    assert (with_it.verdict, with_it.kind) == ("investigate", "precision")
    without = ag.judge([ag.ask("example", OWN, [small])])
    assert (without.verdict, without.kind) == ("acceptable", "")
    assert "no answer in float64" in without.message and "'example'" in without.message
    # One probe without it decides for all, and one output for all of its probe.
    honest = ag.ask("fresh", OWN, [off(3e-7)], FP64)
    mixed = ag.judge([honest, ag.ask("example", OWN, [OWN])])
    assert mixed.verdict == "acceptable" and mixed.worst_probe == "example"
    two = {"a": OWN["y"], "b": OWN["y"]}
    assert ag.judge([ag.ask("example", two, [two], {"a": EXACT})]).verdict == "acceptable"
    assert ag.judge([honest]).verdict == "excellent" and ag.judge([honest]).message == ""
    wrong = ag.judge([ag.ask("example", OWN, [off(0.5)])])
    assert (wrong.verdict, wrong.kind) == ("investigate", "unexplained")


def test_what_has_no_rounding_needs_no_float64():
    counts = {"y": np.arange(4)}
    empty = {"y": np.zeros((0, 4), np.float32)}
    for outputs in (counts, empty):
        judged = ag.judge([ag.ask("example", outputs, [outputs])])
        assert (judged.verdict, judged.message) == ("excellent", "")


def test_bfloat16_where_ml_dtypes_is_there():
    bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    own = {"y": EXACT.astype(bfloat16)}
    assert ag.band(ag.compare(own, own, FP64)) == ("excellent", "")
    result = ag.compare(own, {"y": (EXACT * 1.002).astype(bfloat16)}, FP64)
    assert result.dtype == "bfloat16" and result.error_vs_fp64 < 10


def test_empty_tensors_agree_and_measure_nothing():
    empty = {"y": np.zeros((0, 4), np.float32)}
    result = ag.compare(empty, empty, empty)
    assert result.mse is None and result.cosine is None and ag.band(result) == ("excellent", "")
    assert ag.compare(empty, {"y": np.zeros((0, 5), np.float32)}).kind == "shape"


def test_no_outputs_prove_nothing():
    with pytest.raises(ValueError):
        ag.compare({}, {})
    with pytest.raises(ValueError):
        ag.judge([])
    with pytest.raises(ValueError):
        ag.ask("example", OWN, [])


def test_the_worst_output_decides_whatever_its_place():
    for names in (("a", "b"), ("b", "a")):
        wanted = {name: OWN["y"] for name in names}
        result = ag.compare(wanted, {"a": OWN["y"], "b": OWN["y"] + np.float32(1)})
        assert result.output == "b" and "'b'" in result.message


def test_top1_is_of_the_first_output_only():
    wanted = {"logits": OWN["y"], "other": OWN["y"]}
    got = {"logits": OWN["y"] * np.float32(1.001), "other": OWN["y"]}
    assert ag.compare(wanted, got, classifier=True).top1_agreement == 1
    flipped = {"logits": -OWN["y"], "other": OWN["y"]}
    assert ag.compare(wanted, flipped, classifier=True).top1_agreement == 0


def test_judge_names_the_worst_probe():
    fine, bad = ag.ask("example", OWN, [OWN], FP64), ag.ask("fresh", OWN, [off(0.5)], FP64)
    shape = ag.ask("zeros", OWN, [{"y": OWN["y"].T}], FP64)
    hole = OWN["y"].copy()
    hole[0, 0] = np.nan
    nan = ag.ask("negated", OWN, [{"y": hole}], FP64)
    for probes, worst in (
        ([fine, bad], "fresh"),
        ([bad, fine, nan], "negated"),
        ([nan, shape, bad], "zeros"),
    ):
        judgement = ag.judge(probes)
        assert judgement.worst_probe == worst and worst in judgement.message
        assert judgement.verdict == "investigate" and judgement.kind in KINDS
    assert ag.judge([fine]).verdict == "excellent" and ag.judge([fine]).kind == ""
    assert ag.judge([fine]).verdict in VERDICTS


def test_a_rounding_error_that_the_model_magnifies_is_its_own():
    """InstanceNorm of zeros behind a bias: torch's sums cancel, a route's leave their last bits."""
    usual, exact = {"y": 1.0}, {"y": np.zeros((8, 8))}
    mine, noise = np.random.RandomState(3).standard_normal((2, 8, 8))
    flat = {"y": np.float32(1e-5 * mine)}

    def judged(error):
        got = {"y": np.float32(error * noise)}
        return ag.judge([ag.ask("zeros", flat, [got], exact, scales=usual)])

    assert judged(5e-4).verdict == "acceptable" and "magnifies" in judged(5e-4).message
    assert judged(5e-3).verdict == "investigate"


def test_a_wrong_second_run_is_unstable_and_threads_are_not():
    wrong = ag.judge([ag.ask("example", OWN, [OWN, off(0.5)], FP64)])
    assert wrong.kind == "unstable-across-runs" and "second run" in wrong.message
    assert wrong.agreement.mse > 0.1
    hole = OWN["y"].copy()
    hole[0, 0] = np.nan
    assert ag.compare_repeat(OWN, {"y": hole}).kind == "unstable-across-runs"
    assert ag.compare_repeat({"y": hole}, {"y": hole}).kind == ""
    assert ag.compare_repeat(OWN, {}).kind == "unstable-across-runs"
    assert ag.compare_repeat(OWN, off(5e-7)).kind == ""
    assert ag.compare_repeat({"y": np.array([1, 2])}, {"y": np.array([1, 3])}).kind
    # Both runs alike and wrong: a fault, and a stable one.
    assert ag.judge([ag.ask("example", OWN, [off(0.5), off(0.5)])]).kind == "unexplained"


def test_every_kind_used_is_in_the_vocabulary():
    assert set(ag.STRUCTURAL) <= set(KINDS)
    assert all(
        field.default in (None, "", False) for field in dataclasses.fields(ag.Agreement)
    )


def test_of_several_outputs_in_tf32_the_larger_error_decides_and_not_its_rounding():
    """What TF32 rounds off is thousands of float32's own errors, and honest; beside it an output
    that is only acceptable must not be hidden."""
    exact = {"honest": np.linspace(1, 2, 100), "worse": np.linspace(1, 2, 100)}
    own = {path: array.astype(np.float32) for path, array in exact.items()}
    got = {**own, "honest": (own["honest"] * (1 + 2e-4)).astype(np.float32)}
    got["worse"] = (own["worse"] + np.float32(8e-3)).astype(np.float32)
    del exact["worse"]  # without it there is no ratio, only an error
    limit = rounding.limit_of("tf32")
    found = ag.compare(own, got, exact, limit=limit)
    assert found.output == "worse" and ag.band(found, limit)[0] == "acceptable"
    assert ag.compare(own, got, exact).output == "honest"


def test_in_16_bits_what_is_named_worst_is_what_the_error_that_decides_is_of():
    """Beside large values, rounded as values of 16 bits are, an output that is further off by its
    own size: the mse of the first is beyond any band and decides nothing."""
    noise = np.random.default_rng(3).standard_normal(EXACT.shape)
    exact = {"large": 100 * EXACT, "small": EXACT}
    moved = {"large": 100 * EXACT + 0.05 * noise, "small": EXACT + 2e-3 * noise}

    def worst(dtype):
        own, got = ({path: each[path].astype(dtype) for path in each} for each in (exact, moved))
        of_outputs = ag.compare(own, got, exact)
        asked = [ag.ask(path, {path: own[path]}, [{path: got[path]}], exact) for path in own]
        of_probes = ag.judge(asked)
        assert of_probes.worst_probe == of_outputs.output
        assert of_probes.verdict == ag.band(of_outputs)[0]
        return of_outputs

    found = worst(np.float16)
    assert found.output == "small" and ag.band(found)[0] == "excellent"
    assert ag.deciding_error(found) == found.nmse
    assert worst(np.float32).output == "large"

"""Kinds are given on evidence: each planted fault is named, and honest or odd ones are not."""

import dataclasses
import types

import numpy as np
import pytest

from switchyard.vocabulary import KINDS
from switchyard.worker import agreement as ag
from switchyard.worker import building, capture, diagnosis, rounding
from switchyard.worker import evidence as ev

NAMES = ("example", "fresh", "negated", "zeros")


def images(seed, shape=(2, 6, 8, 10)):
    return np.random.default_rng(seed).standard_normal(shape)


def cell(route, reference=None, names=NAMES, shape=(2, 6, 8, 10), dtype=np.float32):
    """Probes whose torch outputs are random images and whose route is ``route`` of them."""
    reference = reference or (lambda name, x: {"y": x})
    probes = []
    for seed, name in enumerate(names):
        exact = reference(name, images(seed, shape))
        own = {path: array.astype(dtype) for path, array in exact.items()}
        got = {path: np.asarray(a).astype(dtype) for path, a in route(name, exact).items()}
        probes.append(ev.ProbeOutputs(name, own, got, exact))
    return probes


def found(probes, inside=()):
    results = [ag.ask(p.probe, p.reference, [p.got], p.reference64) for p in probes]
    evidence = diagnosis.diagnose(ag.judge(results), probes, inside)
    assert evidence.kind in KINDS or evidence.kind == ""
    return evidence


def each(change):
    return lambda name, exact: {path: change(array) for path, array in exact.items()}


NOISE = np.random.default_rng(9).standard_normal((2, 6, 8, 10))
SCALE = np.linspace(0.5, 1.5, 6)[:, None, None]
FAULTS = {
    "all zero": (each(np.zeros_like), "constant-output"),
    "the same for every probe": (lambda name, exact: {"y": images(77)}, "constant-output"),
    "NHWC read as NCHW": (
        each(lambda x: x.transpose(0, 2, 3, 1).reshape(x.shape)),
        "layout-permuted",
    ),
    "affine by channel": (each(lambda x: x * SCALE + 0.3 * SCALE**2), "channel-affine"),
    "eps, as small as it is": (each(lambda x: x * (1 + 5e-4 * SCALE)), "channel-affine"),
    "moved by a pixel": (each(lambda x: np.roll(x, 1, axis=3)), "padding-shift"),
    "moved diagonally": (each(lambda x: np.roll(x, (1, -1), axis=(2, 3))), "padding-shift"),
    "uniform noise": (each(lambda x: x + 0.1 * NOISE), "unexplained"),
    "small noise": (each(lambda x: x + 1e-4 * NOISE), "precision"),
    "one scale for all": (each(lambda x: 1.5 * x), "unexplained"),
    "a curve": (each(lambda x: np.tanh(x)), "unexplained"),
    "reversed channels": (each(lambda x: x[:, ::-1]), "unexplained"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted(fault):
    route, kind = FAULTS[fault]
    evidence = found(cell(route))
    assert evidence.kind == kind, evidence.why
    assert evidence.why


def test_honest_rounding_is_nothing():
    assert not found(cell(each(lambda x: x * (1 + 1e-7 * NOISE))))


def test_an_offset_below_what_float32_rounds_is_no_fault_of_a_channel():
    shift = (SCALE**2)[:, 0, 0]

    def moved(by):
        reference = images(1).astype(np.float64)
        return ev.affine_by_channel(reference, reference + by * shift[:, None, None], 1)

    assert moved(1e-9) is None and moved(1e-5)


def test_only_the_rim_wrong_is_padding():
    def rim(x):
        x = x.copy()
        x[:, :, 0], x[:, :, -1] = 0, 0
        return x

    assert found(cell(each(rim))).kind == "padding-shift"


def test_a_classifier_output_has_no_rim():
    def ends(x):
        x = x.copy()
        x[:, 0], x[:, -1] = 0, 0
        return x

    assert found(cell(each(ends), shape=(4, 6))).kind == "unexplained"


def test_flatten_in_the_other_order():
    turn = each(lambda x: x.reshape(2, 6, 4).transpose(0, 2, 1).reshape(2, 24))
    evidence = found(cell(turn, shape=(2, 24)))
    assert evidence.kind == "layout-permuted" and "(2, 6, 4)" in evidence.why


def test_swapped_outputs():
    both = lambda name, x: {"a": x, "b": np.tanh(x), "c": x**2}  # noqa: E731
    swap = lambda name, e: {"a": e["b"], "b": e["a"], "c": e["c"]}  # noqa: E731
    evidence = found(cell(swap, both))
    assert evidence.kind == "output-structure" and "'a' holds torch's 'b'" in evidence.why
    turn = lambda name, e: {"a": e["b"], "b": e["c"], "c": e["a"]}  # noqa: E731
    assert found(cell(turn, both)).kind == "output-structure"
    wide = lambda name, x: {"a": x, "b": x[:, :, :4]}  # noqa: E731
    assert found(cell(lambda n, e: {"a": e["b"], "b": e["a"]}, wide)).kind == "output-structure"
    # One output holding another's values, twice, is no swap.
    assert found(cell(lambda n, e: {**e, "a": e["b"]}, both)).kind == "unexplained"


def test_facts_of_structure_stay_and_say_what_else_is_seen():
    turned = found(cell(each(lambda x: x.transpose(0, 2, 3, 1))))
    assert turned.kind == "shape" and "axes (0, 2, 3, 1)" in turned.why
    assert found(cell(lambda name, e: {})).kind == "output-structure"
    hole = lambda x: np.where(x == x.max(), np.nan, x)  # noqa: E731
    assert found(cell(each(hole))).kind == "non-finite"


def branch(name, exact):
    return {"y": exact["y"] if name not in ("other", "negated") else 3 * exact["y"] ** 2}


def test_a_baked_branch_is_told_by_a_probe_made_for_it():
    evidence = found(cell(branch, names=NAMES + ("other",)))
    assert evidence.kind == "constant-baked" and "'other'" in evidence.why
    fresh = lambda n, e: {"y": e["y"] if n == "example" else 3 * e["y"] ** 2}  # noqa: E731
    assert found(cell(fresh)).kind == "constant-baked"


def test_wrong_only_below_zero_is_no_proof_of_a_branch():
    assert found(cell(branch)).kind == "unexplained"


def test_an_example_that_is_not_right_to_rounding_proves_no_branch():
    near = lambda n, e: {"y": branch(n, e)["y"] + 1e-3 * NOISE}  # noqa: E731
    assert found(cell(near, names=NAMES + ("other",))).kind == "unexplained"


def test_an_error_of_degree_is_no_branch():
    def ranged(name, exact):
        return {"y": exact["y"] + {"other": 0.05, "fresh": 0.2}.get(name, 0) * NOISE}

    assert found(cell(ranged, names=NAMES + ("other",))).kind == "unexplained"


def test_baked_count_of_integers():
    def counted(name, x):
        return {"y": np.full((2, 3), 7 if name == "other" else 1)}

    baked = lambda name, exact: {"y": np.ones((2, 3))}  # noqa: E731
    probes = cell(baked, counted, names=NAMES + ("other",), dtype=np.int64)
    assert found(probes).kind == "constant-baked"


def test_one_integer_of_many_is_no_baked_branch():
    """A near tie of two classes, on a probe drawn as the example was."""

    def classes(name, x):
        return {"y": (10 * x).round()}

    def tied(name, exact):
        got = exact["y"].copy()
        got[0, 0, 0, 0] += name == "fresh"
        return {"y": got}

    assert found(cell(tied, classes, dtype=np.int64)).kind == "unexplained"


def test_a_small_error_without_float64_is_not_gross():
    near = lambda n, e: {"y": e["y"] + (0.05 * NOISE if n == "fresh" else 0)}  # noqa: E731
    probes = [dataclasses.replace(probe, reference64=None) for probe in cell(near)]
    assert found(probes).kind == "unexplained"


def test_integers_are_the_same_where_they_are_equal_alone():
    assert ev.same_within("int64") == ev.same_within("bool") == 0 < ev.same_within("float32")


def test_a_line_through_two_clusters_is_no_fault_of_a_channel():
    """On three probes the route is right, values hardly move within each channel, and only where
    they stand elsewhere (zeros) is it wrong: the two places are two points of any line."""
    usual, moved = np.array([0.143, 0.142, 0.125]), np.array([0.1015, 0.1014, 0.1002])
    drawn = np.random.default_rng(0)
    probes = []
    for name in NAMES[:3]:
        own = {"y": (usual + 1e-3 * drawn.standard_normal((2, 6, 3))).astype(np.float32)}
        probes.append(ev.ProbeOutputs(name, own, own))
    own, got = (
        {"y": np.broadcast_to(moved + off, (2, 6, 3)).astype(np.float32)}
        for off in (0.0, np.array([5e-3, 3.6e-3, 1.6e-3]))
    )
    probes.append(ev.ProbeOutputs("zeros", own, got))
    assert ev.from_outputs(probes).kind == ""
    # Wrong wherever it shows, it is one.
    assert found(cell(each(lambda x: x * SCALE + 0.3 * SCALE**2))).kind == "channel-affine"


def test_narrow_rounding_that_exceeds_a_band_is_precision():
    exact = images(1)
    noise = np.random.default_rng(2).standard_normal((2, *exact.shape))
    own, got = ({"y": (exact + n * far).astype(np.float32)} for n, far in zip(noise, (0.05, 0.1)))
    evidence = found([ev.ProbeOutputs("example", own, got, {"y": exact})])
    assert evidence.kind == "precision" and "no further from float64" in evidence.why


def test_rounding_of_an_output_that_does_not_vary_is_precision_in_16_bits_too():
    """Torch's own sum is 2 off, the route's 12."""
    own, got = ({"y": np.full((2, 3), value, np.float16)} for value in (302, 312))
    evidence = found([ev.ProbeOutputs("example", own, got, {"y": np.full((2, 3), 300.0)})])
    assert evidence.kind == "precision" and "no further from float64" in evidence.why


def test_the_inside_is_asked_last_and_only_without_an_answer():
    asked = []

    def inside(kind):
        def question():
            asked.append(kind)
            return (
                ev.Evidence(kind, "seen inside") if kind else ev.Evidence("", "looked at 3 layers")
            )

        return question

    noisy = cell(each(lambda x: x + 0.1 * NOISE))
    assert (
        found(noisy, [inside(""), inside("channel-affine"), inside("padding-shift")]).kind
        == "channel-affine"
    )
    assert asked == ["", "channel-affine"]
    assert "looked at 3 layers" in found(noisy, [inside("")]).why
    asked.clear()
    assert found(cell(each(np.zeros_like)), [inside("channel-affine")]).kind == "constant-output"
    assert asked == []
    small = cell(each(lambda x: x + 1e-4 * NOISE))
    assert found(small, [lambda: None]).kind == "precision"


def test_noise_is_named_nothing_in_any_shape():
    for seed in range(30):
        rng = np.random.default_rng(seed)
        shape = [(2, 10), (3, 4), (2, 3, 5), (2, 4, 4, 4), (1, 2, 6, 6), (4,)][seed % 6]
        size = 10.0 ** rng.uniform(-4, 0)
        noisy = lambda n, e: {"y": e["y"] + size * rng.standard_normal(e["y"].shape)}  # noqa: E731
        assert found(cell(noisy, shape=shape)).kind in ("unexplained", "precision", "")


def test_what_explains_one_of_two_wrong_outputs_does_not_explain_the_cell():
    def both(name, exact):
        del name
        turned = exact["y"].swapaxes(0, 1).reshape(exact["y"].shape)
        return {"y": turned, "z": exact["z"] + 3 * np.sin(7 * exact["z"])}

    def reference(name, x):
        del name
        return {"y": x, "z": 2 * x}

    probes = [
        ev.ProbeOutputs(name, reference(name, x), both(name, reference(name, x)))
        for name, x in (
            (name, np.random.RandomState(seed).standard_normal((4, 6)).astype(np.float32))
            for seed, name in enumerate(("example", "fresh", "negated"))
        )
    ]
    alone = [ev.ProbeOutputs(p.probe, {"y": p.reference["y"]}, {"y": p.got["y"]}) for p in probes]
    assert ev.from_outputs(alone).kind == "layout-permuted"
    assert not ev.from_outputs(probes)


def of_the_cell(probes):
    """What the worker says of a cell with these probes, judged as it judges them."""
    by_name = {probe.probe: probe for probe in probes}
    usual = rounding.scales({probe.probe: probe.reference for probe in probes})
    results = [
        ag.ask(p.probe, p.reference, [p.got], p.reference64, scales=usual) for p in probes
    ]
    reference = types.SimpleNamespace(
        outputs=lambda name: by_name[name].reference,
        outputs64=lambda name: by_name[name].reference64,
    )
    answers = {name: probe.got for name, probe in by_name.items()}
    return diagnosis.diagnose_cell(ag.judge(results), reference, answers, {}, None)


def test_an_honest_output_that_vanishes_on_a_probe_hides_no_fault_of_another():
    def both(name, x):
        return {"y": x, "z": 0 * x if name == "zeros" else x**2}

    def route(name, exact):
        turned = exact["y"].transpose(0, 2, 3, 1).reshape(exact["y"].shape)
        return {"y": turned, "z": exact["z"] + 1e-7 * NOISE}

    found = of_the_cell(cell(route, both))
    assert found.kind == "layout-permuted", found.why


def test_a_probe_on_which_an_exchange_of_axes_changes_nothing_hides_it_on_no_other():
    def turned(name, exact):
        return {"y": exact["y"].transpose(0, 2, 3, 1).reshape(exact["y"].shape)}

    def biased(name, x):
        by_sample = np.arange(len(x), dtype=np.float64).reshape(-1, 1, 1, 1)
        return {"y": np.broadcast_to(by_sample, x.shape) if name == "zeros" else x}

    probes = cell(turned, biased)
    assert all(probe.reference["y"].std() > 0 for probe in probes)
    assert ev.layout_permuted(probes).kind == "layout-permuted"


def test_a_probe_that_is_flat_hides_a_move_by_a_pixel_on_no_other():
    def moved(name, exact):
        return {"y": np.roll(exact["y"], 1, axis=3)}

    def biased(name, x):
        by_channel = np.arange(x.shape[1], dtype=np.float64).reshape(1, -1, 1, 1)
        return {"y": np.broadcast_to(by_channel, x.shape) if name == "zeros" else x}

    assert found(cell(moved, biased)).kind == "padding-shift"


def test_an_honest_output_that_vanishes_on_a_probe_is_no_baked_branch():
    def vanishing(name, x):
        return {"y": 0 * x if name == "other" else x}

    def route(name, exact):
        return {"y": 3 * exact["y"] ** 2 if name == "negated" else exact["y"] + 1e-7 * NOISE}

    found = of_the_cell(cell(route, vanishing, names=NAMES + ("other",)))
    assert found.kind == "unexplained", found.why


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_norms_of_a_twin_are_held_against_the_model_in_the_cells_own_precision(
    precision, monkeypatch
):
    built = []

    def build(file, name, precision=""):
        built.append((file, name, precision))
        return types.SimpleNamespace(module=None)

    monkeypatch.setattr(building, "build", build)
    monkeypatch.setattr(capture, "torch_norms", lambda module: {})
    probes = cell(each(lambda x: x + 0.1 * NOISE))
    results = [ag.ask(p.probe, p.reference, [p.got], p.reference64) for p in probes]
    twin = types.SimpleNamespace(manifest=types.SimpleNamespace(files={"keras": "model.keras"}))
    reference = types.SimpleNamespace(outputs=lambda name: {}, outputs64=lambda name: None)
    job = {"file": "zoo.py", "model": "net", "precision": precision}
    diagnosis.diagnose_cell(ag.judge(results), reference, {}, job, twin)
    assert built[0] == ("zoo.py", "net", precision)

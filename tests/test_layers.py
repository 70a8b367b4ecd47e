"""The first differing layer and its fault, on recorded arrays; no framework needed."""

import numpy as np
import pytest

from switchyard.worker import capture, trace_replay
from switchyard.worker import layers as ly

RNG = np.random.default_rng(4)
X = RNG.standard_normal((2, 3, 6, 5))
MIX = RNG.standard_normal((4, 3))
NORM = dict(
    mean=RNG.uniform(0.1, 1, 4), variance=RNG.uniform(0.5, 2, 4),
    gamma=RNG.uniform(0.5, 1.5, 4), beta=RNG.standard_normal(4), epsilon=1e-5,
)  # fmt: skip
WEIGHT = RNG.standard_normal((120, 7))


def conv(x):
    return np.einsum("oc,nchw->nohw", MIX, x)


def norm(x, mean, variance, gamma, beta, epsilon):
    wide = lambda v: v[:, None, None]  # noqa: E731
    return wide(gamma) * (x - wide(mean)) / np.sqrt(wide(variance) + epsilon) + wide(beta)


def linear(x):
    return x @ WEIGHT


C, N = conv(X), norm(conv(X), **NORM)
A = np.maximum(N, 0)
F = A.reshape(2, -1)
RECORDS = [
    ly.Record("conv", "Conv2d", X, C),
    ly.Record("bn", "BatchNorm2d", C, N, lambda: ly.batch_norm_variants(C, **NORM)),
    ly.Record("relu", "ReLU", N, A),
    ly.Record("head", "Linear", F, linear(F), replay=linear),
]


def graph(bn=N, flat=None, keep_conv=False, turn=None):
    """The tensors of a graph with this BatchNorm, folded into the convolution or not."""
    act = np.maximum(bn, 0)
    rows = act.reshape(2, -1) if flat is None else flat(act)
    tensors = {"x": X, "bn": bn, "act": act, "rows": rows, "y": linear(rows)}
    if keep_conv:
        tensors["conv"] = C
    if turn:
        tensors = {n: t.transpose(turn) if t.ndim == 4 else t for n, t in tensors.items()}
    return [(name, t.astype(np.float32)) for name, t in tensors.items()]


@pytest.mark.parametrize("keep_conv", [True, False])
@pytest.mark.parametrize("turn", [None, (0, 2, 3, 1)])
@pytest.mark.parametrize(
    "change, said",
    [
        ({"mean": NORM["variance"], "variance": NORM["mean"]}, "mean and variance swapped"),
        ({"mean": np.zeros(4), "variance": np.ones(4)}, "running statistics forgotten"),
        ({"epsilon": 1e-3}, "epsilon 0.001 for 1e-05"),
        ({"mean": np.zeros(4)}, "running mean forgotten"),
        ({"gamma": NORM["gamma"] * [1, 2, 3, 4]}, "a*x+b over 4 channels"),
    ],
)
def test_batch_norm_faults(change, said, keep_conv, turn):
    found = ly.first_difference(
        RECORDS, graph(norm(C, **{**NORM, **change}), None, keep_conv, turn)
    )
    assert found.kind == "channel-affine" and said in found.why and "'bn'" in found.why


def test_an_honest_graph_folded_or_not_blames_nobody():
    for keep_conv in (True, False):
        for turn in (None, (0, 2, 3, 1)):
            found = ly.first_difference(RECORDS, graph(keep_conv=keep_conv, turn=turn))
            assert not found and "none of 4 layers" in found.why


def test_flatten_in_the_other_order():
    found = ly.first_difference(
        RECORDS, graph(flat=lambda a: a.transpose(0, 2, 3, 1).reshape(2, -1))
    )
    assert found.kind == "layout-permuted" and "'head'" in found.why


def test_weights_turned_with_the_flatten_are_honest():
    rows = A.transpose(0, 2, 3, 1).reshape(2, -1)
    tensors = [("x", X), ("bn", N), ("act", A), ("rows", rows), ("y", linear(F))]
    assert not ly.first_difference(RECORDS, tensors)


def test_a_reordered_tensor_that_the_layer_does_not_use_proves_nothing():
    rows = A.transpose(0, 2, 3, 1).reshape(2, -1)
    tensors = [("x", X), ("bn", N), ("act", A), ("rows", rows), ("y", linear(F) * 1.5)]
    found = ly.first_difference(RECORDS, tensors)
    assert not found and "'head'" in found.why


def test_a_fault_nobody_knows_names_the_layer_only():
    found = ly.first_difference(RECORDS, graph(N + 0.1 * RNG.standard_normal(N.shape)))
    assert found.kind == "" and "'conv'" in found.why


def test_a_variant_is_found_behind_a_folded_batch_norm():
    wrong = conv(np.roll(X, 1, axis=3))
    records = [
        ly.Record("conv", "Conv2d", X, C, lambda: iter([("padding-shift", "moved", wrong)])),
        ly.Record("bn", "BatchNorm2d", C, N, replay=lambda x: norm(x, **NORM)),
    ]
    found = ly.first_difference(records, [("x", X), ("bn", norm(wrong, **NORM))])
    assert found.kind == "padding-shift" and "'conv'" in found.why


def rounded(array, seed):
    """In float16, each element one rounding from what it is, up or down."""
    signs = np.random.default_rng(seed).choice([-1, 1], array.shape)
    return (array * (1 + signs * 2.0**-11)).astype(np.float16)


def in_float16(bn=N, flat=None):
    """The records of torch in float16, and the tensors of a graph that rounds otherwise."""
    halves = [
        ly.Record(
            each.name,
            each.layer,
            each.input.astype(np.float16),
            each.output.astype(np.float16),
            each.variants,
            each.replay,
        )
        for each in RECORDS
    ]
    halves[1].variants = lambda: ly.batch_norm_variants(C.astype(np.float16).astype(float), **NORM)
    tensors = graph(bn, flat, keep_conv=True)
    seen = {name: rounded(array, seed) for seed, (name, array) in enumerate(tensors)}
    seen["x"] = X.astype(np.float16)  # both were given the same
    return halves, list(seen.items())


def test_one_rounding_of_16_bits_more_or_less_is_no_difference():
    found = ly.first_difference(*in_float16())
    assert not found and "none of 4 layers" in found.why


def test_a_fault_is_found_in_16_bits_by_what_it_is():
    change = {"mean": NORM["variance"], "variance": NORM["mean"]}
    found = ly.first_difference(*in_float16(norm(C, **{**NORM, **change})))
    assert found.kind == "channel-affine"
    assert "'bn'" in found.why and "mean and variance swapped" in found.why
    found = ly.first_difference(*in_float16(flat=lambda a: a.transpose(0, 2, 3, 1).reshape(2, -1)))
    assert found.kind == "layout-permuted" and "'head'" in found.why


def test_a_node_that_differs_by_less_than_16_bits_round_is_not_at_fault(monkeypatch):
    """Of its epsilon; what is fake is how torch and the graph are asked."""
    other = {**NORM, "epsilon": 1e-3}
    monkeypatch.setattr(capture, "torch_norms", lambda module: {"bn": NORM})

    def said(dtype):
        record = ly.Record("bn", "BatchNorm2d", C.astype(dtype), N.astype(dtype))
        tensors = [("conv", C.astype(dtype)), ("bn", norm(C, **other).astype(dtype))]
        monkeypatch.setattr(capture, "_graph_tensors", lambda path, feeds: (tensors, [other]))
        monkeypatch.setattr(capture, "_torch_records", lambda module, inputs, deadline: [record])
        return capture.explain(None, {}, "", {})

    assert "epsilon 0.001" in said(np.float32).why and not said(np.float16)


def test_nodes_that_kept_their_initialisers():
    theirs = dict(NORM)
    assert ly.initialiser_fault(NORM, [theirs]) == ""
    swapped = {**NORM, "mean": NORM["variance"], "variance": NORM["mean"], "epsilon": 1e-3}
    said = ly.initialiser_fault(NORM, [swapped])
    assert "swapped" in said and "epsilon 0.001 for 1e-05" in said
    plain = {**NORM, "mean": np.zeros(4), "variance": np.ones(4)}
    assert ly.initialiser_fault(NORM, [plain]) == "running statistics forgotten"
    assert ly.initialiser_fault(NORM, [swapped, swapped]) == ""
    assert ly.initialiser_fault(NORM, []) == ""


def test_diagnosis_never_raises():
    assert capture.explain(None, {}, "nowhere.onnx", {}).kind == ""
    assert trace_replay.replay_trace(None, {}, {}, []).kind == ""

"""Tables of weights: a whole one fills every variable, and what does not fit is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

from models_zoo.twins import weights as w

RNG = np.random.default_rng(5)


def drawn(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


def variables(**shapes):
    """``conv__kernel=(3, 3)`` -> {"conv/kernel": Variable}"""
    return {name.replace("__", "/"): w.Variable(shape, "float32") for name, shape in shapes.items()}


STATE = {
    "conv.weight": drawn(4, 3, 5, 2),
    "conv.bias": drawn(4),
    "bn.weight": drawn(4),
    "bn.bias": drawn(4),
    "bn.running_mean": drawn(4),
    "bn.running_var": drawn(4),
    "bn.num_batches_tracked": np.array(7),
}
VARIABLES = variables(
    conv__kernel=(5, 2, 3, 4), conv__bias=(4,),
    norm__gamma=(4,), norm__beta=(4,), norm__moving_mean=(4,), norm__moving_variance=(4,),
)  # fmt: skip
TABLE = [w.conv2d("conv", "conv"), w.batch_norm("bn", "norm")]


def test_a_whole_table_fills_every_variable():
    values = w.port(TABLE, STATE, VARIABLES)
    assert set(values) == set(VARIABLES)
    assert values["conv/kernel"][1, 0, 2, 3] == STATE["conv.weight"][3, 2, 1, 0]
    for variable, entry in (("moving_mean", "running_mean"), ("moving_variance", "running_var"),
                            ("gamma", "weight"), ("beta", "bias")):  # fmt: skip
        assert np.array_equal(values[f"norm/{variable}"], STATE[f"bn.{entry}"])


def without(mapping, *names):
    return {name: value for name, value in mapping.items() if name not in names}


@pytest.mark.parametrize("state, held, table, said", [
    (without(STATE, "conv.weight"), VARIABLES, TABLE,
     "state_dict has no 'conv.weight', wanted by Keras variable 'conv/kernel'"),
    (without(STATE, "bn.running_var"), VARIABLES, TABLE, "no 'bn.running_var'"),
    (without(STATE, "conv.bias"), VARIABLES, TABLE, "no 'conv.bias'"),
    ({**STATE, "extra.weight": drawn(2)}, VARIABLES, TABLE, "'extra.weight' is read by no row"),
    (STATE, without(VARIABLES, "conv/bias"), TABLE, "no Keras variable 'conv/bias'"),
    (STATE, {**VARIABLES, **variables(head__bias=(2,))}, TABLE, "'head/bias' is filled by no row"),
    (STATE, VARIABLES, TABLE[:1], "'bn.num_batches_tracked' is read by no row"),
    (STATE, VARIABLES, TABLE[:1], "'norm/gamma' is filled by no row"),
    (STATE, VARIABLES, TABLE + [w.conv2d("conv", "conv")], "'conv/kernel' is filled twice"),
    ({**STATE, "conv.weight": drawn(4, 3, 2, 5)}, VARIABLES, TABLE, "makes (2, 5, 3, 4), not"),
    # Of one element or one axis too many: numpy would broadcast either without a word.
    ({**STATE, "bn.bias": drawn(1)}, VARIABLES, TABLE, "(1,) makes (1,), not (4,)"),
    ({**STATE, "bn.bias": drawn(4, 1)}, VARIABLES, TABLE, "(4, 1) makes (4, 1), not (4,)"),
    ({**STATE, "conv.weight": drawn(60, 2)}, VARIABLES, TABLE, "does not make (5, 2, 3, 4)"),
    ({**STATE, "conv.bias": drawn(4, dtype="float64")}, VARIABLES, TABLE,
     "dtype float64, not float32"),
    ({**STATE, "conv.bias": drawn(4).astype("float16")}, VARIABLES, TABLE,
     "dtype float16, not float32"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_by_name(state, held, table, said):
    with pytest.raises(w.UnmatchedWeights) as raised:
        w.port(table, state, held)
    assert raised.value.kind == "unmatched-weights"
    assert said in str(raised.value)


LSTM = {"weight_ih_l0": drawn(8, 3), "weight_hh_l0": drawn(8, 2), "bias_ih_l0": drawn(8)}
ATTENTION = {"in_proj_weight": drawn(72, 24), "in_proj_bias": drawn(72),
             "out_proj.weight": drawn(24, 24), "out_proj.bias": drawn(24)}  # fmt: skip


# Each has as many elements as it should (or broadcasts to it), so that a reshape would take it.
@pytest.mark.parametrize("row, state, writes, shape, needs", [
    (w.lstm("", "l"), {**LSTM, "bias_hh_l0": drawn(1)}, "l/lstm_cell/bias", (8,), "(8,)"),
    (w.depthwise_conv2d("d", "d"), {"d.weight": drawn(2, 3, 3, 3)}, "d/kernel", (3, 3, 6, 1),
     "(6, 1, 3, 3)"),
    (w.linear("f", "f", (2, 3, 4)), {"f.weight": drawn(5, 4, 6)}, "f/kernel", (24, 5), "(5, 24)"),
    # GPT-2 keeps it (in, out)
    (w.multi_head_attention("", "a"), {**ATTENTION, "in_proj_weight": drawn(24, 72)},
     "a/query/kernel", (24, 4, 6), "(24, 24)"),
    (w.multi_head_attention("", "a"), {**ATTENTION, "out_proj.weight": drawn(4, 144)},
     "a/attention_output/kernel", (4, 6, 24), "(24, 24)"),
])  # fmt: skip
def test_another_shape_of_the_same_size_is_not_reshaped(row, state, writes, shape, needs):
    with pytest.raises(w.UnmatchedWeights) as raised:
        w.port([row], state, {writes: w.Variable(shape, "float32")})
    (fault,) = [one for one in raised.value.faults if repr(writes) in one and "makes" not in one]
    assert f"does not make {shape} (that needs {needs})" in fault


def test_what_a_row_leaves_out_must_be_there():
    state = {"conv.weight": STATE["conv.weight"], "mask": drawn(2)}
    held, rows = variables(conv__kernel=(5, 2, 3, 4)), [w.conv2d("conv", "conv")]
    w.port([*rows, w.ignored("mask")], state, held)
    with pytest.raises(w.UnmatchedWeights, match="no 'msak', which a row leaves out"):
        w.port([*rows, w.ignored("mask", "msak")], state, held)


@pytest.mark.parametrize("row, torchs, order", [
    (w.conv1d("c", "c"), (5, 3, 2), (2, 1, 0)),
    (w.conv3d("c", "c"), (6, 5, 2, 3, 4), (2, 3, 4, 1, 0)),
])  # fmt: skip
def test_convolutions_of_one_and_three_dimensions_have_their_axes_turned(row, torchs, order):
    state = {"c.weight": drawn(*torchs)}
    turned = state["c.weight"].transpose(order)
    kernel = ported(row, state, c__kernel=turned.shape)["c/kernel"]
    assert np.array_equal(kernel, turned)


def test_every_fault_is_named_at_once():
    with pytest.raises(w.UnmatchedWeights) as raised:
        w.port(TABLE, without({**STATE, "extra": drawn(1)}, "bn.weight"), VARIABLES)
    assert len(raised.value.faults) == 2
    assert "'bn.weight'" in raised.value.faults[0] and "'extra'" in raised.value.faults[1]


def test_a_bias_that_neither_side_has_is_no_fault():
    state = {"conv.weight": STATE["conv.weight"]}
    held = variables(conv__kernel=(5, 2, 3, 4))
    assert set(w.port([w.conv2d("conv", "conv")], state, held)) == {"conv/kernel"}


def test_a_tied_weight_must_be_equal():
    state = {"a.weight": drawn(3, 2)}
    held, table = variables(a__embeddings=(3, 2)), [w.embedding("a", "a"), w.tied("b", "a.weight")]
    w.port(table, {**state, "b": state["a.weight"]}, held)
    with pytest.raises(w.UnmatchedWeights, match="one weight and differ"):
        w.port(table, {**state, "b": drawn(3, 2)}, held)


def ported(row, state, **shapes):
    return w.port([row], state, variables(**shapes))


def test_a_depthwise_kernel_keeps_the_filters_of_a_channel_together():
    weight = drawn(6, 1, 3, 2)  # three channels, two filters each
    kernel = ported(w.depthwise_conv2d("", "c"), {"weight": weight}, c__kernel=(3, 2, 3, 2))
    for channel in range(3):
        for each in range(2):
            assert np.array_equal(
                kernel["c/kernel"][:, :, channel, each], weight[2 * channel + each, 0]
            )


def test_a_dense_kernel_behind_a_flatten_answers_alike():
    image, weight = drawn(2, 4, 3, 5), drawn(7, 60)
    kernel = ported(
        w.linear("", "d", flattened=(4, 3, 5)), {"weight": weight}, d__kernel=(60, 7)
    )["d/kernel"]
    channels_last = image.transpose(0, 2, 3, 1).reshape(2, -1)
    assert np.allclose(channels_last @ kernel, image.reshape(2, -1) @ weight.T, atol=1e-5)


def test_the_gates_of_a_gru_change_places_and_its_biases_stay_apart():
    state = {
        "weight_ih_l0": np.repeat([0.0, 1.0, 2.0], 2)[:, None].astype("float32") + np.zeros((1, 3)),
        "weight_hh_l0": drawn(6, 2),
        "bias_ih_l0": np.repeat([0.0, 1.0, 2.0], 2).astype("float32"),
        "bias_hh_l0": np.repeat([5.0, 6.0, 7.0], 2).astype("float32"),
    }
    state["weight_ih_l0"] = state["weight_ih_l0"].astype("float32")
    values = ported(w.gru("", "g"), state, g__gru_cell__kernel=(3, 6),
                    g__gru_cell__recurrent_kernel=(2, 6), g__gru_cell__bias=(2, 6))  # fmt: skip
    assert values["g/gru_cell/kernel"][0].tolist() == [1, 1, 0, 0, 2, 2]
    assert values["g/gru_cell/bias"].tolist() == [[1, 1, 0, 0, 2, 2], [6, 6, 5, 5, 7, 7]]


def test_an_lstms_gates_stay_and_its_biases_add_up():
    state = {"weight_ih_l0": drawn(8, 3), "weight_hh_l0": drawn(8, 2), "bias_ih_l0": drawn(8),
             "bias_hh_l0": drawn(8)}  # fmt: skip
    values = ported(w.lstm("", "l"), state, l__lstm_cell__kernel=(3, 8),
                    l__lstm_cell__recurrent_kernel=(2, 8), l__lstm_cell__bias=(8,))  # fmt: skip
    assert np.array_equal(values["l/lstm_cell/kernel"], state["weight_ih_l0"].T)
    assert np.array_equal(values["l/lstm_cell/bias"], state["bias_ih_l0"] + state["bias_hh_l0"])


def test_the_heads_of_an_attention_are_cut_as_torch_cuts_them():
    heads, width, inside = 3, 2, 5
    stacked, bias, out = drawn(18, inside), drawn(18), drawn(inside, 6)
    state = {"in_proj_weight": stacked, "in_proj_bias": bias, "out_proj.weight": out,
             "out_proj.bias": drawn(inside)}  # fmt: skip
    shapes = {f"a__{part}__{field}": (inside,) * (field == "kernel") + (heads, width)
              for part in ("query", "key", "value") for field in ("kernel", "bias")}  # fmt: skip
    values = ported(w.multi_head_attention("", "a"), state, **shapes,
                    a__attention_output__kernel=(heads, width, inside),
                    a__attention_output__bias=(inside,))  # fmt: skip
    x = drawn(inside)
    for place, part in enumerate(("query", "key", "value")):
        wanted = (stacked[6 * place :][:6] @ x + bias[6 * place :][:6]).reshape(heads, width)
        got = np.einsum("d,dhw->hw", x, values[f"a/{part}/kernel"]) + values[f"a/{part}/bias"]
        assert np.allclose(got, wanted, atol=1e-5)
    mixed = drawn(heads, width)
    got = np.einsum("hw,hwd->d", mixed, values["a/attention_output/kernel"])
    assert np.allclose(got, out @ mixed.reshape(-1), atol=1e-5)

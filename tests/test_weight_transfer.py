"""The automatic mapper on graphs by hand: right, or refused; never silently wrong."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from models_zoo.twins import weights
from switchyard.hops.weight_flow import MIXED, Flow, merged_of, split_of
from switchyard.hops.weight_matching import (
    Ambiguous,
    Graph,
    NoCounterpart,
    Unit,
    match,
    turned,
)
from switchyard.hops.weight_transfer import rows_of


def conv(name, *shape, **more):
    return Unit(name, "conv2d", shape or ((4, 4, 3, 3), 1, False), **more)


def norm(name, width=4):
    return Unit(name, "batch_norm", (width, True, True))


def linear(name, outside=4, inside=4, **more):
    return Unit(name, "linear", (outside, inside, True), **more)


def chain(*units, output="output"):
    names = ["input:x", *(unit.name for unit in units), f"output:{output}"]
    return Graph.of(units, list(zip(names, names[1:])))


def test_what_one_shape_alone_can_be_needs_no_connection():
    source = Graph.of([linear("a", 4, 3), linear("b", 5, 4)])
    target = Graph.of([linear("y", 5, 4), linear("x", 4, 3)])
    assert match(source, target) == {"a": "x", "b": "y"}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_equal_layers_in_a_row_are_told_by_their_place_however_they_are_listed(order):
    source = chain(*(linear(f"s{place}") for place in range(4)))
    right = chain(*(linear(f"t{place}") for place in range(4)))
    shuffled = Graph.of([right.units[f"t{place}"] for place in order], sorted(right.edges))
    assert match(source, shuffled) == {f"s{place}": f"t{place}" for place in range(4)}


def test_names_are_no_evidence():
    """Two equal layers that the twin's author has named and listed the other way about."""
    source = chain(linear("first"), linear("second"))
    target = Graph.of(
        [linear("first"), linear("second")],
        [("input:x", "second"), ("second", "first"), ("first", "output:output")],
    )
    assert match(source, target) == {"first": "second", "second": "first"}


def residual(flip=False):
    """Two branches of a convolution and a norm each, of which only the convolutions differ."""
    units = [conv("main", (4, 4, 3, 3), 1, False), norm("main_norm"),
             conv("short", (4, 4, 1, 1), 1, False), norm("short_norm")]  # fmt: skip
    edges = [("input:x", "main"), ("main", "main_norm"), ("main_norm", "output:y"),
             ("input:x", "short"), ("short", "short_norm"), ("short_norm", "output:y")]  # fmt: skip
    return Graph.of(units[::-1] if flip else units, edges)


def test_a_norm_is_told_by_the_convolution_before_it():
    assert match(residual(), residual(flip=True)) == {
        name: name for name in ("main", "main_norm", "short", "short_norm")
    }


def test_heads_are_told_by_the_outputs_they_feed():
    source = Graph.of([linear("a"), linear("b")], [("input:x", "a"), ("input:x", "b"),
                      ("a", "output:logits"), ("b", "output:boxes")])  # fmt: skip
    target = Graph.of([linear("k1"), linear("k2")], [("input:x", "k1"), ("input:x", "k2"),
                      ("k1", "output:boxes"), ("k2", "output:logits")])  # fmt: skip
    assert match(source, target) == {"a": "k2", "b": "k1"}


def twins_of(first, second):
    edges = [("input:x", first), ("input:x", second), (first, "output:y"), (second, "output:y")]
    return Graph.of([linear(first), linear(second)], edges)


def test_two_that_could_change_places_are_refused_by_name():
    with pytest.raises(Ambiguous) as raised:
        match(twins_of("left", "right"), twins_of("k1", "k2"))
    assert raised.value.kind == "ambiguous-mapping"
    assert "'left' or 'right' for 'k1' or 'k2'" in str(raised.value)


def test_layers_without_any_connection_are_refused_not_paired_in_order():
    with pytest.raises(Ambiguous):
        match(Graph.of([linear("a"), linear("b")]), Graph.of([linear("c"), linear("d")]))


@pytest.mark.parametrize("target, said", [
    ([linear("x")], "Keras model has 1 for 'a' (linear (4, 4, True) float32) or 'b'"),
    ([linear("x"), linear("y"), linear("z")], "state_dict has 2 for 'x'"),
    ([linear("x"), linear("y", 5)], "state_dict has 0 for 'y' (linear (5, 4, True) float32)"),
    ([linear("x"), linear("y", dtype="float64")], "state_dict has 0 for 'y' (linear (4, 4, True) "
                                                  "float64)"),
    ([linear("x"), conv("y")], "state_dict has 0 for 'y' (conv2d"),
    ([linear("x"), Unit("y", "linear", (4, 4, False))], "(4, 4, False)"),
])  # fmt: skip
def test_a_missing_an_unknown_and_a_misshapen_layer_are_named(target, said):
    with pytest.raises(NoCounterpart) as raised:
        match(chain(linear("a"), linear("b")), chain(*target))
    assert raised.value.kind == "unmatched-weights" and said in str(raised.value)


@pytest.mark.parametrize("qkv", [
    linear("qkv", 36, 12),
    Unit("qkv", "parameter", (12, 36)),  # GPT-2 keeps its own kind of layer, the other way about
])  # fmt: skip
def test_query_key_and_value_in_one_matrix_have_no_order_that_shapes_tell(qkv):
    source = chain(qkv, linear("project", 12, 12))
    target = chain(Unit("attention", "attention", (12, 3, 4, True)))
    with pytest.raises(Ambiguous, match="'attention' may lie in qkv"):
        match(source, target)


def test_query_and_key_of_one_attention_could_change_places():
    parts = ("query", "key", "value")
    edges = [("input:x", part) for part in parts] + [(part, "project") for part in parts]
    graph = Graph.of([linear("project", 4, 4), *(linear(part) for part in parts)],
                     [*edges, ("project", "output:y")])  # fmt: skip
    with pytest.raises(Ambiguous) as raised:
        match(graph, graph)
    assert "'query' or 'key' or 'value' for 'query' or 'key' or 'value'" in str(raised.value)
    assert "project" not in str(raised.value), "what is told must not be called open"


def mirrored(edges):
    """Two equal layers, told apart on each side by the edges that are given."""
    units = [linear("a"), linear("b"), norm("n", 5), norm("m", 6)]
    return Graph.of(units, edges)


def test_one_direction_decides_where_the_other_is_written_differently():
    # After them stand n and m on both sides; before them one graph has an edge more.
    source = mirrored([("a", "n"), ("b", "m"), ("input:x", "a"), ("n", "b")])
    target = mirrored([("a", "n"), ("b", "m"), ("input:x", "a"), ("n", "b"), ("input:x", "b")])
    assert match(source, target)["a"] == "a"


def test_two_directions_that_contradict_each_other_are_refused():
    # Before: a is the one behind n. After: it is the other that n stands behind.
    source = mirrored([("n", "a"), ("m", "b"), ("a", "output:p"), ("b", "output:q")])
    target = mirrored([("n", "a"), ("m", "b"), ("b", "output:p"), ("a", "output:q")])
    with pytest.raises(Ambiguous, match="'a' or 'b'"):
        match(source, target)


# --- merged axes


@pytest.mark.parametrize("source, target, answer", [
    ((4, 3, 5), (3, 5, 4), True),
    ((4, 3, 5), (4, 3, 5), False),  # the twin turned the axes back before it flattened
    ((4, 1, 1), (1, 1, 4), False),  # one order only
    ((4, 1, 1), (), False),  # a global pool has nothing to flatten
    ((), (), False),
])  # fmt: skip
def test_the_order_of_a_flatten_is_read_from_its_sizes(source, target, answer):
    assert turned(source, target, "fc") is answer


@pytest.mark.parametrize("source, target", [
    ((4, 4, 4), (4, 4, 4)),  # either order fits
    ((4, 3, 5), (5, 4, 3)),  # none does
    ((4, 3, 5), ()),  # one side shows no flatten at all
    ((), (3, 5, 4)),
    (MIXED, MIXED),
])  # fmt: skip
def test_an_order_that_sizes_do_not_tell_is_refused(source, target):
    with pytest.raises(Ambiguous, match="'fc'"):
        turned(source, target, "fc")


@pytest.mark.parametrize("shape, size, sizes", [
    ((4, 3, 5), 60, (4, 3, 5)),
    ((6, 4, 3), 12, (4, 3)),  # patches: the leading axis stays
    ((4, 1, 5), 20, (4, 1, 5)),
    ((7, 1, 5), 5, ()),  # one axis alone
    ((60,), 6, ()),  # split, not merged
    ((4, 6, 5), 10, MIXED),
    ((None, 4, 3), 12, (4, 3)),
])  # fmt: skip
def test_which_sizes_an_axis_was_merged_of(shape, size, sizes):
    assert merged_of(shape, size) == sizes


def flow(steps, kinds):
    """A flow over values with shapes: (value, its shape, arguments, units, permutes)."""
    shapes = {"x": (4, 3, 5)}
    found = Flow(kinds)
    found.starts("x", "x")
    for value, shape, arguments, units, permutes in steps:
        shapes[value] = shape
        found.step([value], arguments, units, shapes.get, permutes)
    return {
        unit.name: unit
        for unit in found.graph([Unit(name, kind, ()) for name, kind in kinds.items()])
        .units.values()
    }  # fmt: skip


@pytest.mark.parametrize("steps, reads", [
    ([("flat", (60,), ["x"], [], False), ("y", (7,), ["flat"], ["fc"], False)], (4, 3, 5)),
    # Through an activation and a norm, which keep every entry where it is.
    ([("flat", (60,), ["x"], [], False), ("act", (60,), ["flat"], [], False),
      ("n", (60,), ["act"], ["norm"], False), ("y", (7,), ["n"], ["fc"], False)], (4, 3, 5)),
    # Two flattened branches side by side: no order is known any more.
    ([("flat", (60,), ["x"], [], False), ("both", (120,), ["flat", "flat"], [], False),
      ("y", (7,), ["both"], ["fc"], False)], MIXED),
    # Merged, and then another axis is put last.
    ([("flat", (4, 15), ["x"], [], False), ("back", (15, 4), ["flat"], [], True),
      ("y", (15, 7), ["back"], ["fc"], False)], ()),
    ([("mean", (4,), ["x"], [], False), ("y", (7,), ["mean"], ["fc"], False)], ()),
])  # fmt: skip
def test_what_a_dense_layer_reads_was_merged_of(steps, reads):
    assert flow(steps, {"fc": "linear", "norm": "batch_norm"})["fc"].reads == reads


def test_a_flow_stands_weights_after_what_their_data_came_from():
    found = Flow({"a": "linear", "b": "linear"})
    found.starts("x", "x")
    found.holds("wa", "a")
    found.step(["wt"], ["wa"])  # a transpose of the weight is still the weight
    found.step(["h"], ["x", "wt"])
    found.step(["sum"], ["h", "x"])
    found.step(["y"], ["sum"], ["b"])
    found.ends("y", "y")
    assert found.edges == {("input:x", "a"), ("a", "b"), ("input:x", "b"), ("b", "output:y")}


def test_an_answer_split_behind_an_activation_is_seen():
    shapes = {"y": (528,), "act": (528,), "folded": (11, 8, 6), "other": (2, 528)}
    after = {"y": ["act"], "act": ["folded"]}
    assert split_of("y", shapes.get, lambda value: after.get(value, ())) == (11, 8, 6)
    assert split_of("folded", shapes.get, lambda value: ()) == ()


# --- rows of matched layers


def state_of_linear(outside=7, inside=60):
    rng = np.random.default_rng(0)
    return {"fc.weight": rng.standard_normal((outside, inside)).astype("float32"),
            "fc.bias": rng.standard_normal(outside).astype("float32")}  # fmt: skip


def carried(reads, there, state):
    rows = rows_of(
        chain(linear("fc", 7, 60, reads=reads)), chain(linear("dense", 7, 60, reads=there))
    )
    held = {"dense/kernel": weights.Variable((60, 7), "float32"),
            "dense/bias": weights.Variable((7,), "float32")}  # fmt: skip
    return weights.port(rows, state, held)


def test_a_dense_layer_behind_a_flatten_gets_its_rows_in_keras_order():
    state = state_of_linear()
    kernel = carried((4, 3, 5), (3, 5, 4), state)["dense/kernel"]
    image = np.random.default_rng(1).standard_normal((4, 3, 5)).astype("float32")
    got = image.transpose(1, 2, 0).ravel() @ kernel
    assert np.allclose(got, state["fc.weight"] @ image.ravel(), atol=1e-4)
    assert np.array_equal(carried((), (), state)["dense/kernel"], state["fc.weight"].T)


@pytest.mark.parametrize("change, said", [
    (lambda state: state.pop("fc.bias"), "no 'fc.bias'"),
    (lambda state: state.update(extra=np.zeros(3, "float32")), "'extra' is read by no row"),
    (lambda state: state.update({"fc.weight": state["fc.weight"][:, :59]}), "not (60, 7)"),
    (lambda state: state.update({"fc.weight": state["fc.weight"].astype("float64")}), "float64"),
])  # fmt: skip
def test_a_state_dict_that_does_not_fit_is_refused_after_the_matching_too(change, said):
    state = state_of_linear()
    change(state)
    with pytest.raises(weights.UnmatchedWeights) as raised:
        carried((), (), state)
    assert said in str(raised.value)


@pytest.mark.parametrize("unit", [
    norm("n", 60),
    Unit("n", "layer_norm", (60,)),
    Unit("n", "parameter", (60,), entries=("n",)),
])  # fmt: skip
def test_only_a_dense_layer_is_reordered_behind_a_flatten(unit):
    source, target = (chain(dataclasses.replace(unit, reads=reads))
                      for reads in ((4, 3, 5), (3, 5, 4)))  # fmt: skip
    with pytest.raises(Ambiguous, match="'n'"):
        rows_of(source, target)


@pytest.mark.parametrize("kind, shape, refused", [
    ("parameter", (4, 4), True),  # x @ W, or W @ x
    ("parameter", (1, 4, 4), True),
    ("parameter", (4, 5), False),
    ("parameter", (1, 1, 4), False),
    ("layer_norm", (4, 4), True),  # channels first, or last
    ("layer_norm", (4,), False),
])  # fmt: skip
def test_a_parameter_whose_axes_could_change_places_is_refused(kind, shape, refused):
    source = Graph.of([Unit("p", kind, shape)])
    target = Graph.of([Unit("q", kind, shape)])
    if refused:
        with pytest.raises(Ambiguous, match="two axes of one size"):
            rows_of(source, target)
    else:
        assert len(rows_of(source, target)) == 1


def test_an_answer_that_is_split_in_another_order_is_refused():
    source, target = (chain(linear("fc", 60, 4, feeds=feeds))
                      for feeds in ((4, 3, 5), (3, 5, 4)))  # fmt: skip
    with pytest.raises(Ambiguous, match="channels last in Keras only"):
        rows_of(source, target)


@pytest.mark.parametrize("depthwise, kernel", [(True, (3, 3, 6, 1)), (False, (3, 3, 1, 6))])
def test_one_convolution_has_two_forms_in_keras(depthwise, kernel):
    source = chain(conv("c", (6, 1, 3, 3), 6, False))
    target = chain(conv("k", (6, 1, 3, 3), 6, False, depthwise=depthwise))
    state = {"c.weight": np.arange(54, dtype="float32").reshape(6, 1, 3, 3)}
    held = {"k/kernel": weights.Variable(kernel, "float32")}
    assert weights.port(rows_of(source, target), state, held)["k/kernel"].shape == kernel

"""Manifests undo what converters did to layouts and integers, and only what is determined."""

from __future__ import annotations

import json

import numpy as np
import pytest

from switchyard.hops.channels_last import (
    input_permutation,
    matched,
    output_permutation,
    scope_name,
)
from switchyard.hops.onnx_io import batch_symbol, symbol_sizes, width_change
from switchyard.manifest import Artefact, Manifest, ManifestMismatch, TensorNote

CHANNELS_LAST = (0, 2, 3, 1)


def image(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_permutation_is_applied_to_inputs_and_undone_on_outputs():
    note = TensorNote("x", "x", "float32", permutation=CHANNELS_LAST, basis="rule")
    array = image(2, 3, 4, 5)
    turned = note.to_artefact(array)
    assert turned.shape == (2, 4, 5, 3)
    assert turned[1, 2, 3, 0] == array[1, 0, 2, 3]
    np.testing.assert_array_equal(note.to_model(turned), array)


def test_an_output_of_another_rank_is_left_for_the_comparison():
    note = TensorNote("x", "x", "float32", permutation=CHANNELS_LAST)
    assert note.to_model(image(2, 3)).shape == (2, 3)


def test_integers_are_widened_back_and_floats_never():
    integers = TensorNote("ids", "ids", "int64", width="int32")
    assert integers.to_artefact(np.array([1, 2])).dtype == np.int32
    assert integers.to_model(np.array([1, 2], np.int32)).dtype == np.int64
    floats = TensorNote("x", "x", "float64", width="float32")
    assert floats.to_model(np.zeros(2, np.float32)).dtype == np.float32
    # An integer of a width that the manifest does not speak of is not touched either.
    assert integers.to_model(np.array([1], np.int16)).dtype == np.int16


def test_width_change_is_only_between_integers():
    assert width_change("int64", "int32") == "int32"
    assert width_change("int64", "int64") is None
    assert width_change("float64", "float32") is None
    assert width_change("bool", "int32") is None


def test_two_hops_are_undone_at_once():
    array = image(2, 3, 4, 5)
    first = TensorNote("x", "x", "float32").then("x", CHANNELS_LAST, basis="rule")
    both = first.then("serving_x", (1, 0, 2, 3), basis="shape")
    expected = array.transpose(CHANNELS_LAST).transpose(1, 0, 2, 3)
    np.testing.assert_array_equal(both.to_artefact(array), expected)
    np.testing.assert_array_equal(both.to_model(expected), array)
    assert (both.path, both.name, both.basis) == ("x", "serving_x", "shape")
    assert first.then("x", (0, 3, 1, 2)).permutation is None
    assert first.then("y").permutation == CHANNELS_LAST
    assert first.then("y", width="int32").then("z").width == "int32"


def test_an_output_nobody_knows_keeps_its_name_and_a_missing_one_is_missing():
    notes = (TensorNote("logits", "Identity:0"), TensorNote("hidden", "Identity_1:0"))
    manifest = Manifest({"onnx": "model.onnx"}, (), notes)
    results = manifest.results({"Identity:0": image(2), "Identity_7:0": image(3)})
    assert list(results) == ["logits", "Identity_7:0"]


def test_feeds_are_by_the_artefacts_names():
    manifest = Manifest({}, (TensorNote("a.b", "a_b"),), ())
    assert list(manifest.feeds({"a.b": image(2), "unused": image(2)})) == ["a_b"]


def test_the_weakest_basis_is_the_manifests():
    rule = TensorNote("x", "x", basis="rule")
    unsure = TensorNote("y", "y", basis="undetermined")
    assert Manifest({}, (rule,), (unsure,)).layout_basis == "undetermined"
    assert Manifest({}, (rule,), ()).layout_basis == "rule"
    assert Manifest({}, (), ()).layout_basis == "unchanged"


def test_a_format_may_have_notes_of_its_own(tmp_path):
    shared = TensorNote("x", "x", "float32", CHANNELS_LAST, basis="rule")
    own = {
        "inputs": (TensorNote("x", "serving_default_x:0", "float32"),),
        "outputs": (),
        "facts": {"dynamic": "specialised"},
    }
    manifest = Manifest(
        {"saved_model": "saved_model", "tflite": "model.tflite"},
        (shared,), (), {"onnxsim": "ok"}, {"tflite": own},
    )  # fmt: skip
    Artefact(tmp_path, manifest).write()
    read = Artefact.read(tmp_path).manifest
    assert read == manifest
    assert json.loads(json.dumps(read.as_dict())) == json.loads(json.dumps(manifest.as_dict()))
    assert read.for_format("saved_model").inputs == (shared,)
    lite = read.for_format("tflite")
    assert lite.inputs[0].name == "serving_default_x:0"
    assert lite.facts == {"onnxsim": "ok", "dynamic": "specialised"}
    assert lite.files == manifest.files and not lite.by_format


def test_a_manifest_from_before_by_format_reads():
    fields = Manifest({"onnx": "m"}, (TensorNote("x", "x", permutation=(1, 0)),), ()).as_dict()
    del fields["by_format"]
    read = Manifest.from_dict(json.loads(json.dumps(fields)))
    assert read.inputs[0].permutation == (1, 0)
    assert read.for_format("onnx") is read


def test_an_artefact_without_the_format_says_what_it_has(tmp_path):
    artefact = Artefact(tmp_path, Manifest({"tflite": "model.tflite"}, (), ()))
    with pytest.raises(ManifestMismatch, match="no saved_model, only tflite"):
        artefact.file("saved_model")
    with pytest.raises(ManifestMismatch, match="not there"):
        artefact.file("tflite")


@pytest.mark.parametrize(
    "rank, expected",
    [(0, None), (1, None), (2, None), (3, (0, 2, 1)), (4, CHANNELS_LAST),
     (5, (0, 2, 3, 4, 1)), (6, None)],
)  # fmt: skip
def test_inputs_of_three_to_five_dimensions_go_channels_last(rank, expected):
    assert input_permutation(rank) == expected


@pytest.mark.parametrize(
    "wanted, got, expected",
    [
        pytest.param((2, 3, 4, 5), (2, 3, 4, 5), (None, "unchanged"), id="same"),
        pytest.param((2, 3, 4, 5), (2, 4, 5, 3), (CHANNELS_LAST, "shape"), id="nhwc"),
        pytest.param((2, 4, 5, 3), (2, 3, 4, 5), ((0, 3, 1, 2), "shape"), id="inverse"),
        pytest.param((2, 8, 16, 16), (2, 16, 16, 8), (CHANNELS_LAST, "shape"), id="square"),
        pytest.param((2, 8, 16, 16), (2, 8, 16, 16), (None, "unchanged"), id="square-same"),
        pytest.param((4, 4, 4, 4), (4, 4, 4, 4), (None, "undetermined"), id="all-equal"),
        pytest.param((2, 4, 4, 4), (2, 4, 4, 4), (None, "undetermined"), id="but-the-batch"),
        pytest.param((2, 7, 5), (2, 5, 7), ((0, 2, 1), "shape"), id="three"),
        pytest.param((2, 7, 7), (2, 7, 7), (None, "undetermined"), id="three-equal"),
        pytest.param((2, 3, 4, 5, 6), (2, 4, 5, 6, 3), ((0, 2, 3, 4, 1), "shape"), id="five"),
        pytest.param((7, 7), (7, 7), (None, "unchanged"), id="two-never-turn"),
        pytest.param((), (), (None, "unchanged"), id="scalar"),
        pytest.param(("n", 3, 4, 5), (None, 4, 5, 3), (CHANNELS_LAST, "shape"), id="symbol"),
        pytest.param((2, 3, 4, 5), (None,) * 4, (None, "undetermined"), id="nothing-known"),
        pytest.param((2, 3, 4, 5), (2, 3, 4, 6), (None, "unchanged"), id="a-wrong-size"),
        pytest.param((2, 3, 4), (2, 12), (None, "unchanged"), id="a-wrong-rank"),
    ],
)
def test_an_outputs_layout_is_found_from_shapes_or_not_at_all(wanted, got, expected):
    assert output_permutation(wanted, got) == expected


def test_an_undetermined_layout_is_not_undone():
    order, basis = output_permutation((2, 4, 4, 4), (2, 4, 4, 4))
    note = TensorNote("y", "y", "float32").then("y", order, basis=basis)
    array = image(2, 4, 4, 4)
    np.testing.assert_array_equal(note.to_model(array), array)
    assert note.basis == "undetermined"


@pytest.mark.parametrize(
    "names, given, expected",
    [
        (["x", "y"], ["y", "x"], {"x": "x", "y": "y"}),
        (["a.b", "c:0"], ["a_b", "c__0"], {"a.b": "a_b", "c:0": "c__0"}),
        (["p", "q"], ["output_1", "output_0"], {"p": "output_0", "q": "output_1"}),
        (["p", "q"], ["Identity_1", "Identity"], {"p": "Identity", "q": "Identity_1"}),
        (["p", "q"], ["Identity_2", "Identity"], {}),
        (["p"], ["lambda_3"], {"p": "lambda_3"}),
        (["p", "q"], ["lambda", "lambda_1"], {}),
        (["x", "gone"], ["x"], {"x": "x"}),
    ],
)  # fmt: skip
def test_names_are_matched_by_rule_and_never_guessed(names, given, expected):
    assert matched(names, given) == expected


def test_the_batch_is_the_symbol_that_leads_every_input_and_stands_nowhere_else():
    x, ids = ("x", "float32", ("b", 3, "h")), ("ids", "int64", ("b",))
    assert batch_symbol([x, ids]) == "b"
    assert batch_symbol([x, ("state", "float32", (1, "b", 8))]) is None
    assert batch_symbol([("x", "float32", ("b", "b"))]) is None
    assert batch_symbol([("x", "float32", (2, 3))]) is None
    assert batch_symbol([("x", "float32", ())]) is None


def test_every_dynamic_dimension_has_its_example_size():
    inputs = [("x", "float32", ("b", 3, None))]
    assert symbol_sizes(inputs, {"x": (2, 3, 7)}) == {"b": 2, "x[2]": 7}


def test_names_that_tensorflow_takes_for_no_scope_are_made_legal():
    for legal in ("x", "0", "hidden.0", "a-b", "b:y"):
        assert scope_name(legal) == legal
    assert scope_name("out[0]") == "out_0_"
    assert scope_name("_x") == "t_x"
    assert scope_name("/a/b") == "t_a_b"

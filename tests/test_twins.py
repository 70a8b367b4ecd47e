"""A twin beside its model; the routes of twins; a user's twin, from its file to its row."""

from __future__ import annotations

import types

import numpy as np
import pytest

from models_zoo import twins
from switchyard import hops, routes, runtimes
from switchyard.hops import Conversion
from switchyard.hops.manual import (
    SignatureMismatch,
    check_layouts,
    input_notes,
    output_notes,
    require_defaults,
)
from switchyard.hops.tf2onnx import Tf2Onnx
from switchyard.runner.plan import Zoo, chosen_routes, plan

RNG = np.random.default_rng(5)


def drawn(*shape, dtype="float32"):
    return RNG.standard_normal(shape).astype(dtype)


# --- a twin beside its model


def keras_tensor(name, shape, dtype="float32"):
    return types.SimpleNamespace(name=name, shape=shape, dtype=dtype)


def functional(*inputs, output=None):
    outputs = list(output.values()) if isinstance(output, dict) else output
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return types.SimpleNamespace(inputs=list(inputs), output=output, outputs=outputs)


IMAGE = twins.Twin("net", lambda: None, frozenset({"image", "output"}), "a")
JOB = Conversion(None, "net", {"image": drawn(2, 3, 8, 6)}, {"image": ("batch", 3, 8, "width")})


def test_the_declared_layout_is_a_rule():
    (note,) = input_notes(IMAGE, functional(keras_tensor("image", (None, 8, None, 3))), JOB)
    assert (note.name, note.permutation, note.basis) == ("image", (0, 2, 3, 1), "rule")
    (note,) = output_notes(IMAGE, functional(output="y"), {"output": drawn(2, 5, 8, 6)})
    assert (note.path, note.name, note.permutation) == ("output", "output_0", (0, 2, 3, 1))


@pytest.mark.parametrize("tensor, kind, said", [
    (keras_tensor("picture", (None, 8, None, 3)), "output-structure", "picture"),
    (keras_tensor("image", (None, 3, 8, None)), "shape", "with channels last"),
    (keras_tensor("image", (None, 8, 6, 3)), "shape", "(None, 8, 6, 3)"),
    (keras_tensor("image", (2, 8, None, 3)), "shape", "(2, 8, None, 3)"),
    (keras_tensor("image", (None, 8, None, 3), "float64"), "dtype", "float64"),
])  # fmt: skip
def test_an_input_that_is_not_its_models_is_refused(tensor, kind, said):
    with pytest.raises(SignatureMismatch) as raised:
        input_notes(IMAGE, functional(tensor), JOB)
    assert raised.value.kind == kind and said in str(raised.value)


@pytest.mark.parametrize("output, paths", [
    (["a", "b"], ["output"]),
    ("a", ["output_0", "output_1"]),
    ({"logits": "a"}, ["boxes"]),
    ({"logits": "a"}, ["logits", "boxes"]),
])  # fmt: skip
def test_outputs_that_are_not_its_models_are_refused(output, paths):
    with pytest.raises(SignatureMismatch) as raised:
        output_notes(IMAGE, functional(output=output), {path: drawn(2, 3) for path in paths})
    assert raised.value.kind == "output-structure"


def test_a_layout_of_a_tensor_that_is_not_there_is_refused():
    check_layouts(IMAGE, ["image", "output"])
    with pytest.raises(SignatureMismatch, match="'output'; did you mean output_0") as raised:
        check_layouts(IMAGE, ["image", "output_0"])
    assert raised.value.kind == "output-structure"


@pytest.mark.parametrize("setting, value", [
    ("backend", "jax"), ("image_data_format", "channels_first"), ("floatx", "float16"),
])  # fmt: skip
def test_a_keras_that_is_set_otherwise_is_said(setting, value):
    settings = {"backend": "tensorflow", "image_data_format": "channels_last", "floatx": "float32"}

    def config(**given):
        return types.SimpleNamespace(**{n: lambda v=v: v for n, v in given.items()})

    require_defaults(config(**settings))
    with pytest.raises(RuntimeError, match=value):
        require_defaults(config(**{**settings, setting: value}))


# --- which models have twins, and their cells


def test_every_family_where_a_keras_person_would_write_one_has_twins():
    families = {each.module.rpartition(".")[2] for each in twins.builtin().values()}
    assert len(twins.builtin()) >= 20
    assert families >= {"convnets", "batchnorm", "norms", "recurrent", "attention", "indexing",
                        "pooling_resize", "padding", "layout", "digits"}  # fmt: skip


def test_two_files_may_not_declare_one_twin():
    with pytest.raises(ValueError, match="resnet18.*convnets"):
        twins.builtin() and twins.twin("resnet18")(lambda: None)


def description(name, file="/somewhere/models_zoo/convnets.py", **more):
    return {"name": name, "file": file, "tier": "smoke", "precision": "float32", **more}


@pytest.mark.parametrize("model, has", [
    (description("resnet18"), True),
    (description("no_such_model"), False),
    (description("resnet18", file="/home/my/resnet18.py"), False),  # a user's own net
    (description("mine", file="/home/my/mine.py", twin={"weights": True, "chain": False}), True),
])  # fmt: skip
def test_a_twin_is_of_the_built_in_zoo_or_stands_beside_its_model(model, has):
    assert twins.has_twin(model) is has


def test_nothing_is_said_of_transferring_weights_that_are_not_there():
    roll = description("roll", file="/somewhere/models_zoo/padding.py")
    assert twins.has_twin(roll) and not twins.has_twin(roll, weighted=True)
    assert twins.has_twin(description("resnet18"), weighted=True)


def test_a_model_without_a_twin_has_no_cell_of_a_route_of_twins():
    every, ends = hops.builtin(), runtimes.builtin()
    chosen = chosen_routes(
        ["manual-tf", "manual-tf2onnx16-ort", "weight-transfer-tf", "torchscript-ort"], every, ends
    )
    zoo = Zoo({each["name"]: each for each in (description("resnet18"), description("alone"))}, {})
    cells = {one.cell.short for one in plan({"set": zoo}, chosen, "cpu", "full")}
    assert cells == {"resnet18-manual-tf", "resnet18-manual-tf2onnx16-ort",
                     "resnet18-weight-transfer-tf", "resnet18-torchscript-ort",
                     "alone-torchscript-ort"}  # fmt: skip


@pytest.mark.parametrize("name", [
    "manual-tf", "manual-tf2onnx-ort", "manual-tf2onnx11-ort", "manual-tf2onnx16-ort",
    "weight-transfer-tf", "manual-keras-onnx-ort",
])  # fmt: skip
def test_the_routes_of_twins_are_taken_by_default(name):
    assert name in routes.routes(hops.builtin(), runtimes.builtin())


def test_an_opset_said_stands_behind_manual_alone():
    found = routes.routes(hops.builtin(), runtimes.builtin())
    said = [one.hops for one in found.values() if {"tf2onnx11", "tf2onnx16"} & set(one.hops)]
    assert set(said) == {("manual", "tf2onnx11"), ("manual", "tf2onnx16")}
    opsets = {hop.name: hop.options["opset"] for hop in hops.builtin().values()
              if isinstance(hop, Tf2Onnx)}  # fmt: skip
    assert opsets == {"tf2onnx": None, "tf2onnx11": 11, "tf2onnx16": 16}


# --- for real: a twin of the user's own, and one that forgets a weight

OWN = '''
import torch
from models_zoo import Tensor, model
from models_zoo.twins import twin
from models_zoo.twins.weights import linear

@model(input=Tensor("batch", 6))
def honest():
    return torch.nn.Linear(6, 4)

@model(input=Tensor("batch", 6))
def forgetful():
    return torch.nn.Linear(6, 4)

@model(input=Tensor("batch", 6))
def twinless():
    return torch.nn.Linear(6, 4)

def dense():
    import keras
    x = keras.Input((6,), name="input")
    return keras.Model(x, keras.layers.Dense(4, name="dense")(x))

@twin("honest")
def honest_twin():
    return dense(), [linear("", "dense")]

@twin("forgetful")
def forgetful_twin():
    return dense(), []

class Crossed(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.second, self.first = torch.nn.Linear(6, 6), torch.nn.Linear(6, 6)

    def forward(self, input):
        return self.second(torch.tanh(self.first(input)))

@model(input=Tensor("batch", 6))
def crossed():
    return Crossed()

@twin("crossed")
def crossed_twin():
    import keras
    x = keras.Input((6,), name="input")
    early, late = (keras.layers.Dense(6, name=name) for name in ("second", "first"))
    return keras.Model(x, late(keras.ops.tanh(early(x)))), [
        linear("first", "second"), linear("second", "first")]

class Forked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.plus, self.minus = torch.nn.Linear(6, 4), torch.nn.Linear(6, 4)

    def forward(self, input):
        return self.plus(input) - self.minus(input)

@model(input=Tensor("batch", 6))
def forked():
    return Forked()

@twin("forked")
def forked_twin():
    import keras
    x = keras.Input((6,), name="input")
    plus, minus = (keras.layers.Dense(4, name=name)(x) for name in ("plus", "minus"))
    return keras.Model(x, keras.layers.Subtract()([plus, minus])), [
        linear("plus", "plus"), linear("minus", "minus")]
'''


@pytest.fixture(scope="module")
def own(bench, tmp_path_factory):
    file = tmp_path_factory.mktemp("own") / "own_models.py"
    file.write_text(OWN)
    return bench("--zoo", file, "--route", "manual-tf", "--route", "weight-transfer-tf")


def test_a_users_twin_arrives(own):
    assert own.outcome("honest-manual-tf") == ("compare", "", "excellent")


def test_the_mapper_is_not_told_the_table(own):
    assert own.outcome("forgetful-weight-transfer-tf") == ("compare", "", "excellent")


def test_layers_with_each_others_names_get_their_own_weights(own):
    for route in ("manual-tf", "weight-transfer-tf"):
        assert own.outcome(f"crossed-{route}") == ("compare", "", "excellent")


def test_layers_that_nothing_tells_apart_are_refused_though_their_names_would(own):
    assert own.outcome("forked-manual-tf") == ("compare", "", "excellent")
    assert own.outcome("forked-weight-transfer-tf") == (
        "convert:weight-transfer", "ambiguous-mapping", "refused"
    )  # fmt: skip
    assert "'plus' or 'minus'" in own.rows["forked-weight-transfer-tf"]["message"]


def test_a_twin_that_forgets_a_weight_fails_by_name(own):
    assert own.outcome("forgetful-manual-tf") == ("convert:manual", "unmatched-weights", "failed")
    assert "'weight' is read by no row" in own.rows["forgetful-manual-tf"]["message"]


def test_a_model_without_a_twin_has_no_row_at_all(own):
    assert not any(name.startswith("twinless") for name in own.rows)

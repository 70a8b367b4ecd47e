"""onnx-tf, nobuco and KerasHub: which models they take, and what their manifests say, by their
rules alone; no converter is imported."""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pytest

from models_zoo.twins.weights import UnmatchedWeights
from switchyard import hops, routes, runtimes
from switchyard.hops import Conversion, Refusal, keras_hub, nobuco, onnxtf
from switchyard.manifest import Manifest, TensorNote
from switchyard.runner import environments, version_sets
from switchyard.worker.blame import outcome_of

ROOT = pathlib.Path(__file__).parents[1]


def converting(**example):
    dims = {name: ("batch", *array.shape[1:]) for name, array in example.items()}
    return Conversion(target=pathlib.Path(), model_name="m", example=example, dims=dims)


def test_the_three_roads_are_routes_and_onnxtf_follows_one_exporter():
    known, runs = hops.builtin(), runtimes.builtin()
    found = routes.routes(known, runs)
    assert {"nobuco-tf", "keras-hub-tf", "torchscript-onnxtf-tf"} <= set(found)
    assert [name for name in found if "onnxtf" in name] == ["torchscript-onnxtf-tf"]
    assert routes.named("torchscript11-onnxtf-tf", known, runs).tier == "full-only"


@pytest.mark.parametrize(
    "needs, tags, taken",
    [
        ((), (), False),
        (("scikit-learn",), ("mode",), False),
        (("transformers",), (), True),
        (("timm",), (), True),
        ((), ("timm",), True),
    ],
)
def test_keras_hub_takes_the_models_of_transformers_and_timm(needs, tags, taken):
    route = routes.named("keras-hub-tf", hops.builtin(), runtimes.builtin())
    assert route.takes({"needs": needs, "tags": tags}) is taken


@pytest.mark.parametrize(
    "config, found",
    [
        ({"architecture": "resnet18"}, True),
        ({"input_size": (3, 224, 224)}, False),
        ("resnet18", False),
        (None, False),
    ],
)
def test_a_timm_net_is_known_by_the_architecture_it_names(config, found):
    assert keras_hub.of_timm(SimpleNamespace(pretrained_cfg=config)) is found
    assert not keras_hub.of_timm(object())


# --- nobuco: channels-last from three dimensions on, and no other.


@pytest.mark.parametrize("shape", [(), (4,), (4, 5), (4, 5, 6), (4, 5, 6, 7), (2, 3, 4, 5, 6, 7)])
def test_nobucos_rule_moves_the_second_axis_to_the_end(shape):
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    job = converting(x=array) if shape else None
    order = nobuco.permutation(len(shape))
    assert (order is None) == (len(shape) < 3)
    if order is None:
        return
    said = nobuco.manifest(job, {"output": array}, signature(["x"], ["output"]), {})
    assert said.layout_basis == "rule"
    arrived = said.feeds({"x": array})["x"]
    assert np.array_equal(arrived, np.moveaxis(array, 1, -1))
    assert np.array_equal(said.results({"output": arrived})["output"], array)


def signature(inputs, outputs):
    return {
        "inputs": [(name, "float32", (None,)) for name in inputs],
        "outputs": [(name, "float32", (None,)) for name in outputs],
    }


def test_nobucos_manifest_leaves_out_what_the_signature_lacks():
    job = converting(used=np.zeros((2, 3)), unused=np.zeros((2, 3)))
    outputs = {"output_0": np.zeros((2, 3)), "output_1": np.zeros((2, 3))}
    said = nobuco.manifest(job, outputs, signature(["used"], ["output_0"]), {"dynamic": "declared"})
    assert [note.path for note in said.inputs] == ["used"]
    assert [note.path for note in said.outputs] == ["output_0"]


PRINTED = """Unimplemented nodes:
Spectrum[models_zoo.gaps](float32_0<2,16>) -> complex64_1<2,9>
 └· FFT[models_zoo.gaps](float32_0<2,16>) -> complex64_1<2,9>
    └· rfft[torch.fft](float32_0<2,16>) -> complex64_1<2,9>
 └· erfinv[torch](complex64_1<2,9>) -> complex64_2<2,9>
"""


def test_nobucos_unimplemented_nodes_are_refused_by_name():
    assert nobuco.leaves(PRINTED) == ["torch.fft.rfft", "torch.erfinv"]
    found = nobuco.explained(Exception("Unimplemented nodes"), f"tree\n\x1b[31m{PRINTED}")
    said = outcome_of(found, "convert:nobuco", nobuco.HOPS[0].refusals)
    assert (said.verdict, said.kind, said.operator) == (
        "refused", "unsupported-operator", "torch.fft.rfft",
    )  # fmt: skip
    assert "torch.erfinv" in said.message
    other = ValueError("something else")
    assert nobuco.explained(other, PRINTED) is other


def test_sizes_fixed_after_a_trace_that_failed_are_still_those_of_the_named_inputs(monkeypatch):
    """nobuco leaves every forward it traced wrapped, without the names of its arguments."""
    tensorflow, asked = MagicMock(), []
    module = SimpleNamespace(forward=lambda x, scale: x * scale)
    x, scale = np.zeros((2, 3)), np.zeros(3)

    def pytorch_to_keras(module, args, kwargs, input_shapes, **rest):
        module.forward = lambda *args, **kwargs: None
        asked.append(input_shapes and list(input_shapes.values()))
        if input_shapes:
            raise ValueError("a size that is no number")
        return SimpleNamespace(inputs=[SimpleNamespace(shape=t.shape, dtype=t.dtype) for t in args])

    class Array(np.ndarray):  # what nobuco is given is a key: a tensor is one, an array is not
        __hash__ = object.__hash__

    class Model:
        def __init__(self):
            self.module = module

        def run(self, example):
            return {"output": x}

        def arguments(self, example):
            return (x.view(Array), scale.view(Array)), {}

    order = SimpleNamespace(TENSORFLOW="last")
    fake = SimpleNamespace(pytorch_to_keras=pytorch_to_keras, ChannelOrder=order)
    monkeypatch.setitem(sys.modules, "nobuco", fake)
    monkeypatch.setitem(sys.modules, "tensorflow", tensorflow)
    monkeypatch.setattr(nobuco, "read_signature", lambda p: signature(["x", "scale"], ["output"]))
    dims = {"x": ("batch", 3), "scale": (3,)}
    job = Conversion(target=pathlib.Path(), model_name="m", example={"x": x, "scale": scale},
                     dims=dims, model=Model())  # fmt: skip
    said = nobuco.HOPS[0].convert(job)
    assert asked == [[[None, 3], [3]], None]
    assert said.facts["dynamic"] == "specialised"
    assert [call.args[2] for call in tensorflow.TensorSpec.call_args_list] == ["x", "scale"]


def test_keras_3_is_not_what_nobuco_imports(tmp_path):
    """With Keras 3 installed, ``keras`` and all below it is tf_keras; and nobuco must be there."""
    for name in ("keras", "tf_keras", "torch", "tensorflow", "torchvision", "nobuco"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "tf_keras" / "layers.py").write_text("own = 2")
    (tmp_path / "keras-3.15.1.dist-info").mkdir()
    (tmp_path / "keras-3.15.1.dist-info" / "METADATA").write_text("Name: keras\nVersion: 3.15.1\n")
    code = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]\n"
        "import switchyard.worker.nobuco_ground\n"
        "import keras.layers, os\n"
        "from keras.layers import own\n"
        "print(keras.__name__, own, os.environ['TF_USE_LEGACY_KERAS'], 'nobuco' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["tf_keras", "2", "1", "False"], done.stderr
    (tmp_path / "nobuco" / "__init__.py").unlink()
    (tmp_path / "nobuco").rmdir()
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().endswith("ModuleNotFoundError: No module named 'nobuco'")


# --- onnx-tf: names by the signature, layouts as they are.


def test_onnxtf_carries_names_widths_and_layouts():
    source = Manifest(
        {"onnx": "model.onnx"},
        (TensorNote("image", "image", "float32", (0, 2, 3, 1), basis="rule"),
         TensorNote("ids", "ids", "int64"), TensorNote("mask", "mask", "bool")),
        (TensorNote("output_0", "output_0", "float32"), TensorNote("gone", "gone", "float32")),
        {"dynamic": "declared", "opset": 14},
    )  # fmt: skip
    declares = {
        "inputs": [("image", "float32", ()), ("ids", "int64", ()), ("mask", "bool", ())],
        "outputs": [("output_0", "float32", ()), ("gone", "float32", ())],
    }
    there = {
        "inputs": [("ids", "int32", ()), ("image", "float32", ())],
        "outputs": [("output_0", "float32", ())],
    }
    said = onnxtf.manifest(source, declares, there)
    assert [(n.path, n.name, n.permutation, n.width) for n in said.inputs] == [
        ("image", "image", (0, 2, 3, 1), None), ("ids", "ids", None, "int32"),
    ]  # fmt: skip
    assert [note.path for note in said.outputs] == ["output_0"]
    assert said.facts == {
        "dynamic": "declared", "dropped_inputs": ["mask"], "missing_outputs": ["gone"],
    }  # fmt: skip


USER_CODE = """in user code:

    File "x/onnx_tf/backend_tf_module.py", line 99, in __call__  *
        output_ops = self.backend._onnx_node_to_tensorflow_op(onnx_node,
    File "x/onnx_tf/handlers/handler.py", line 61, in handle  *
        raise BackendIsNotSupposedToImplementIt("{} is not implemented.".format(node.op_type))

    BackendIsNotSupposedToImplementIt: Unsqueeze version 13 is not implemented.
"""


def test_onnxtfs_errors_are_named_by_their_cause():
    said = outcome_of(onnxtf.explained(USER_CODE), "convert:onnxtf", onnxtf.HOPS[0].refusals)
    assert (said.verdict, said.kind, said.operator) == (
        "refused", "unsupported-operator", "Unsqueeze",
    )  # fmt: skip
    assert said.message.endswith("Unsqueeze version 13 is not implemented.")


def test_a_saved_model_that_calls_python_is_an_invalid_graph():
    error = ValueError("Graph execution error: Could not find callback with key=pyfunc_0 in the")
    assert outcome_of(error, "run").kind == "invalid-graph"


# --- KerasHub: which of its classes, and its names of outputs.


@pytest.mark.parametrize(
    "architecture, fields, name",
    [
        ("BertModel", {"last_hidden_state", "pooler_output"}, "Backbone"),
        ("GPT2LMHeadModel", {"logits"}, "CausalLM"),
        ("ViTForImageClassification", {"logits"}, "ImageClassifier"),
        ("BertForMaskedLM", {"logits"}, "MaskedLM"),
    ],
)
def test_keras_hubs_class_is_that_which_gives_what_the_model_gives(architecture, fields, name):
    assert keras_hub.model_class(architecture, fields) == name


@pytest.mark.parametrize("fields", [{"logits"}, {"last_hidden_state", "encoder_last_hidden_state"}])
def test_an_architecture_that_keras_hub_has_no_class_for_is_refused(fields):
    with pytest.raises(Refusal) as found:
        keras_hub.model_class("T5ForConditionalGeneration", fields)
    assert found.value.kind == "unsupported-operator"


def test_keras_hubs_outputs_are_found_by_name_and_none_is_dropped():
    bert = {"sequence_output": 0, "pooled_output": 0}
    fields = {"pooled": "pooler_output", "hidden": "last_hidden_state"}
    assert keras_hub.output_names(fields, bert) == {
        "pooled": "pooled_output", "hidden": "sequence_output",
    }  # fmt: skip
    assert keras_hub.output_names({"output": "logits"}, 0) == {"output": None}
    for asked, structure in (
        (fields, {"sequence_output": 0}),  # no pooler there
        (fields, 0),  # one output in place of two
        ({"output": "pooler_output"}, 0),  # one, and another
    ):
        with pytest.raises(Refusal) as found:
            keras_hub.output_names(asked, structure)
        assert found.value.kind == "ambiguous-mapping"


class Net:
    """As far as the folder is concerned, a timm net."""

    pretrained_cfg = {"architecture": "resnet18", "mean": (0.5, 0.5, 0.5), "url": "elsewhere"}
    num_classes, num_features = 10, 512

    def state_dict(self):
        return {"fc.bias": SimpleNamespace(contiguous=lambda: "whole")}


def test_a_timm_folder_has_what_keras_hub_reads(tmp_path, monkeypatch):
    saved = MagicMock()
    monkeypatch.setitem(sys.modules, "safetensors", MagicMock(torch=saved))
    monkeypatch.setitem(sys.modules, "safetensors.torch", saved)
    keras_hub.save_timm(Net(), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "architecture": "resnet18",
        "num_classes": 10,
        "num_features": 512,
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5]},
    }
    saved.save_file.assert_called_once_with(
        {"fc.bias": "whole"}, str(tmp_path / "model.safetensors")
    )
    headless = Net()
    headless.num_classes = 0
    with pytest.raises(Refusal, match="without classes") as refused:
        keras_hub.save_timm(headless, tmp_path)
    assert refused.value.kind == "unsupported-operator"


def test_weights_that_keras_hub_did_not_port_have_their_kind():
    told = ValueError("The shape of the target variable and the value must match: (1, 1, 576, 576)")
    said = outcome_of(told, "convert:keras-hub", keras_hub.HOPS[0].refusals)
    assert (said.kind, said.verdict) == ("unmatched-weights", "failed")
    said = outcome_of(UnmatchedWeights(["drawn"]), "convert:keras-hub")
    assert (said.verdict, said.kind) == ("failed", "unmatched-weights")


def test_a_set_says_why_it_lacks_an_environment():
    oldest = version_sets.find("torch2.0-tf2.13")
    with pytest.raises(environments.NotDeclared, match="Keras is 2.13"):
        environments.provision(oldest, "keras-hub")
    with pytest.raises(environments.NotDeclared, match="but core and onnx2tf"):
        environments.provision(oldest, "no-such")


SIDE = [
    (set_, name)
    for set_ in version_sets.version_sets().values()
    for name in ("nobuco", "keras-hub")
    if name in set_.environments
]


@pytest.mark.parametrize("set_, environment", SIDE, ids=lambda one: getattr(one, "name", one))
def test_the_models_are_built_with_the_cores_packages(set_, environment):
    """Each input has its reason, and what builds or answers a model is the core's version."""
    import tomllib

    from switchyard.runner import locking

    reasons = tomllib.loads((set_.folder / "set.toml").read_text())
    reasons = reasons["environments"][environment]["pins"]
    own = locking.pins(set_.lock(environment).read_text())
    core = locking.pins(set_.lock("core").read_text())
    texts = (path.read_text() for path in set_.inputs(environment))
    named = [line.partition("==")[0] for text in texts for line in text.split()]
    assert named and not {name.replace("-cpu", "") for name in named} - reasons.keys()
    for name in ("torch", "transformers", "scikit-learn", "numpy", "tensorflow-cpu"):
        assert own[name].version == core[name].version
    assert "tensorflow" not in own  # it would write into tensorflow-cpu's folder

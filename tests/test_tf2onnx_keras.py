"""tf2onnx from a Keras model in memory: which routes there are, and of which models."""

import pytest

from switchyard import hops, routes, runtimes
from switchyard.hops.tf2onnx_keras import LostOutputs, exported_names, names_by_place
from switchyard.runner.plan import chosen_routes
from switchyard.vocabulary import UnknownName

SEQUENTIAL = "manual-tf2onnx-sequential-ort"


def built_in(name, family):
    return {"name": name, "file": f"/somewhere/models_zoo/{family}.py", "twin": None}


@pytest.mark.parametrize("how", ["functional", "sequential", "function"])
def test_each_way_in_is_a_route_of_its_own_by_default(how):
    found = routes.routes(hops.builtin(), runtimes.builtin())
    assert found[f"manual-tf2onnx-{how}-ort"].hops == ("manual", f"tf2onnx-{how}")


OWN = {"name": "digits", "file": "/somewhere/own.py"}


@pytest.mark.parametrize(("model", "taken"), [
    ({**OWN, "twin": {"weights": True, "chain": True}}, True),
    ({**OWN, "twin": {"weights": True, "chain": False}}, False),  # whatever ours of that name is
    ({**OWN, "twin": None}, False),
    (built_in("digits", "digits"), True),
    (built_in("resnet18", "convnets"), False),  # it adds: no chain
    (built_in("grid_sample", "sampling"), False),  # it has no twin
])  # fmt: skip
def test_a_sequential_is_made_of_chains_alone(model, taken):
    route = routes.named(SEQUENTIAL, hops.builtin(), runtimes.builtin())
    assert route.takes(model) is taken


def test_outputs_are_told_apart_in_the_order_tensorflow_flattens_them():
    assert exported_names("a tensor") == ["output_0"]
    assert exported_names(["one", "two"]) == ["output_0", "output_1"]
    assert exported_names({"logits": 1, "boxes": 2}) == ["boxes", "logits"]
    assert names_by_place(["one", "two"], ["a", "b"]) == {"output_0": "a", "output_1": "b"}


@pytest.mark.parametrize("written", [["a"], ["a", "b", "c"]])
def test_an_output_that_is_lost_on_the_way_shifts_no_name(written):
    with pytest.raises(LostOutputs, match="gives 2 outputs") as raised:
        names_by_place(["one", "two"], written)
    assert raised.value.kind == "output-structure"


def test_the_short_name_of_keras_own_export_names_the_whole_path():
    every, ends = hops.builtin(), runtimes.builtin()
    assert list(chosen_routes(["keras-onnx-ort"], every, ends)) == ["manual-keras-onnx-ort"]
    with pytest.raises(UnknownName, match="keras-onnx-ort"):
        chosen_routes(["kears-onnx-ort"], every, ends)

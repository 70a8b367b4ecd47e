"""What the exporters of ``torch.onnx`` are told of a model's inputs, played by a fake torch."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from models_zoo import Tensor, collect, model
from switchyard.hops import Conversion, torch_onnx
from switchyard.worker.building import BuiltModel


def positional(x, mask, scale):
    pass


def by_keyword(x, *, mask, unused=None, scale):
    pass


def behind_one_left_out(x, unused=None, mask=None, scale=None):
    pass


#: By each of these an exporter flattens them in this order.
ORDER = ["x", "mask", "scale"]
HOPS = (torch_onnx.Dynamo(), torch_onnx.TorchScript())
FORWARDS = (positional, by_keyword, behind_one_left_out)


def entry_of():
    with collect():

        @model(mask=Tensor("batch", 3), x=Tensor("batch", "length"), scale=Tensor(2),
               sizes={"length": (5, 7)})  # fmt: skip
        def several():
            return None

    return several


class Told:
    """A torch whose exporter keeps what it is told, as ``options`` and ``given``: the tensors in
    the order in which it would flatten them."""

    def __init__(self):
        self.export = SimpleNamespace(Dim=SimpleNamespace(DYNAMIC="open"))
        self.onnx = SimpleNamespace(export=self._export)

    def from_numpy(self, array):
        return array

    def _export(self, module, args, f=None, *, kwargs=None, dynamo=False, **options):
        self.options = options
        self.given = [*args, *(kwargs or {}).values()]
        return SimpleNamespace(save=lambda path: None)


@pytest.fixture
def told(monkeypatch):
    torch = Told()
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch


def converted(monkeypatch, tmp_path, hop, forward):
    entry = entry_of()
    sizes = {"mask": (2, 3), "x": (2, 5), "scale": (2,)}
    example = {name: np.full(sizes[name], place, np.float32)
               for place, name in enumerate(entry.inputs)}  # fmt: skip
    written = [(name, "float32", ()) for name in example]
    found = {"inputs": written, "outputs": [("output", "float32", ())], "opset": 18,
             "ir_version": 10}  # fmt: skip
    monkeypatch.setattr(torch_onnx, "read_back", lambda path: found)
    built = BuiltModel(entry, SimpleNamespace(forward=forward))
    declared = {name: tensor.dims for name, tensor in entry.inputs.items()}
    job = Conversion(tmp_path, "several", example, declared, model=built, outputs=("output",))
    return example, hop.convert(job)


@pytest.mark.parametrize("hop", HOPS, ids=lambda hop: hop.name)
@pytest.mark.parametrize("forward", FORWARDS, ids=lambda forward: forward.__name__)
def test_each_name_is_given_to_the_input_it_is_of(told, monkeypatch, tmp_path, hop, forward):
    """An exporter names inputs by place; the zoo's entry has them in an order of its own."""
    example, manifest = converted(monkeypatch, tmp_path, hop, forward)
    assert told.options["input_names"] == ORDER
    for name, tensor in zip(told.options["input_names"], told.given):
        assert np.array_equal(tensor, example[name]), name
    assert {note.path: note.name for note in manifest.inputs} == {name: name for name in example}


def test_dynamic_dimensions_stand_in_the_order_of_the_inputs(told, monkeypatch, tmp_path):
    """The exporter renames the dimensions of its inputs by place."""
    converted(monkeypatch, tmp_path, HOPS[0], positional)
    shapes = told.options["dynamic_shapes"]
    assert list(shapes.items()) == [
        ("x", {0: "open", 1: "open"}), ("mask", {0: "open"}), ("scale", {})
    ]  # fmt: skip
    converted(monkeypatch, tmp_path, HOPS[1], positional)
    assert told.options["dynamic_axes"] == {
        "mask": {0: "batch"}, "x": {0: "batch", 1: "length"}
    }  # fmt: skip

"""From a zoo file to a built model: what counts as a source, and what is drawn, with the real torch
of the default set's environment."""

from __future__ import annotations

import sys
import types

import pytest
from default_set import said_by

from switchyard.worker.building import project_sources


@pytest.mark.parametrize("variable", ["TMPDIR", "TORCH_EXTENSIONS_DIR"])
def test_what_a_framework_writes_for_itself_is_no_source(tmp_path, monkeypatch, variable):
    """TensorFlow imports what it generates, from a folder that goes with the process, and torch a
    C++ extension, from one that goes with the run."""
    for name in ("TMPDIR", "TORCH_EXTENSIONS_DIR"):
        monkeypatch.delenv(name, raising=False)
    own, theirs = tmp_path / "own" / "__autograph_generated_file.py", tmp_path / "nets.py"
    own.parent.mkdir()
    for place, file in enumerate((own, theirs)):
        file.write_text("")
        module = types.ModuleType(f"made_for_a_test_{place}")
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv(variable, str(own.parent))
    assert str(theirs) in project_sources() and str(own) not in project_sources()
    monkeypatch.delenv(variable)
    assert {str(own), str(theirs)} <= project_sources().keys()


DRAWN = """
import json
import torch
from torch import nn
from switchyard.worker.drawing import draw_parameters

class Frozen(nn.Module):
    def __init__(self):
        super().__init__()
        for name, start in (("weight", torch.ones), ("bias", torch.zeros),
                            ("running_mean", torch.zeros), ("running_var", torch.ones)):
            self.register_buffer(name, start(3))

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.other = nn.LayerNorm(3), nn.LayerNorm(3)
        self.attention = nn.MultiheadAttention(4, 2)
        self.batch_norm = nn.BatchNorm1d(3)
        self.instance_norm = nn.InstanceNorm1d(3, affine=True, track_running_stats=True)
        self.frozen = Frozen()
        self.learnt = nn.BatchNorm1d(3)
        self.learnt.running_mean[0] = 0.5
        self.mask = nn.Parameter(torch.ones(3), requires_grad=False)
        self.row = nn.Parameter(torch.zeros(1).expand(4))
        self.slope = nn.Parameter(torch.full((3,), 0.25))
        self.last = nn.Parameter(torch.zeros(4, 300))
        self.places = nn.Parameter(torch.zeros(1, 5, 3))
        self.layer_scale = nn.Parameter(torch.full((3, 1, 1), 1e-6))
        self.tied = self.norm.bias
        self.later = nn.LazyLinear(3)

def states(net):
    return {name: value for name, value in net.state_dict().items() if "later" not in name}

net = Net()
before = {name: value.clone() for name, value in states(net).items()}
unscaled = draw_parameters(net, "net")
after = states(net)
moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
again = Net()
draw_parameters(again, "net")
print(json.dumps({
    "moved": moved,
    "same": all(torch.equal(states(again)[name], after[name]) for name in moved),
    "apart": not torch.equal(net.norm.weight, net.other.weight),
    "within": {name: [float(after[name].min()), float(after[name].max())] for name in moved},
    "unscaled": [name for name, layer in net.named_modules()
                 if any(layer is one for one in unscaled)],
}))
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return said_by(DRAWN, tmp_path_factory.mktemp("drawn"))


def test_what_a_constructor_leaves_as_one_value_is_drawn_and_nothing_else(drawn):
    statistics = ("bias", "running_mean", "running_var", "weight")
    norms = ("batch_norm", "frozen", "instance_norm")
    assert sorted(drawn["moved"]) == sorted([
        *(f"{norm}.{field}" for norm in norms for field in statistics),
        "attention.in_proj_bias", "attention.out_proj.bias",
        "last", "layer_scale", "places", "slope",
        "norm.bias", "norm.weight", "other.bias", "other.weight", "tied",
    ])  # fmt: skip
    assert drawn["unscaled"] == ["batch_norm", "instance_norm", "frozen"]


def test_it_is_drawn_alike_each_time_and_apart_for_each_layer(drawn):
    assert drawn["same"] and drawn["apart"]


@pytest.mark.parametrize("name, least, most", [
    ("norm.weight", 0.5, 1.5), ("layer_scale", 0.5, 1.5), ("places", -0.5, 0.5),
    ("last", -0.1, 0.1),  # variance 1 / 300
    ("slope", 0.125, 0.375),  # of one sign
])  # fmt: skip
def test_each_is_drawn_on_the_scale_of_what_it_is(drawn, name, least, most):
    low, high = drawn["within"][name]
    assert least <= low < high <= most and high - low > 0.1 * (most - least)


ZOO = """
import json
import pathlib

import numpy as np
import torch
from torch import nn

from models_zoo import Task, Tensor, model

HERE = pathlib.Path(__file__).parent
IMAGE = Tensor("batch", 3, 8, 6)

def deep():
    layers, inside = [], 3
    for width in (5, 7) * 10:
        layers += [nn.Conv2d(inside, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
                   nn.ReLU()]
        inside = width
    return nn.Sequential(*layers)

@model(input=IMAGE)
def deep_net():
    return deep()

@model(input=IMAGE, trained=True)
def trained_net():
    return deep()

@model(input=IMAGE)
def unwilling_net():
    return nn.Sequential(nn.BatchNorm2d(3), nn.Linear(99, 4))

@model(input=IMAGE)
def deaf_net():
    class Deaf(nn.Module):
        def forward(self, input):
            return input.mean() * 1e-7 + torch.arange(1.0, 5.0)
    return Deaf()

class Labels(nn.Module):
    # Whether the sum of what it is given is rarely large: ``rarely`` in standard deviations.
    def __init__(self, rarely):
        super().__init__()
        self.rarely = rarely

    def forward(self, input):
        flat = input.flatten(1)
        return flat.sum(1) > self.rarely * flat.shape[1] ** 0.5

@model(input=IMAGE)
def rare_label():
    return Labels(2.0)

@model(input=IMAGE)
def no_label():
    return Labels(50.0)

@model(input=IMAGE)
def positive_net():
    class Positive(nn.Module):
        def forward(self, input):
            if not input.any():
                raise ArithmeticError("all zeros")
            return input * 2
    return Positive()

class Pair(nn.Module):
    def forward(self, ids, mask, *, scale=1.0):
        return ids * scale - mask

@model(mask=Tensor("batch", 4), input_ids=Tensor("batch", 4))
def misnamed_net():
    return Pair()

@model(mask=Tensor("batch", 4), ids=Tensor("batch", 4))
def named_net():
    return Pair()

class FromZeros(nn.Module):
    # a state of its own, as recurrent nets begin with

    def forward(self, input):
        return torch.zeros(input.shape[0], 4).index_add(0, torch.arange(input.shape[0]), input)

@model(input=Tensor("batch", 4))
def state_of_its_own():
    return FromZeros()

@model(input=Tensor("batch", 4))
def from_a_checkpoint():
    net = nn.Linear(4, 3)
    net.load_state_dict(torch.load(HERE / "weights.pt", weights_only=True))
    json.loads((HERE / "about.json").read_text())
    (HERE / "written.txt").write_text("by the builder")
    return net

@model(input=Tensor("batch", 4), files=("weights.safetensors",))
def from_a_named_file():
    return nn.Linear(4, 3)

def test_split():
    return {"input": np.load(HERE / "split.npy")}, np.zeros(3, int)

@model(input=Tensor("batch", 4), task=Task(test_split))
def with_a_test_split():
    return nn.Linear(4, 3)
"""

BUILT = """
import json, pathlib, sys
import numpy as np
import torch
from switchyard.wire import load_tensors
from switchyard.worker import jobs
from switchyard.worker.building import build
from switchyard.worker.drawing import probes_of

zoo, here = sys.argv[1], pathlib.Path(sys.argv[1]).parent
torch.save(torch.nn.Linear(4, 3).state_dict(), here / "weights.pt")
(here / "about.json").write_text("{}")
np.save(here / "split.npy", np.zeros((3, 4), "float32"))
(here / "weights.safetensors").write_text("")

def share(name):
    model = build(zoo, name)
    probes = probes_of(model.entry)
    one, two = (model.run(probes[probe])["output"] for probe in ("example", "fresh"))
    return float(np.sqrt(np.mean((one - two) ** 2) / np.mean(one ** 2)))

def referenced(name):
    target = here / name
    target.mkdir()
    result = jobs.run({"do": "reference", "file": zoo, "model": name, "target": str(target)})
    outcome = result.get("outcome") or {}
    kept = {probe: target / f"{probe}.outputs.tensors" for probe in ("example", "fresh")}
    return {
        "kind": outcome.get("kind", ""), "message": outcome.get("message", ""),
        **{probe: next(iter(load_tensors(path).values())).tolist()
           for probe, path in kept.items() if path.exists()},
        "sources": sorted(pathlib.Path(path).name for path in result.get("sources", ())
                          if pathlib.Path(path).parent == here),
    }

def norms(name):
    return [[float(layer.running_mean.abs().max()), float(layer.running_var.max())]
            for layer in build(zoo, name).module.modules() if hasattr(layer, "running_mean")]

named = build(zoo, "named_net")
given = {"mask": np.ones((2, 4), "float32"), "ids": np.zeros((2, 4), "float32")}
said = {name: referenced(name) for name in sys.argv[2:]}
print(json.dumps({
    "share": share("deep_net"), "trained": norms("trained_net"),
    "drawn_once": norms("deep_net") == norms("deep_net"), "unwilling": norms("unwilling_net"),
    "named": named.run(given)["output"].tolist(), **said,
    "state": build(zoo, "state_of_its_own").run_float64({"input": np.ones((2, 4), "float32")})[
        "output"].dtype.name,
    "default": str(torch.get_default_dtype()),
}))
"""
REFERENCED = ("deaf_net", "rare_label", "no_label", "positive_net", "misnamed_net",
              "from_a_checkpoint", "from_a_named_file", "named_net",
              "with_a_test_split")  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    (folder / "zoo.py").write_text(ZOO)
    return said_by(BUILT, folder, str(folder / "zoo.py"), *REFERENCED)


def test_the_answer_of_a_deep_net_hangs_on_its_input(built):
    """By one part in a thousand million with statistics drawn without regard to what reaches them,
    so that whatever is broken in its first layers would be lost in rounding."""
    assert built["share"] > 0.1
    assert built["drawn_once"]


def test_in_float64_a_model_makes_its_own_tensors_so_too(built):
    assert (built["state"], built["default"]) == ("float64", "torch.float32")


def test_what_is_said_to_be_trained_is_left_as_it_is(built):
    assert built["trained"] == [[0.0, 1.0]] * 20


def test_a_model_that_cannot_be_called_keeps_what_was_drawn(built):
    [[mean, variance]] = built["unwilling"]
    assert 0 < mean <= 0.5 and 0.5 <= variance <= 2


def test_a_model_that_does_not_listen_is_refused(built):
    assert built["deaf_net"]["kind"] == "bad-fixture"
    assert "answers alike whatever it is asked" in built["deaf_net"]["message"]


def test_a_label_that_is_rare_is_looked_for_and_one_that_never_changes_is_refused(built):
    assert not built["rare_label"]["kind"], built["rare_label"]
    assert built["rare_label"]["fresh"] != built["rare_label"]["example"]
    said = built["no_label"]
    assert said["kind"] == "bad-fixture" and "on 201 probes" in said["message"]
    assert "at most 0 of their size apart" in said["message"]


def test_a_drawn_probe_that_a_model_does_not_take_is_named(built):
    said = built["positive_net"]
    assert said["kind"] == "bad-reference"
    assert "not the probe 'zeros'" in said["message"] and "all zeros" in said["message"]
    assert "range=" in said["message"]


def test_an_input_is_given_by_its_name_and_one_that_has_none_is_refused(built):
    assert built["named"] == [[-1.0] * 4] * 2 and not built["named_net"]["kind"]
    said = built["misnamed_net"]
    assert said["kind"] == "bad-fixture"
    assert "no parameter 'input_ids'; did you mean ids?" in said["message"]
    assert "no input is called 'ids'" in said["message"]


def test_what_a_builder_reads_is_among_its_sources(built):
    """What it wrote itself is not."""
    assert built["from_a_checkpoint"]["sources"] == ["about.json", "weights.pt", "zoo.py"]
    assert "weights.safetensors" in built["from_a_named_file"]["sources"]


def test_what_the_examples_of_a_task_are_read_from_is_among_the_sources_of_its_reference(built):
    assert "split.npy" in built["with_a_test_split"]["sources"]

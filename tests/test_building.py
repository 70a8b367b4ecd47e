"""From a zoo file to a built model: what counts as a source, and what is drawn, with the real torch
of the default set's environment."""

from __future__ import annotations

import sys
import types

import pytest
from default_set import said_by

from switchyard.worker.building import project_sources


def test_what_a_framework_writes_for_itself_is_no_source(tmp_path, monkeypatch):
    """TensorFlow imports what it generates, from a folder that goes with the process."""
    own, theirs = tmp_path / "own" / "__autograph_generated_file.py", tmp_path / "nets.py"
    own.parent.mkdir()
    for place, file in enumerate((own, theirs)):
        file.write_text("")
        module = types.ModuleType(f"made_for_a_test_{place}")
        module.__file__ = str(file)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setenv("TMPDIR", str(own.parent))
    assert str(theirs) in project_sources() and str(own) not in project_sources()
    monkeypatch.delenv("TMPDIR")
    assert {str(own), str(theirs)} <= project_sources().keys()


DRAWN = """
import json
import torch
from torch import nn
from switchyard.worker.drawing import draw_parameters

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.other = nn.LayerNorm(3), nn.LayerNorm(3)
        self.attention = nn.MultiheadAttention(4, 2)
        self.learnt = nn.Sequential(nn.LayerNorm(3), nn.BatchNorm1d(3))
        self.learnt.trained = True
        self.mask = nn.Parameter(torch.ones(3), requires_grad=False)
        self.row = nn.Parameter(torch.zeros(1).expand(4))
        self.slope = nn.Parameter(torch.full((3,), 0.25))
        self.table = nn.Parameter(torch.zeros(3, 3))
        self.tied = self.norm.bias
        self.later = nn.LazyLinear(3)

net = Net()
before = {name: value.clone() for name, value in net.state_dict().items() if "later" not in name}
draw_parameters(net, "net")
after = net.state_dict()
moved = [name for name, value in before.items() if not torch.equal(value, after[name])]
again = Net()
draw_parameters(again, "net")
print(json.dumps({
    "moved": moved,
    "same": all(torch.equal(again.state_dict()[name], after[name]) for name in moved
                if "weight" not in name or "norm" in name),
    "apart": not torch.equal(net.norm.weight, net.other.weight),
    "gamma": [float(net.norm.weight.min()), float(net.norm.weight.max())],
}))
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return said_by(DRAWN, tmp_path_factory.mktemp("drawn"))


def test_what_a_constructor_leaves_at_zero_or_one_is_drawn_and_nothing_else(drawn):
    assert sorted(drawn["moved"]) == [
        "attention.in_proj_bias", "attention.out_proj.bias",
        "norm.bias", "norm.weight", "other.bias", "other.weight", "tied",
    ]  # fmt: skip


def test_it_is_drawn_alike_each_time_and_apart_for_each_layer(drawn):
    assert drawn["same"] and drawn["apart"]
    low, high = drawn["gamma"]
    assert 0.5 <= low < high <= 1.5

"""Whether the example's path was baked, with the real tracer in the default set's environment."""

from __future__ import annotations

import pytest
from default_set import said_by

#: The inputs are listed with ``scale`` first; each forward takes it elsewhere.
REPLAYED = """
import json
import numpy as np
import torch
from models_zoo import Tensor, collect, model
from switchyard.worker.building import BuiltModel
from switchyard.worker.evidence import ProbeOutputs
from switchyard.worker.trace_replay import replay_trace

def branching(x, scale):
    y = torch.tanh(x) * scale
    return {"y": 3 * y + 1 if bool(x.mean() > 3) else y, "z": x + scale}

class InOrder(torch.nn.Module):
    def forward(self, scale, x):
        return branching(x, scale)

class Exchanged(torch.nn.Module):
    def forward(self, x, scale):
        return branching(x, scale)

class BehindAnother(torch.nn.Module):
    def forward(self, x, shift=None, scale=None):
        return branching(x if shift is None else x + shift, scale)

class ByName(torch.nn.Module):
    def forward(self, x, *, scale):
        return branching(x, scale)

with collect():
    @model(scale=Tensor(6), x=Tensor("batch", 6))
    def entry():
        return None

def replayed(module, dtype="float32", off=0.0, baked=True):
    rng = np.random.default_rng(8)
    scale = rng.uniform(0.5, 2, 6).astype(dtype)
    given = {
        "example": {"scale": scale, "x": rng.standard_normal((2, 6)).astype(dtype)},
        "other": {"scale": scale, "x": rng.uniform(4, 6, (2, 6)).astype(dtype)},
    }
    built, probes = BuiltModel(entry, module), []
    for name, inputs in given.items():
        x = inputs["x"].astype(float)
        y = np.tanh(x) * scale if baked else 5 - x
        y = y * (1 + off * np.where(np.arange(12).reshape(2, 6) % 2, 1, -1))
        # In another order than torch's.
        got = {"z": (x + scale).astype(dtype), "y": y.astype(dtype)}
        probes.append(ProbeOutputs(name, built.run(inputs), got))
    found = replay_trace(built, given["example"], given, probes)
    return [found.kind, found.why]

print(json.dumps({
    **{net.__name__: replayed(net()) for net in (InOrder, Exchanged, BehindAnother, ByName)},
    "float16": replayed(InOrder(), "float16", off=1e-3),
    "too far in float32": replayed(InOrder(), off=1e-3),
    "not baked": replayed(InOrder(), baked=False),
}))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    return said_by(REPLAYED, tmp_path_factory.mktemp("replayed"))


@pytest.mark.parametrize("forward", ["InOrder", "Exchanged", "BehindAnother", "ByName"])
def test_a_baked_path_is_proven_wherever_forward_takes_its_inputs(said, forward):
    kind, why = said[forward]
    assert kind == "constant-baked" and "'other'" in why, why


def test_what_16_bits_round_is_no_other_answer_and_in_float32_it_is(said):
    assert said["float16"][0] == "constant-baked", said["float16"][1]
    assert said["too far in float32"][0] == ""


def test_a_route_that_answers_otherwise_than_the_trace_proves_nothing(said):
    assert said["not baked"] == [
        "", "the example's path, replayed, does not give the route's answers"
    ]  # fmt: skip

"""The model once more in float64, which scales an error: whose can be had, with the real torch of
the default set's environment, and what is said where there is none."""

from __future__ import annotations

import types

import numpy as np
import pytest
from default_set import said_by

from switchyard.worker import asking

NETS = """
import torch
from models_zoo import Tensor, model

def scale_if_large(x):
    if bool(x.abs().mean() > 2):
        return x * 10 + 3
    return torch.tanh(x)

class Apply(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.function = torch.nn.Linear(4, 4), torch.jit.script(scale_if_large)

    def forward(self, x):
        return self.function(self.linear(x))

class Remembers(torch.nn.Module):
    '''Adds what it needs to itself when it is called.'''

    def forward(self, x):
        if not hasattr(self, "ramp"):
            self.register_buffer("ramp", torch.arange(4.0))
        return x + self.ramp

class InFloat32(torch.nn.Module):
    def forward(self, x):
        return x @ torch.ones(4, 4, dtype=torch.float32)

@model(x=Tensor("batch", 4))
def scripted():
    return Apply()

@model(input=Tensor("batch", 4))
def lazy():
    return torch.nn.LazyLinear(3)

@model(x=Tensor("batch", 4))
def remembers():
    return Remembers()

@model(x=Tensor("batch", 4))
def in_float32():
    return InFloat32()
"""

ASKED = """
import json, pathlib
from switchyard.worker.reference import Reference, make_reference

def asked(name, precision="float32"):
    target = pathlib.Path(name + precision)
    target.mkdir()
    make_reference({"file": "nets.py", "model": name, "precision": precision, "target": target})
    reference = Reference.read(target)
    errors, dtypes = [], []
    for probe in reference.probes:
        for path, exact in (reference.outputs64(probe) or {}).items():
            own = reference.outputs(probe)[path]
            errors.append(float(abs(own - exact).max()) / max(1.0, float(abs(exact).max())))
            dtypes.append(exact.dtype.name)
    return {"reason": reference.facts.get("float64_reason", ""), "errors": errors,
            "dtypes": sorted(set(dtypes)), "probes": len(reference.probes)}

names = ("scripted", "lazy", "remembers", "in_float32")
print(json.dumps({**{name: asked(name) for name in names},
                  "float16": asked("scripted", "float16")}))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    (folder / "nets.py").write_text(NETS)
    return said_by(ASKED, folder)


@pytest.mark.parametrize(
    "name, rounding", [("scripted", 1e-6), ("lazy", 1e-6), ("remembers", 1e-6), ("float16", 5e-3)]
)
def test_a_model_that_cannot_be_copied_or_draws_late_has_a_twin_of_its_own_weights(
    said, name, rounding
):
    found = said[name]
    assert found["reason"] == "" and found["dtypes"] == ["float64"]
    assert len(found["errors"]) == found["probes"] >= 4
    assert 0 < max(found["errors"]) < rounding


def test_a_model_that_has_none_says_why(said):
    assert "RuntimeError" in said["in_float32"]["reason"] and not said["in_float32"]["errors"]


@pytest.mark.parametrize("reason", ["", "RuntimeError: expected m1 and m2 to have the same dtype"])
def test_a_cell_whose_reference_has_no_float64_is_acceptable_at_most_for_the_reason_that_it_keeps(
    reason, monkeypatch
):
    outputs = np.random.default_rng(5).standard_normal((2, 4))
    reference = types.SimpleNamespace(
        facts={"stochastic": False, **({"float64_reason": reason} if reason else {})},
        probes=("example",),
        inputs=lambda probe: {},
        outputs=lambda probe: {"y": outputs.astype(np.float32)},
        outputs64=lambda probe: None if reason else {"y": outputs},
    )
    asked = types.SimpleNamespace(
        artefact=None, manifest=None, run=lambda inputs: reference.outputs("example"),
        session=types.SimpleNamespace(facts={}),
    )  # fmt: skip
    monkeypatch.setattr(asking.Reference, "read", lambda folder: reference)
    monkeypatch.setattr(asking.runtimes, "builtin", lambda: {"one": None})
    monkeypatch.setattr(asking.loading, "load", lambda runtime, job: asked)
    job = {"reference": "", "runtime": "one", "precision": "float32", "classifier": False,
           "dynamic": False}  # fmt: skip
    outcome = asking.ask(job)["outcome"]
    assert outcome["verdict"] == ("acceptable" if reason else "excellent")
    assert outcome["message"].endswith(reason) and bool(outcome["message"]) == bool(reason)

"""Asking an artefact: by what its answers are held where other sizes decide a column."""

from __future__ import annotations

import types

import numpy as np
import pytest

from switchyard.worker import asking
from switchyard.worker.drawing import RESIZED

USUAL = np.random.default_rng(5).standard_normal((2, 4))
NOUGHT = np.zeros((3, 4))
OUTPUTS = {"example": USUAL, RESIZED: NOUGHT}
JOB = {"reference": "", "runtime": "one", "precision": "float32", "classifier": False,
       "dynamic": True}  # fmt: skip


@pytest.mark.parametrize("error, dynamic", [(1e-7, "ok"), (1e-2, "wrong")])
def test_an_output_that_vanishes_at_another_size_is_held_to_its_usual_size(
    error, dynamic, monkeypatch
):
    """Nought in torch, and a rounding of its usual size in an honest route."""
    reference = types.SimpleNamespace(
        facts={"stochastic": False},
        probes=tuple(OUTPUTS),
        inputs=lambda probe: {"probe": probe},
        outputs=lambda probe: {"y": OUTPUTS[probe].astype(np.float32)},
        outputs64=lambda probe: {"y": OUTPUTS[probe]},
    )

    def run(inputs):
        apart = error if inputs["probe"] == RESIZED else 0.0
        return {"y": (OUTPUTS[inputs["probe"]] + apart).astype(np.float32)}

    asked = types.SimpleNamespace(
        artefact=None, manifest=None, run=run, session=types.SimpleNamespace(facts={})
    )
    monkeypatch.setattr(asking.Reference, "read", lambda folder: reference)
    monkeypatch.setattr(asking.runtimes, "builtin", lambda: {"one": None})
    monkeypatch.setattr(asking.loading, "load", lambda runtime, job: asked)
    found = asking.ask(JOB)
    assert found["outcome"]["verdict"] == "excellent"
    assert found["fields"]["dynamic"] == dynamic

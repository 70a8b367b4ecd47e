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


@pytest.fixture
def ask(monkeypatch):
    """``ask(resized)`` asks an artefact that answers rightly, and with ``resized(wanted)`` at the
    other size; its result."""
    reference = types.SimpleNamespace(
        facts={"stochastic": False},
        probes=tuple(OUTPUTS),
        inputs=lambda probe: {"probe": probe},
        outputs=lambda probe: {"y": OUTPUTS[probe].astype(np.float32)},
        outputs64=lambda probe: {"y": OUTPUTS[probe]},
    )
    monkeypatch.setattr(asking.Reference, "read", lambda folder: reference)
    monkeypatch.setattr(asking.runtimes, "builtin", lambda: {"one": None})
    monkeypatch.setattr(asking.placement, "of_session", lambda session, feeds: {})

    def ask(resized, manifest=None, device="cpu"):
        def run(inputs):
            wanted = OUTPUTS[inputs["probe"]]
            found = resized(wanted) if inputs["probe"] == RESIZED else wanted
            return {"y": found.astype(np.float32)}

        asked = types.SimpleNamespace(
            artefact=None, manifest=manifest, run=run, session=types.SimpleNamespace(facts={}),
            feeds=lambda inputs: inputs,
        )  # fmt: skip
        monkeypatch.setattr(asking.loading, "load", lambda runtime, job: asked)
        return asking.ask({**JOB, "device": device})

    return ask


def raising(error):
    def resized(wanted):
        raise error

    return resized


@pytest.mark.parametrize("error, dynamic", [(1e-7, "ok"), (1e-2, "wrong")])
def test_an_output_that_vanishes_at_another_size_is_held_to_its_usual_size(ask, error, dynamic):
    """Nought in torch, and a rounding of its usual size in an honest route."""
    found = ask(lambda wanted: wanted + error)
    assert found["outcome"]["verdict"] == "excellent"
    assert found["fields"]["dynamic"] == dynamic


@pytest.mark.parametrize("resized, dynamic, said", [
    (lambda wanted: wanted, "ok", ""),
    (lambda wanted: wanted[:2], "wrong", "(3, 4)"),
    (raising(ValueError("Got invalid dimensions for input: x")), "failed",
     "ValueError: Got invalid dimensions for input: x"),
])  # fmt: skip
def test_why_another_size_does_not_work_is_kept(ask, resized, dynamic, said):
    fields = ask(resized)["fields"]
    assert fields["dynamic"] == dynamic
    assert said in fields["dynamic_message"] and bool(said) == bool(fields["dynamic_message"])


@pytest.mark.parametrize("error, device", [
    (MemoryError("no room"), "cpu"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "cuda"),
    (RuntimeError("CUDA error: unknown error"), "cuda"),  # a lost card, of a job on one
])  # fmt: skip
def test_what_befell_the_process_at_another_size_says_nothing_of_that_size(ask, error, device):
    found = ask(raising(error), device=device)
    assert found["outcome"]["verdict"] == "excellent"
    assert found["fields"]["dynamic"] == ""
    assert found["fields"]["dynamic_message"] == f"{type(error).__name__}: {error}"


def test_why_an_export_fixed_its_sizes_is_kept(ask):
    facts = {"dynamic": "specialised", "dynamic_reason": "TypeError: not a concrete size"}
    manifest = types.SimpleNamespace(facts=facts)
    fields = ask(raising(AssertionError("is not asked")), manifest)["fields"]
    assert fields["dynamic"] == "specialised"
    assert fields["dynamic_message"] == "TypeError: not a concrete size"

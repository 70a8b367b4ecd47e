"""Asking an artefact: by what its answers are held where other sizes decide a column, and what
becomes of a fault in judging itself."""

from __future__ import annotations

import types

import numpy as np
import pytest

from switchyard.worker import agreement, asking, diagnosis, jobs
from switchyard.worker.drawing import RESIZED

USUAL = np.random.default_rng(5).standard_normal((2, 4))
NOUGHT = np.zeros((3, 4))
LARGE = 1e4 * np.random.default_rng(6).standard_normal((2, 4))
OUTPUTS = {"example": USUAL, "tenfold": LARGE, RESIZED: NOUGHT}
JOB = {"reference": "", "runtime": "one", "precision": "float32", "classifier": False,
       "dynamic": True}  # fmt: skip


def as_it_is(wanted):
    return wanted


@pytest.fixture
def ask(monkeypatch):
    """``ask(resized)`` asks an artefact that answers rightly, or with ``example(wanted)``, and with
    ``resized(wanted)`` at the other size; its result."""
    reference = types.SimpleNamespace(
        facts={"stochastic": False, "left_out": {"tenfold": "ValueError: too large"}},
        probes=tuple(OUTPUTS),
        inputs=lambda probe: {"probe": probe},
        outputs=lambda probe: {"y": OUTPUTS[probe].astype(np.float32)},
        outputs64=lambda probe: {"y": OUTPUTS[probe]},
    )
    monkeypatch.setattr(asking.Reference, "read", lambda folder: reference)
    monkeypatch.setattr(asking.runtimes, "builtin", lambda: {"one": None, "torch-eager": None})
    monkeypatch.setattr(asking.placement, "of_session", lambda session, feeds: {})

    def ask(resized=as_it_is, manifest=None, device="cpu", example=as_it_is, do=asking.ask,
            runtime="one", precision="float32"):  # fmt: skip
        def run(inputs):
            wanted = OUTPUTS[inputs["probe"]]
            found = (resized if inputs["probe"] == RESIZED else example)(wanted)
            return {"y": found.astype(np.float32)}

        asked = types.SimpleNamespace(
            artefact=None, manifest=manifest, run=run, session=types.SimpleNamespace(facts={}),
            feeds=lambda inputs: inputs,
        )  # fmt: skip
        monkeypatch.setattr(asking.loading, "load", lambda runtime, job: asked)
        return do({**JOB, "do": "ask", "device": device, "runtime": runtime,
                   "precision": precision})  # fmt: skip

    return ask


def test_another_size_is_held_to_its_own_and_not_asked_in_tf32(ask):
    """Of 10 bits of 23: what is added there is no fault of a route."""
    error = {LARGE.tobytes(): 3.0}  # a thousandth of it, and far beyond any band

    def off(wanted):
        return wanted + error.get(wanted.tobytes(), 0.0)

    found = ask(example=off)
    assert found["outcome"]["verdict"] == "excellent" and found["fields"]["mse"] < 1e-12
    assert {one["condition"] for one in found["figures"]} == {"example", "tenfold"}
    error[LARGE.tobytes()] = 3e3
    found = ask(example=off)
    assert (found["outcome"]["verdict"], found["fields"]["worst_probe"]) == (
        "investigate", "tenfold")  # fmt: skip
    found = ask(example=off, precision="tf32")
    assert found["outcome"]["verdict"] == "excellent"
    assert {one["condition"] for one in found["figures"]} == {"example"}


def test_a_fault_is_named_by_the_models_own_sizes_alone():
    """At a thousandth of them a bias leaves no digits by which an order of axes could be told."""
    signal = np.random.default_rng(7).standard_normal((2, 5, 5))
    exact = {"example": 10 + signal, "thousandth": 10 + 1e-6 * signal}
    wanted = {probe: {"y": array.astype(np.float32)} for probe, array in exact.items()}
    answers = {
        probe: {"y": outputs["y"].transpose(0, 2, 1).copy()} for probe, outputs in wanted.items()
    }
    reference = types.SimpleNamespace(
        outputs=wanted.get, outputs64=lambda probe: {"y": exact[probe]}
    )
    results = [
        agreement.ask(probe, wanted[probe], [answers[probe]], {"y": exact[probe]},
                      scaled=probe == "thousandth") for probe in exact]  # fmt: skip
    found = diagnosis.diagnose_cell(
        agreement.judge(results), reference, answers, {"precision": "float32"}, None
    )
    assert found.kind == "layout-permuted"


def raising(error):
    def resized(wanted):
        raise error

    return resized


def test_a_size_that_torch_did_not_take_is_told_in_its_own_row_alone(ask):
    told = ask(runtime="torch-eager")["outcome"]
    assert told["message"] == "not asked 'tenfold': ValueError: too large"
    assert (told["verdict"], told["kind"]) == ("excellent", "")
    assert not ask()["outcome"]["message"]


@pytest.mark.parametrize("error, dynamic", [(1e-7, "ok"), (1e-2, "wrong")])
def test_an_output_that_vanishes_at_another_size_is_held_to_its_usual_size(ask, error, dynamic):
    """Nought in torch, and a rounding of its usual size in an honest route."""
    found = ask(lambda wanted: wanted + error)
    assert found["outcome"]["verdict"] == "excellent"
    assert found["fields"]["dynamic"] == dynamic


@pytest.mark.parametrize("resized, dynamic, said", [
    (as_it_is, "ok", ""),
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


@pytest.mark.parametrize("at, error, stage, kind", [
    ("judge", ValueError("all input arrays must have the same shape"), "compare", "unexplained"),
    ("judge", MemoryError("no room"), "compare", "host-oom"),
    ("load", ValueError("no such graph"), "load", "load-rejected"),
    ("run", ValueError("no such shape"), "run", "unexplained"),
])  # fmt: skip
def test_a_fault_is_of_the_stage_it_came_in_and_one_of_judging_rejects_no_artefact(
    ask, monkeypatch, at, error, stage, kind
):
    fault = raising(error)
    if at == "judge":
        monkeypatch.setattr(asking.agreement, "judge", lambda *asked: fault(None))
    if at == "load":
        monkeypatch.setattr(asking.runtimes, "builtin", lambda: fault(None))
    outcome = ask(example=fault if at == "run" else as_it_is, do=jobs.run)["outcome"]
    assert (outcome["stage"], outcome["kind"]) == (stage, kind)
    assert outcome["verdict"] == "failed"


@pytest.mark.parametrize("example, kind, said", [
    (lambda wanted: wanted + 1, "unexplained", "mse 1"),
    (lambda wanted: wanted[:1], "shape", "(2, 4) in torch, (1, 4) in the route"),
])  # fmt: skip
def test_a_fault_of_explaining_loses_nothing_of_what_was_judged(
    ask, monkeypatch, example, kind, said
):
    fault = raising(KeyError("conv1"))
    monkeypatch.setattr(diagnosis, "diagnose_cell", lambda *asked: fault(None))
    found = ask(example=example)
    outcome = found["outcome"]
    judged = outcome["stage"], outcome["verdict"], outcome["kind"]
    assert judged == ("compare", "investigate", kind)
    assert said in outcome["message"]
    assert "not explained, since that failed: KeyError: 'conv1'" in outcome["message"]
    assert found["fields"]["dynamic"] == "ok"


@pytest.mark.parametrize("odd, verdict", [(1, "acceptable"), (2, "investigate")])
def test_runs_that_stand_apart_are_drawn_once_more(odd, verdict):
    """As one comparison of thousands does by chance, on a night of hundreds."""
    rng, drawn = np.random.default_rng(8), []

    def run(inputs):
        drawn.append(inputs)
        off = 3.0 if len(drawn) <= odd * 2 * asking.STOCHASTIC_RUNS else 0.0
        return {"y": rng.standard_normal(6) + off}

    reference = types.SimpleNamespace(
        inputs=lambda probe: probe,
        many=lambda probe: {"y": rng.standard_normal((asking.STOCHASTIC_RUNS, 6))},
    )
    judged = asking._judge_spread(types.SimpleNamespace(run=run), reference)
    assert judged.verdict == verdict
    assert len(drawn) == 4 * asking.STOCHASTIC_RUNS

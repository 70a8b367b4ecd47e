"""One launch of a cell on the CPU, with a measured process that answers from a script."""

from __future__ import annotations

import types

import pytest

from switchyard.runner.launches import launch
from switchyard.runner.nvml import Sample
from switchyard.runner.standby import Ended, MeasuredProcess, Ready

POINT = {"rss_mib": 50.0, "peak_mib": 60.0, "program_mib": 20.0, "heap_free_mib": None}


class Script(MeasuredProcess):
    """Answers each frame by its name; every call takes a millisecond, 400 of them the budget."""

    def __init__(self, **changed):
        self.replies = {
            "load": {"memory": {"load": POINT}, "device": {"allocated_mib": 4}, "facts": {}},
            "first_call": {
                "memory": {"first_call": POINT}, "device": {"allocated_mib": 5},
                "facts": {"first_call_seconds": 1e-3},
            },
            "memory": {"memory": POINT},
            **changed,
        }  # fmt: skip

    def begin(self):
        pass

    def close(self):
        pass

    def ask(self, do, **job):
        if do == "burst":
            return {"ok": True, "durations_s": [1e-3] * job["n"], "cores_busy": 1.5}
        return {"ok": True, **self.replies[do]}


def launched(process, card=None):
    prepared = {"ok": True, "memory": {"import": POINT}, "facts": {}}
    return launch(Ready(process, prepared, None), {}, card)


def test_every_point_of_memory_has_figures_alone():
    found = launched(Script())
    assert found.outcome is None and len(found.durations) == 400 and found.cores_busy == 1.5
    assert list(found.memory) == ["import", "load", "first_call", "after_runs"]
    assert all(point == POINT for point in found.memory.values())


@pytest.mark.parametrize("frame", ["load", "first_call", "memory"])
def test_a_question_that_fails_is_the_launchs_outcome(frame):
    outcome = {"stage": "measure", "verdict": "failed", "kind": "crash", "message": "gone",
               "detail": "its log"}  # fmt: skip
    found = launched(Script(**{frame: {"ok": False, "outcome": outcome}}))
    assert (found.outcome.kind, found.outcome.message) == ("crash", "gone")
    assert found.outcome.detail == "its log"


def test_nvml_is_asked_of_a_model_that_is_loaded_and_was_not_called():
    looks = iter([Sample(used_mib=500.0), Sample(used_mib=500.0), Sample(used_mib=700.0)])
    card = types.SimpleNamespace(sample=lambda: next(looks, Sample(used_mib=900.0)))
    none = {"device": {}}
    script = Script(device_memory=none, vary=none, release=none, leak={})
    script.replies["load"]["facts"]["series"] = ["resident", "device", "graph"]
    script._popen = types.SimpleNamespace(pid=7)
    memory = launched(script, card).device.memory
    assert memory["load"] == {"allocated_mib": 4, "used_mib": 700.0, "process_mib": None}
    assert memory["first_call"]["used_mib"] == 900.0


def test_what_is_known_of_an_end_stays_with_the_outcome():
    script = Script()
    script.ask = lambda do, **job: (_ for _ in ()).throw(Ended("crash", "status -11", "its log"))
    found = launched(script).outcome
    assert (found.stage, found.kind, found.message) == ("measure", "crash", "status -11")
    assert found.detail == "its log"


class Failing:
    """A runtime that cannot be watched."""

    def memory_after(self, call):
        raise ImportError("no module named xplane_pb2")

    def device_memory(self):
        return {"allocated_mib": 4.0}


def test_what_cannot_be_watched_is_asked_plainly_and_says_why():
    from switchyard.worker.measuring import memory_after

    found, message = memory_after(Failing(), lambda: None)
    assert found == {"allocated_mib": 4.0}
    assert message == "not watched: ImportError: no module named xplane_pb2"


class Silent:
    """A runtime whose sessions say nothing of their memory, but for one of its own: there each
    run leaves half a MiB behind."""

    name, device_memory = "silent", dict

    def memory_after(self, call):
        call()
        return {}

    def memory_over(self, runs):
        self.runs = list(runs)
        return [{"in_run_allocated_mib": 4 + number / 2} for number in range(len(self.runs))]


@pytest.fixture
def measured():
    """A measured process's side, with a session of ``Silent`` loaded on a device."""
    from switchyard.worker.measuring import Measured

    both = Silent()
    found = Measured()
    found.on_device = True
    found._runtime, found._series = both, {"resident": lambda: None}
    found._loaded = types.SimpleNamespace(session=both, feeds=lambda inputs: inputs)
    found._reference = types.SimpleNamespace(inputs=lambda probe: probe, probes=[])
    return found


@pytest.mark.parametrize("tunes, on_device, settled", [
    (True, True, 1), (True, False, 0), (False, True, 0),
])  # fmt: skip
def test_what_tuning_took_is_let_go_of_behind_the_first_call(measured, tunes, on_device, settled):
    held, done = iter([64.0]), []
    measured.on_device, measured._runtime = on_device, types.SimpleNamespace(
        tunes=tunes, settle=lambda: done.append("settled"),
        device_memory=lambda: {"allocated_mib": next(held)},
    )  # fmt: skip
    measured._loaded.session.companions = ()
    reply = measured.first_call({})
    # Not yet: NVML, which the runner asks now, is to see what the framework's own figures say.
    assert done == [] and reply["device"] == ({"allocated_mib": 64.0} if on_device else {})
    assert reply["facts"]["tuned"] == bool(settled)
    measured.settle({})
    assert done == ["settled"]


def test_a_runtime_that_tuned_is_told_to_let_go_of_it_once_nvml_was_asked():
    looks = []
    card = types.SimpleNamespace(sample=lambda: looks.append(1) or Sample(used_mib=900.0))
    none = {"device": {}}
    script = Script(device_memory=none, vary=none, release=none, leak={}, settle={})
    script.replies["load"]["facts"]["series"] = ["resident", "device", "graph"]
    script._popen, asked, ask = types.SimpleNamespace(pid=7), [], script.ask
    script.ask = lambda do, **job: asked.append((do, len(looks))) or ask(do, **job)
    for tuned in (False, True):
        script.replies["first_call"]["facts"] = {"first_call_seconds": 1e-3, "tuned": tuned}
        found = launched(script, card)
        assert found.outcome is None and "tuned" not in found.facts
    (told,) = (seen for do, seen in asked if do == "settle")
    first = [seen for do, seen in asked if do == "first_call"][-1]
    assert told == first + 1


def test_where_a_timed_session_says_nothing_one_of_its_own_is_asked(measured):
    assert measured.device_memory({"call": True}) == {
        "device": {}, "message": "", "over": "example"
    }  # fmt: skip
    assert measured.over({"runs": "example"}) == {
        "device": {"in_run_allocated_mib": 5.0}, "message": ""
    }  # fmt: skip
    assert measured._loaded.session.runs == ["example"] * 3
    leak = measured.leak({"rounds": 3, "calls": 4})
    assert leak == {"leak_bytes": 2**19} and len(measured._loaded.session.runs) == 12


def test_a_session_that_cannot_be_asked_says_why_and_one_without_words_is_named(measured):
    def broken(runs):
        raise RuntimeError("no room for another")

    measured._loaded.session.memory_over = broken
    said = measured.over({"runs": "example"})
    assert said == {"device": {}, "message": "not watched: RuntimeError: no room for another"}
    measured._loaded.session.memory_over = lambda runs: []
    said = measured.over({"runs": "example"})
    assert said == {"device": {}, "message": "silent says nothing of its allocator"}
    assert measured.leak({"rounds": 3, "calls": 4}) == {"leak_bytes": None}

"""What a burst says, and series for which the measured process loads the model once more."""

from __future__ import annotations

import types

import pytest

from switchyard import runtimes
from switchyard.worker import loading, measuring
from switchyard.worker.measuring import WARM_CALLS, Measured


@pytest.fixture
def measured(monkeypatch):
    """A measured process whose runtime offers ``aside`` by a session with these methods."""

    def measured(aside, **methods):
        session = types.SimpleNamespace(**methods)
        again = types.SimpleNamespace(session=session, feeds=lambda inputs: inputs)
        monkeypatch.setattr(loading, "load", lambda runtime, job: again)
        process = Measured()
        process._runtime, process._job = types.SimpleNamespace(name="ort", aside=aside), {}
        process._reference = types.SimpleNamespace(inputs=lambda probe: {})
        return process

    return measured


def test_a_burst_says_how_many_cores_it_kept_busy(measured, monkeypatch):
    """The service behind a hybrid's session counts with it: three processor seconds in two."""
    seen, said = [], iter([1.0, 4.0])

    def cpu_seconds(companions):
        seen.append(companions)
        return next(said)

    clock = iter([10.0, 12.0])
    monkeypatch.setattr(measuring, "cpu_seconds", cpu_seconds)
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: next(clock))
    process = measured(())
    session = types.SimpleNamespace(companions=(77,))
    process._loaded = types.SimpleNamespace(session=session)
    process._series = {"device": iter([0.25, 0.5]).__next__}
    said_of_it = process.burst({"series": "device", "n": 2})
    assert said_of_it == {"durations_s": [0.25, 0.5], "cores_busy": 1.5}
    assert seen == [(77,), (77,)]


def test_between_events_a_call_says_itself_how_long_it_took(measured):
    said = iter([9.0] * WARM_CALLS + [0.25, 0.5])
    process = measured(("device",), between_events=lambda feeds: said.__next__)
    assert process.aside({"series": "device", "n": 2}) == {"durations_s": [0.25, 0.5]}


def test_a_replayed_graph_is_timed_from_here(measured):
    calls = []
    process = measured(("graph",), graphed=lambda feeds: lambda: calls.append(9.0))
    (one, two) = process.aside({"series": "graph", "n": 2})["durations_s"]
    assert 0 <= one < 1 and 0 <= two < 1 and len(calls) == WARM_CALLS + 2


def test_what_is_not_offered_is_a_sentence(measured):
    def lacking(feeds):
        raise runtimes.NotOffered("onnxruntime 1.15.1 has no user_compute_stream")

    said = measured(("device",), between_events=lacking).aside({"series": "device", "n": 2})
    assert said == {"durations_s": [], "message": "onnxruntime 1.15.1 has no user_compute_stream"}
    said = measured(()).aside({"series": "device", "n": 2})
    assert said == {"durations_s": [], "message": "ort offers no time between CUDA events"}

"""What is read out of TensorFlow's trace of its allocator. The events have the form of one that
tensorflow 2.21 wrote; the profiler itself is asked on a card or a simulated one."""

from __future__ import annotations

import types

import pytest

from switchyard.runtimes import tensorflow_trace as trace


def named(*names):
    return {number: types.SimpleNamespace(name=name) for number, name in enumerate(names)}


class Stat:
    """An XStat: one of several fields has its value."""

    def __init__(self, number, field, value):
        self.metadata_id = number
        self._field = field
        setattr(self, field, value)

    def WhichOneof(self, group):
        assert group == "value"
        return self._field


NAMES = ("allocator_name", "fragmentation", "requested_bytes", "allocation_bytes", "GPU_0_bfc",
         "cpu")  # fmt: skip
FIELDS = ("ref_value", "double_value", "int64_value", "int64_value")


def event(which, at, *values):
    """The allocator's name is one that the plane has, and the stat refers to it."""
    stats = [Stat(n, FIELDS[n], value if n else NAMES.index(value))
             for n, value in enumerate(values)]  # fmt: skip
    return types.SimpleNamespace(metadata_id=which, offset_ps=at, stats=stats)


def plane(*lines):
    return types.SimpleNamespace(
        event_metadata=named("MemoryAllocation", "MemoryDeallocation", "MatMul"),
        stat_metadata=named(*NAMES),
        lines=[types.SimpleNamespace(timestamp_ns=at, events=events) for at, events in lines],
    )


def test_the_events_of_gpu_allocators_come_in_the_order_of_time():
    later = event(1, 10, "GPU_0_bfc", 0.5, 700, 768)
    sooner = event(0, 900, "GPU_0_bfc", 0.25, 700, 768)
    others = [event(0, 5, "cpu", 0.9, 1, 256), event(2, 6)]
    found = trace.in_order([plane((2, [later, *others])), plane((1, [sooner]))])
    assert [(one["event"], one["fragmentation"]) for one in found] == [
        ("MemoryAllocation", 0.25), ("MemoryDeallocation", 0.5),
    ]  # fmt: skip


def test_the_seconds_in_a_node_are_of_all_its_runs_as_the_host_saw_them():
    names = named("f/MatMul:MatMul", "f/while/body/_6/Sin:Sin", "ExecutorState::Process", "wait")

    def took(which, picoseconds):
        return types.SimpleNamespace(metadata_id=which, duration_ps=picoseconds)

    def plane_of(name, *lines):
        lines = [types.SimpleNamespace(events=events) for events in lines]
        return types.SimpleNamespace(name=name, event_metadata=names, lines=lines)

    host = plane_of("/host:CPU", [took(0, 2e12), took(1, 1e12), took(3, 9e12)], [took(1, 0.5e12)])
    found = trace.seconds_of_nodes([host, plane_of("/device:GPU:0", [took(0, 7e12)])])
    assert found["f/MatMul", "MatMul"] == 2 and found["f/while/body/_6/Sin", "Sin"] == 1.5
    assert not any("wait" in key for key in found)


@pytest.mark.parametrize("last, external", [(0.5, 0.5), (0.0, 0.0), (float("nan"), None)])
def test_external_is_the_last_events_and_internal_of_all_that_was_handed_out(last, external):
    made = {"event": "MemoryAllocation", "requested_bytes": 700, "allocation_bytes": 1024}
    gone = {"event": "MemoryDeallocation", "requested_bytes": 9, "allocation_bytes": 256,
            "fragmentation": last}  # fmt: skip
    found = trace.figures([made, {**made, "requested_bytes": 836}, gone])
    assert found == {"external_fragmentation": external, "internal_fragmentation": 0.25}


def test_where_nothing_was_handed_out_nothing_is_known():
    assert set(trace.figures([]).values()) == {None}

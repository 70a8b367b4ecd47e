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


@pytest.mark.parametrize("last, external", [(0.5, 0.5), (0.0, 0.0), (float("nan"), None)])
def test_external_is_the_last_events_and_internal_of_all_that_was_handed_out(last, external):
    made = {"event": "MemoryAllocation", "requested_bytes": 700, "allocation_bytes": 1024}
    gone = {"event": "MemoryDeallocation", "requested_bytes": 9, "allocation_bytes": 256,
            "fragmentation": last}  # fmt: skip
    found = trace.figures([made, {**made, "requested_bytes": 836}, gone])
    assert found == {"external_fragmentation": external, "internal_fragmentation": 0.25}


def test_where_nothing_was_handed_out_nothing_is_known():
    assert set(trace.figures([]).values()) == {None}

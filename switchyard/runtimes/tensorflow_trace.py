"""What TensorFlow's allocator on a GPU says of itself beyond what it handed out.

It says so in a profiler's trace alone, where every allocation is an event with the allocator's
state behind it (``BFCAllocator::AddTraceMe``, xla/tsl/framework/bfc_allocator.cc): bytes asked for
and handed out, and its ``fragmentation``, which is (free - largest free piece) / free of the
regions that it holds, ``external`` by ``switchyard.worker.fragmentation``. What it holds of the
card it does not say there either (``bytes_reserved`` stays 0), so that there is no slack.
"""

from __future__ import annotations

import math
import pathlib
import tempfile
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional

from switchyard.worker import fragmentation

#: Events of the allocator of a GPU, and the level of the host's trace that has them.
ALLOCATION, EVENTS = "MemoryAllocation", ("MemoryAllocation", "MemoryDeallocation")
ALLOCATOR, LEVEL = "GPU_", 2


def during(call: Callable[[], Any]) -> List[Dict[str, Any]]:
    """The allocator's events of one call, in order: ``event`` and the trace's own names. Raises
    what ``traced`` does."""
    return in_order(traced(call).planes)


def keep(call: Callable[[], Any], path: str) -> None:
    """Write the trace of one call, as TensorBoard's profiler opens it, without this machine's
    name. Raises what ``traced`` does, and OSError."""
    space = traced(call)
    del space.hostnames[:]
    pathlib.Path(path).write_bytes(space.SerializeToString())


def traced(call: Callable[[], Any]) -> Any:
    """The trace (XSpace) of one call. Raises what the call and the profiler raise, and ImportError
    where this TensorFlow has its messages elsewhere."""
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    profiler = tf.profiler.experimental
    options = profiler.ProfilerOptions(
        host_tracer_level=LEVEL, python_tracer_level=0, device_tracer_level=0
    )
    with tempfile.TemporaryDirectory(prefix="switchyard-trace-") as folder:
        profiler.start(folder, options=options)
        try:
            call()
        finally:
            profiler.stop()
        space = xplane_pb2.XSpace()
        for path in pathlib.Path(folder).glob("**/*.xplane.pb"):
            space.MergeFromString(path.read_bytes())
    return space


def in_order(planes: Iterable[Any]) -> List[Dict[str, Any]]:
    """The events of ``planes`` (XPlane) that are an allocator's on a GPU, by the time of each."""
    found = []
    for plane in planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                if name not in EVENTS:
                    continue
                said = {plane.stat_metadata[stat.metadata_id].name: _value(stat, plane)
                        for stat in event.stats}  # fmt: skip
                if str(said.get("allocator_name", "")).startswith(ALLOCATOR):
                    when = line.timestamp_ns * 1000 + event.offset_ps
                    found.append((when, len(found), {"event": name, **said}))
    return [event for _, _, event in sorted(found, key=lambda each: each[:2])]


def _value(stat: Any, plane: Any) -> Any:
    """A stat's value; texts that come often stand in the plane once, and the stat refers there."""
    field = stat.WhichOneof("value") or "int64_value"
    value = getattr(stat, field)
    return plane.stat_metadata[value].name if field == "ref_value" else value


def figures(events: Iterable[Mapping[str, Any]]) -> Dict[str, Optional[float]]:
    """``external_fragmentation`` of the allocator as the last event left it, and
    ``internal_fragmentation`` of all that was handed out meanwhile; None where none was."""
    events = list(events)
    made = [event for event in events if event["event"] == ALLOCATION]
    asked = sum(event.get("requested_bytes", 0) for event in made)
    got = sum(event.get("allocation_bytes", 0) for event in made)
    last = events[-1].get("fragmentation") if events else None
    return {
        # Where nothing is free it divides by nothing, and says so as NaN.
        "external_fragmentation": last if last is not None and math.isfinite(last) else None,
        "internal_fragmentation": fragmentation.internal(asked, got),
    }

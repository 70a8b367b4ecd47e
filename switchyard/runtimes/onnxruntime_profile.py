"""What ONNX Runtime's profile says of the arena behind the nodes of a device: pure.

From 1.28 on each executed node has it there, https://github.com/microsoft/onnxruntime/pull/29058;
before, and of a node whose allocator keeps no count, there is nothing. Python is told it nowhere
else.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Optional

from switchyard.worker import fragmentation
from switchyard.worker.placement import CPU_PROVIDER

#: Figure -> key of a node's arguments, bytes in a text.
_BYTES = {
    "in_run_allocated_mib": "mem_bytes_in_use",
    "in_run_requested_mib": "mem_bytes_requested_in_use",
    "reserved_mib": "mem_arena_held",
    "peak_mib": "mem_in_use_peak",
}


def arena_of_runs(events: Iterable[Mapping[str, Any]]) -> List[Dict[str, Optional[float]]]:
    """The device's arena behind the last node that ran there, of each run, oldest first: MiB, and
    what it wastes (``fragmentation``). Runs of which nothing is said are left out.

    ``in_run_``: while a run's activations are still held, so not what other frameworks say behind
    a call. ``peak_mib`` is since the session began. Inputs that were bound lie in no arena of the
    session's and are in none of these.
    """
    events = [one for one in events if isinstance(one, Mapping)]
    nodes = sorted((one for one in events if _says(one)), key=lambda one: one["ts"])
    found = []
    for run in sorted(filter(_is_run, events), key=lambda one: one["ts"]):
        own = [one for one in nodes if run["ts"] <= one["ts"] <= run["ts"] + run["dur"]]
        if own:
            found.append(_figures(own[-1]["args"]))
    return found


def _is_run(event: Mapping[str, Any]) -> bool:
    return event.get("name") == "model_run"


def _says(event: Mapping[str, Any]) -> bool:
    given = event.get("args") or {}
    return given.get("provider", CPU_PROVIDER) != CPU_PROVIDER and _BYTES["reserved_mib"] in given


def _figures(given: Mapping[str, Any]) -> Dict[str, Optional[float]]:
    found: Dict[str, Optional[float]] = {
        name: int(given[key]) / 2**20 if key in given else None for name, key in _BYTES.items()
    }
    allocated, requested = found["in_run_allocated_mib"], found["in_run_requested_mib"]
    found["in_run_slack"] = fragmentation.slack(allocated, found["reserved_mib"])
    found["internal_fragmentation"] = fragmentation.internal(requested, allocated)
    return found

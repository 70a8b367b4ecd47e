"""Where a loaded model really ran: the row's columns, from what the session itself says.

An asked-for device that a session does not have is a failure at ``load``; what is found here
is the rest of it, a session on the device with a part of it on the CPU.
"""

from __future__ import annotations

from typing import Any, Dict, Iterable, List, Mapping, Tuple

from switchyard.vocabulary import signature_of

CPU_PROVIDER = "CPUExecutionProvider"

_Node = Tuple[str, str, str]


def of_session(session, feeds: Mapping[str, Any]) -> Dict[str, Any]:
    """The placement columns of a session on a CUDA device; where they cannot be found out,
    ``placement_message`` alone, which says why. Never raises."""
    try:
        found = {name: value for name, value in session.placement(feeds).items() if value != ""}
    except Exception as error:  # a diagnosis that fails costs its columns and no verdict
        line = signature_of((str(error).strip().splitlines() or [""])[0])
        return {"placement_message": f"not found out: {type(error).__name__}: {line}"}
    return found


def from_devices(where: Mapping[str, Iterable[str]]) -> Dict[str, Any]:
    """Columns from the devices that parts of a model (parameters, outputs) lie on.

    ``where``: part -> a device's type (``cuda``, ``cpu``) for each of its tensors.
    """
    devices: List[str] = sorted({device for part in where.values() for device in part})
    strayed = [part for part, each in where.items() if "cpu" in each]
    found: Dict[str, Any] = {"providers": ">".join(devices)}
    if strayed:
        found["placement_kind"] = "cpu-fallback"
        found["placement_message"] = f"on the CPU: some of the {' and the '.join(strayed)}"
    return found


def from_profile(events: Iterable[Mapping[str, Any]], providers: Iterable[str]) -> Dict[str, Any]:
    """Columns from ONNX Runtime's own profile, which names each executed node's provider.

    ``share_on_cpu`` is of the host's time in nodes during the last run: for a node on the
    device that is launching its kernels, which may go on behind it. Nodes that the session
    folded or fused away are not executed and not counted.
    """
    events = [one for one in events if isinstance(one, Mapping)]
    runs = [one for one in events if one.get("name") == "model_run"]
    last = max(runs, key=lambda one: one["ts"]) if runs else None
    counted: Dict[_Node, str] = {}
    micros: Dict[str, float] = {}
    for event in events:
        given = event.get("args") or {}
        name, provider = str(event.get("name", "")), given.get("provider")
        if not provider or not name.endswith("_kernel_time"):
            continue
        counted[(name, str(given.get("node_index")), str(given.get("op_name")))] = provider
        if last is None or last["ts"] <= event["ts"] <= last["ts"] + last["dur"]:
            micros[provider] = micros.get(provider, 0.0) + event.get("dur", 0)
    found: Dict[str, Any] = {"providers": ">".join(providers)}
    if not counted:
        return {**found, "placement_message": "the profile names no executed node"}
    on_cpu = [node for node, provider in counted.items() if provider == CPU_PROVIDER]
    found["nodes_on_cpu"] = len(on_cpu)
    found["nodes_on_device"] = len(counted) - len(on_cpu)
    total = sum(micros.values())
    if total > 0:
        found["share_on_cpu"] = micros.get(CPU_PROVIDER, 0.0) / total
    if on_cpu:
        operators = sorted({operator for _, _, operator in on_cpu})
        found["placement_kind"] = "cpu-fallback"
        found["placement_message"] = f"on the CPU: {', '.join(operators)}"[:300]
    return found

"""Where a loaded model really ran: the row's columns, from what the session itself says.

An asked-for device that a session does not have is a failure at ``load``; what is found here
is the rest of it, a session on the device with a part of it on the CPU.
"""

from __future__ import annotations

import collections
import math
from typing import (
    Any,
    Callable,
    Dict,
    Iterable,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from switchyard.vocabulary import signature_of

CPU_PROVIDER = "CPUExecutionProvider"

#: Integers that a tensor of sizes may have.
MOST_SIZES = 16

_Node = Tuple[str, str, str]


def of_session(session, feeds: Mapping[str, Any]) -> Dict[str, Any]:
    """The placement columns of a session on a CUDA device; where they cannot be found out,
    ``placement_message`` alone, which says why. Never raises."""
    try:
        found = {name: value for name, value in session.placement(feeds).items() if value != ""}
    except Exception as error:  # a diagnosis that fails costs its columns and no verdict
        return {"placement_message": f"could not be determined: {_in_short(error)}"}
    return found


def _in_short(error: Exception) -> str:
    line = signature_of((str(error).strip().splitlines() or [""])[0])
    return f"{type(error).__name__}: {line}"


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


class Executed(NamedTuple):
    """One operation that ran: its name, whether on the CPU, whether it only makes sizes, and the
    seconds until it was done, where they are known."""

    operator: str
    on_cpu: bool
    sizes: bool
    seconds: Optional[float] = None


def with_operations(found: Dict[str, Any], ask: Callable[[], Sequence[Executed]]) -> Dict[str, Any]:
    """``found``, which is ``from_devices``'s, with what the single operations add to it. Where they
    cannot be found out ``found`` stands, and says so if it says nothing else."""
    try:
        executed = ask()
    except Exception as error:
        return {"placement_message": f"operations not counted: {_in_short(error)}", **found}
    if not executed:
        return found
    on_cpu = [one for one in executed if one.on_cpu]
    counts: Dict[str, Any] = {
        "nodes_on_cpu": len(on_cpu),
        "nodes_on_device": len(executed) - len(on_cpu),
    }
    timed = [one for one in executed if one.seconds is not None]
    if total := sum(one.seconds for one in timed):
        counts["share_on_cpu"] = sum(one.seconds for one in timed if one.on_cpu) / total
    said = _said({(one.operator, one.sizes) for one in on_cpu})
    # What strayed as a whole, such as the outputs, was said already, and more exactly.
    return {**said, **counts, **found}


def with_share(found: Dict[str, Any], ask: Callable[[], Optional[float]]) -> Dict[str, Any]:
    """``found`` with the share of the time on the CPU, where only a run of its own tells it."""
    try:
        return {**found, "share_on_cpu": ask()}
    except Exception as error:
        return {"placement_message": f"times not counted: {_in_short(error)}", **found}


def _said(on_cpu: Iterable[Tuple[str, bool]]) -> Dict[str, Any]:
    """Kind and message of (operator, whether it only makes sizes) that ran on the CPU."""
    operators = sorted(set(on_cpu))
    fallen = [operator for operator, sizes in operators if not sizes]
    if not operators:
        return {}
    if fallen:
        message = f"on the CPU: {', '.join(dict.fromkeys(fallen))}"
        return {"placement_kind": "cpu-fallback", "placement_message": message[:300]}
    message = f"on the CPU, for sizes alone: {', '.join(operator for operator, _ in operators)}"
    return {"placement_message": message[:300]}


def from_profile(events: Iterable[Mapping[str, Any]], providers: Sequence[str]) -> Dict[str, Any]:
    """Columns from ONNX Runtime's own profile, which names each executed node's provider.

    ``share_on_cpu`` is of the time in nodes during the last run, as the host sees it: for a node
    on the device until it is done only where each launch is waited for (CUDA_LAUNCH_BLOCKING).
    Nodes that the session folded or fused away are not executed and not counted. A node that only
    makes sizes of tensors is no fallback: ONNX Runtime keeps those on the CPU on purpose.
    """
    events = [one for one in events if isinstance(one, Mapping)]
    runs = [one for one in events if one.get("name") == "model_run"]
    last = max(runs, key=lambda one: one["ts"]) if runs else None
    counted: Dict[_Node, str] = {}
    micros: Dict[str, float] = {}
    of_sizes: Set[_Node] = set()
    for event in events:
        given = event.get("args") or {}
        name, provider = str(event.get("name", "")), given.get("provider")
        if not provider or not name.endswith("_kernel_time"):
            continue
        node = (name, str(given.get("node_index")), str(given.get("op_name")))
        counted[node] = provider
        if _makes_sizes(given.get("output_type_shape")):
            of_sizes.add(node)
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
    said = _said((node[2], node in of_sizes) for node in on_cpu)
    shared = _shared(
        collections.Counter(counted.values()), micros, providers[0] if providers else ""
    )
    if shared:
        said["placement_message"] = "; ".join(filter(None, [shared, said.get("placement_message")]))
    return {**found, **said}


def _shared(nodes: Mapping[str, int], micros: Mapping[str, float], asked: str) -> str:
    """Where another provider than the first, ``asked``, has nodes on the device, how many each has
    and its share of the time in nodes: ONNX Runtime lists TensorRT's also where it took none."""
    others = {name: n for name, n in nodes.items() if name not in (asked, CPU_PROVIDER)}
    if not others:
        return ""
    total = sum(micros.values())

    def told(name: str, n: int) -> str:
        share = f" ({micros.get(name, 0.0) / total:.0%} of the time)" if total > 0 else ""
        return f"{name} {n}{share}"

    return ", ".join(told(*each) for each in {asked: nodes.get(asked, 0), **others}.items())


def _makes_sizes(outputs: Any) -> bool:
    """Whether a node's outputs, as the profile has them (``[{"int64": [2]}]``), are a few integers
    each: what sizes, axes and indices of dimensions are."""
    try:
        each = [item for one in outputs for item in one.items()]
    except (TypeError, AttributeError):  # a version that says nothing of them
        return False
    return bool(each) and all(
        dtype in ("int64", "int32", "bool") and math.prod(shape) <= MOST_SIZES
        for dtype, shape in each
    )

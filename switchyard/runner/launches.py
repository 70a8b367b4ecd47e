"""Launches: fresh processes that measure one cell each, one after the other, alone.

A launch imports one runtime (beside others that do, see ``standby``); then, alone, it loads one
artefact, warms up, and answers ``burst(n)`` until its budget is spent. Its memory is read after
each of these steps. The launch is the unit of replication: medians of single launches of identical
code spread by 18 to 41% on a shared machine. Cells that are launched several times take turns (see
``measurements``).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional

from switchyard.runner import warming
from switchyard.runner.nvml import Card
from switchyard.runner.on_device import OnDevice, Watch
from switchyard.runner.standby import Ended, MeasuredProcess, Ready
from switchyard.runner.workers import process_outcome
from switchyard.vocabulary import Outcome

#: Seconds of calls that a launch times after its warm-up.
BUDGET_SECONDS = 0.4

#: Samples a launch takes, whatever the budget: a median needs some, a table can hold so many.
FEWEST, MOST = 12, 1000


@dataclasses.dataclass
class Launch:
    """One launch: durations in seconds and the cores that were busy with them, memory points in
    MiB, or the outcome that ended it; ``left_on_card``: what was still there behind it."""

    durations: List[float] = dataclasses.field(default_factory=list)
    memory: Dict[str, Mapping[str, Optional[float]]] = dataclasses.field(default_factory=dict)
    facts: Dict[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Optional[Outcome] = None
    device: Optional[OnDevice] = None
    cores_busy: Optional[float] = None
    left_on_card: str = ""


def launch(ready: Ready, job: Mapping[str, Any], card: Optional[Card] = None) -> Launch:
    """Measure one cell once, in a process that stands by, and end it. ``job`` is its ``load``
    frame, ``card`` the device it is for, if any."""
    process = ready.process
    process.begin()
    found, watch = Launch(), None
    try:
        if ready.ended is not None:
            raise ready.ended
        watch = None if card is None else Watch(card, process)
        # Frames of their own, so that the card is asked at the end of each.
        stages = {
            "import": lambda: ready.prepared,
            "load": lambda: process.ask(do="load", **job),
            "first_call": lambda: process.ask(do="first_call"),
        }
        for point, ask in stages.items():
            stage = ask()
            if not stage["ok"]:
                found.outcome = Outcome.from_dict(stage["outcome"])
                return found
            found.memory.update(stage["memory"])
            found.facts.update(stage["facts"])
            if watch is not None and "device" in stage:
                watch.enter(point, stage["device"])
        if found.facts.pop("tuned", False):
            process.demand(do="settle")
        if watch is not None:
            watch.called()
            found.device = watch.found
        budget = warming.ON_CPU if watch is None else warming.ON_CARD
        warmth = warming.warm(process, found.facts["first_call_seconds"], budget)
        found.facts.update(warm_up_calls=warmth.calls, warm_up_settled=warmth.settled)
        count = int(min(MOST, max(FEWEST, BUDGET_SECONDS / max(warmth.typical, 1e-7))))

        def sample_set(process: MeasuredProcess, count: int) -> List[float]:
            reply = process.demand(do="burst", n=count)
            found.cores_busy = reply["cores_busy"]
            return reply["durations_s"]

        if watch is None:
            found.durations = sample_set(process, count)
        else:
            watch.warmed_up(warmth)
            found.durations = watch.sample_set(count, sample_set)
        found.memory["after_runs"] = process.demand(do="memory")["memory"]
        if watch is not None:
            watch.others(count, found.facts["series"])
    except Ended as ended:
        found.outcome = process_outcome("measure", *ended.args, ended.detail)
    finally:
        try:
            on_card = None if watch is None else watch.on_card()
        finally:  # Ctrl-C over the look
            process.close()
        if watch is not None:
            found.left_on_card = watch.ended(on_card)
    return found

"""What a launch asks on a CUDA device beyond what it asks on the CPU: a quiet sample set, the
other series, and the device's memory at every point.

The card's own state comes from NVML, here; what the framework says of its allocator comes
from the measured process. A question without an answer leaves a sentence, never an error.
"""

from __future__ import annotations

import dataclasses
import pathlib
import time
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from switchyard.runner.nvml import Card, Sample
from switchyard.runner.standby import Ended, MeasuredProcess, Ready
from switchyard.runner.warming import ALIKE, Warmth
from switchyard.vocabulary import KINDS

#: Times that a contaminated sample set is taken again.
RETAKEN_AT_MOST = 3

#: Rounds of calls after which a leak shows as a slope, and calls of each.
LEAK_ROUNDS, LEAK_CALLS = 5, 10

#: The share of a sample set in which a clock held down disturbs it.
HELD_SHARE = 0.01

#: Seconds that the driver may take to let go of a process that was ended, and between two looks.
LET_GO_SECONDS, LOOK_SECONDS = 5, 0.05

#: The series beside the one of inputs that lie on the device.
OTHER_SERIES = ("device", "from_host")

#: Those that the model may have to be loaded once more for.
SERIES_ASIDE = ("device", "graph")


@dataclasses.dataclass
class OnDevice:
    """What one launch learnt of its card. Durations in seconds; ``memory``: point -> name ->
    value, the unit in the name's ending. ``noisy`` is why the sample set is not to be trusted,
    ``messages`` why a figure is missing, ``broke`` kind and message where the process or the card
    broke down once the sample set was there."""

    series: Dict[str, List[float]] = dataclasses.field(default_factory=dict)
    memory: Dict[str, Dict[str, Optional[float]]] = dataclasses.field(default_factory=dict)
    leak_bytes: Optional[float] = None
    sample: Sample = Sample()
    throttle: Tuple[str, ...] = ()
    foreign: Optional[int] = None
    retaken: int = 0
    noisy: str = ""
    broke: Tuple[str, ...] = ()
    messages: List[str] = dataclasses.field(default_factory=list)


def number_on_card(before: Sample, after: Sample, own: int) -> Optional[int]:
    """The number that NVML has for the process ``own``; None where it cannot be told.

    In a container NVML may number processes as the host does: where ``own`` is not in its
    list, the only one that came since ``before``, when ``own`` had not yet opened the card,
    is taken for it.
    """
    now = set(after.processes or ())
    if own in now:
        return own
    new = now - set(before.processes or ())
    return new.pop() if len(new) == 1 else None


def foreign_processes(before: Sample, first: Sample, last: Sample, own: int) -> Optional[int]:
    """Processes on the card that are not ``own``, the more of two moments, ``first`` and ``last``;
    None where NVML does not say, or shows nobody, not even ``own``, as in some containers, or in a
    container nobody but ``own``. ``before`` is from before ``own`` had opened the card."""
    if not last.processes:
        return None
    mine = number_on_card(before, last, own)
    most = max(len(set(sample.processes or ()) - {mine}) for sample in (first, last))
    return most if most or last.everybody else None


def held_down(before: Sample, after: Sample) -> Tuple[str, ...]:
    """The reasons that held the clock down between two samples: those whose counter grew by more
    than ``HELD_SHARE`` of the time, and those without a counter that were set at either sample. A
    bit whose counter did not grow, as before and after a burst, has disturbed nothing."""
    counted: Dict[str, bool] = {}
    for name in before.violations.keys() & after.violations.keys():
        (held_before, clock_before), (held, clock) = before.violations[name], after.violations[name]
        if clock > clock_before:
            counted[name] = held - held_before > HELD_SHARE * (clock - clock_before)
    seen = (*(before.throttle or ()), *(after.throttle or ()), *counted)
    return tuple(name for name in dict.fromkeys(seen) if counted.get(name, True))


def unknown(first: Sample, last: Sample, foreign: Optional[int]) -> List[str]:
    """What NVML does not say of the time between two looks, by which a sample set would be noisy:
    silence is not quiet."""
    found = []
    asked = last.throttle is not None or first.violations.keys() & last.violations.keys()
    if not asked:
        found.append("NVML does not say whether the clock was held down")
    if foreign is None:
        shown = last.processes and not last.everybody
        found.append(
            "NVML shows no process of another container that may be on the card"
            if shown
            else "NVML does not say who else is on the card"
        )
    return found


def contamination(throttle: Tuple[str, ...], foreign: Optional[int]) -> str:
    """Why a sample set taken meanwhile is not to be trusted; empty where it is."""
    reasons = [f"clock held down by {name}" for name in throttle]
    if foreign:
        reasons.append(f"{foreign} other process(es) on the card")
    return ", ".join(reasons)


def record(ready: Ready, job: Mapping[str, Any], path: pathlib.Path) -> str:
    """One more launch, untimed, whose allocator remembers: its history goes to ``path``, which
    the measured process writes and nobody here reads. Why there is none, or empty."""
    process = ready.process
    process.begin()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        if ready.ended is not None:
            raise ready.ended
        for asked in (
            {"do": "load", **job, "record": True},
            {"do": "burst", "n": LEAK_CALLS},
            {"do": "vary"},
            {"do": "record", "path": str(path)},
        ):
            reply = process.ask(**asked)
            if not reply["ok"] and asked["do"] != "vary":
                return f"{asked['do']}: {reply['outcome']['message']}"
    except Ended as ended:
        return ": ".join(ended.args)
    finally:
        process.close()
    return ""


class Watch:
    """One launch's card: made before the process opens it, asked at every point."""

    def __init__(self, card: Card, process: MeasuredProcess):
        self._card = card
        self._process = process
        self.found = OnDevice()
        self._before = card.sample()
        self._over = False
        self.enter("import", {})

    def enter(self, point: str, said: Dict[str, Any]) -> None:
        """Keep what the framework ``said`` of its memory at ``point``, and what NVML says."""
        sample = self._card.sample()
        own = number_on_card(self._before, sample, self._process.pid)
        memory = {name: value for name, value in said.items() if value is not None}
        memory["used_mib"] = sample.used_mib
        memory["process_mib"] = (sample.processes or {}).get(own)
        self.found.memory[point] = memory

    def called(self) -> None:
        """After the first call: by now the process is on the card."""
        if self.found.memory["first_call"]["process_mib"] is None:
            self.found.messages.append("NVML does not say what this process holds")

    def warmed_up(self, warmth: Warmth) -> None:
        """After the warm-up, stable or not."""
        if not warmth.settled:
            self.found.messages.append(
                f"the warm-up was not stable after {warmth.calls} calls: its last two bursts "
                f"differ by more than {ALIKE:.0%}"
            )
        self._point("warm_up", do="device_memory")

    def sample_set(self, count: int, burst) -> List[float]:
        """``count`` durations; taken again while the card was disturbed, ``noisy`` at last."""
        found = self.found
        durations, quiet = self._quiet(lambda: burst(self._process, count))
        found.sample, found.throttle, found.foreign = quiet.sample, quiet.throttle, quiet.foreign
        found.retaken, found.noisy = quiet.retaken, quiet.noisy
        found.messages += quiet.messages
        return durations

    def _quiet(self, take: Callable[[], List[float]]) -> Tuple[List[float], OnDevice]:
        """The durations that ``take`` gives, and how the card was at the last of its times."""
        seen, own = OnDevice(), self._process.pid
        while True:
            first = self._card.sample()
            taken = take()
            seen.sample = self._card.sample()
            seen.throttle = held_down(first, seen.sample)
            seen.foreign = foreign_processes(self._before, first, seen.sample, own)
            seen.noisy = contamination(seen.throttle, seen.foreign)
            seen.messages = unknown(first, seen.sample, seen.foreign)
            if not taken or not seen.noisy or seen.retaken == RETAKEN_AT_MOST:
                return taken, seen
            seen.retaken += 1

    def _series(self, name: str, **job: Any) -> Optional[Dict[str, Any]]:
        """The reply with one more series' durations, as ``sample_set`` takes its own."""
        reply: Optional[Dict[str, Any]] = None

        def take() -> List[float]:
            nonlocal reply
            reply = self._ask(name, **job)
            return (reply or {}).get("durations_s", [])

        durations, seen = self._quiet(take)
        found = self.found
        found.retaken += seen.retaken
        if durations and seen.noisy:
            found.throttle = tuple(dict.fromkeys((*found.throttle, *seen.throttle)))
            known = [count for count in (found.foreign, seen.foreign) if count is not None]
            found.foreign = max(known, default=None)
            noisy = [found.noisy] if found.noisy else []
            found.noisy = "; ".join([*noisy, f"{name}: {seen.noisy}"])
        return reply

    def others(self, count: int, known: List[str]) -> None:
        """Memory after the runs, the other series (one of them holds inputs of its own), leak and
        memory after them, and at the end the series that take a session of their own, which holds
        memory of its own; see the module's docstring. Each of these that loads the model anew, and
        all that comes before, is a stage with the whole of its time."""
        self._process.begin()
        self._point("after_runs", do="device_memory")
        for name in OTHER_SERIES:
            if name in known:
                reply = self._series(f"series {name}", do="burst", n=count, series=name)
                if reply:
                    self.found.series[name] = reply["durations_s"]
        after_runs = self._watched("after_runs")
        speaks = not (after_runs or {}).get("over")
        if speaks:  # before other sizes are asked, for which torch.compile makes another program
            self._leak()
        varied = self._point("varied", do="vary")
        if not speaks:  # it takes a session of its own, which leaves memory behind
            self._leak()
        silent = [
            (point, reply["over"])
            for point, reply in (("after_runs", after_runs), ("varied", varied))
            if reply and reply.get("over")
        ]
        # By sessions of their own, which leave memory behind: once NVML was asked everything else.
        for point, runs in silent:
            self._process.begin()
            reply = self._ask(point, do="over", runs=runs)
            if reply:
                self._keep(point, reply["device"])
                self._explain(point, reply)
        self._point("released", do="release")
        for name in SERIES_ASIDE:
            if name in known:
                continue
            self._process.begin()
            reply = self._series(name, do="aside", series=name, n=count)
            if reply and reply["durations_s"]:
                self.found.series[name] = reply["durations_s"]
            elif reply:
                self.found.messages.append(f"{name}: {reply['message']}")

    def _leak(self) -> None:
        reply = self._ask("leak", do="leak", rounds=LEAK_ROUNDS, calls=LEAK_CALLS)
        self.found.leak_bytes = (reply or {}).get("leak_bytes")

    def on_card(self) -> Optional[int]:
        """The process's number in NVML's list now, before it is ended; None where it is not there,
        or cannot be told."""
        sample = self._card.sample()
        number = number_on_card(self._before, sample, self._process.pid)
        return number if number in (sample.processes or {}) else None

    def ended(self, on_card: Optional[int]) -> str:
        """Once the process was ended: memory of the card, and what is to be said where the driver
        has not let go of the process in ``LET_GO_SECONDS``; empty where it has, or where NVML does
        not say who is there. ``on_card`` is the process's number there."""
        if on_card is None:
            return ""
        deadline = time.monotonic() + LET_GO_SECONDS
        while True:
            sample = self._card.sample()
            if on_card not in (sample.processes or {}):
                self.found.memory["ended"] = {"used_mib": sample.used_mib}
                return ""
            if time.monotonic() > deadline:
                break
            time.sleep(LOOK_SECONDS)
        held = sample.processes[on_card]
        what = "is still on the card" if held is None else f"still holds {held:.0f} MiB of the card"
        return f"its process {what} {LET_GO_SECONDS} s after it was ended"

    def _point(self, point: str, **job: Any) -> Optional[Dict[str, Any]]:
        reply = self._ask(point, **job)
        if reply:
            self.enter(point, reply["device"])
            self._explain(point, reply)
        return reply

    def _watched(self, point: str) -> Optional[Dict[str, Any]]:
        """Add to ``point`` what the framework says only of a call that it watches, which must come
        behind all that is timed; what was read before is not read anew."""
        reply = self._ask(point, do="device_memory", call=True)
        if reply:
            before = dict(self.found.memory.get(point, {}))
            self._keep(point, {**reply["device"], **before})
            self._explain(point, reply)
        return reply

    def _keep(self, point: str, said: Dict[str, Any]) -> None:
        known = {name: value for name, value in said.items() if value is not None}
        self.found.memory.setdefault(point, {}).update(known)

    def _explain(self, point: str, reply: Dict[str, Any]) -> None:
        if reply.get("message"):
            self.found.messages.append(f"{point}: {reply['message']}")

    def _ask(self, what: str, **job: Any) -> Optional[Dict[str, Any]]:
        """A frame whose failure costs its figures alone; what was measured so far stands. Where the
        process has ended, by a limit say, nothing more is asked of it."""
        if self._over:
            return None
        try:
            reply = self._process.ask(**job)
        except Ended as ended:
            self._over = True
            self._failed(what, *ended.args)
            return None
        if not reply["ok"]:
            self._failed(what, reply["outcome"]["kind"], reply["outcome"]["message"])
            return None
        return reply

    def _failed(self, what: str, kind: str, message: str) -> None:
        self.found.messages.append(f"{what}: {kind}: {message}")
        if KINDS.get(kind) == "process" and not self.found.broke:
            self.found.broke = (kind, f"{what}: {message}")

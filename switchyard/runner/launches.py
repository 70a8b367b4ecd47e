"""Launches: fresh processes that measure one cell each, one after the other, alone.

A launch imports one runtime, loads one artefact, warms up, and answers ``burst(n)`` until its
budget is spent. Its memory is read at five points. The launch is the unit of replication:
medians of single launches of identical code spread by 18 to 41% on a shared machine.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import select
import statistics
import subprocess
import time
from typing import Any, Dict, List, Mapping, Optional

from switchyard import wire
from switchyard.runner.workers import Limits, kill_tree, private_mib
from switchyard.vocabulary import Outcome, signature_of

#: Seconds of calls that a launch times after its warm-up.
BUDGET_SECONDS = 0.4

#: Samples a launch takes, whatever the budget: a median needs some, a table can hold so many.
FEWEST, MOST = 12, 1000

#: Seconds and calls of warm-up at most.
WARM_SECONDS, WARM_CALLS = 0.25, 50


@dataclasses.dataclass
class Launch:
    """One launch: durations in seconds, memory points in MiB, or the outcome that ended it."""

    durations: List[float] = dataclasses.field(default_factory=list)
    memory: Dict[str, Mapping[str, Optional[float]]] = dataclasses.field(default_factory=dict)
    facts: Dict[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Optional[Outcome] = None


class _Ended(Exception):
    """The launch is over before its time; ``args`` are kind and message."""


class _Process:
    """One measured process and the frames to and from it."""

    def __init__(self, environment, variables, log: pathlib.Path, limits: Limits):
        theirs_read, self._write = os.pipe()
        self._read, theirs_write = os.pipe()
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        with open(log, "wb") as out:
            self._popen = subprocess.Popen(
                [environment.python, "-m", "switchyard.worker.measuring",
                 "--read", str(theirs_read), "--write", str(theirs_write)],
                env=variables,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[theirs_read, theirs_write],
                start_new_session=True,
            )  # fmt: skip
        os.close(theirs_read)
        os.close(theirs_write)

    def ask(self, **job: Any) -> Dict[str, Any]:
        """One frame there and one back. Raises _Ended at a limit or where it died."""
        try:
            wire.send(self._write, job)
        except BrokenPipeError:
            raise _Ended("crash", self._how_it_ended()) from None
        while not select.select([self._read], [], [], 0.1)[0]:
            if time.monotonic() > self._deadline:
                raise _Ended(
                    "timeout", f"no end after {self._limits.seconds:g} s (--stage-timeout)"
                )
            held = private_mib(self._popen.pid, exact=False)
            if held > self._limits.memory_mib:
                raise _Ended(
                    "host-oom",
                    f"{held:.0f} MiB of private memory where {self._limits.memory_mib:g} are "
                    "allowed (--memory-limit)",
                )
        try:
            reply = wire.receive(self._read)
        except wire.BrokenFrame:
            reply = None
        if reply is None:
            raise _Ended("crash", self._how_it_ended())
        return reply

    def _how_it_ended(self) -> str:
        try:
            return f"the measured process ended with status {self._popen.wait(timeout=5)}"
        except subprocess.TimeoutExpired:
            return "the measured process closed its pipe"

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        kill_tree(self._popen.pid)
        self._popen.wait()


def launch(environment, variables, job: Mapping[str, Any], limits: Limits,
           log: pathlib.Path) -> Launch:  # fmt: skip
    """Measure one cell once. ``job`` is the ``load`` frame of the measured process."""
    log.parent.mkdir(parents=True, exist_ok=True)
    process = _Process(environment, variables, log, limits)
    found = Launch()
    try:
        loaded = process.ask(do="load", **job)
        if not loaded["ok"]:
            found.outcome = Outcome.from_dict(loaded["outcome"])
            return found
        found.memory.update(loaded["memory"])
        found.facts = {key: loaded[key] for key in (
            "import_seconds", "load_seconds", "first_call_seconds", "facts")}  # fmt: skip
        typical = _warm(process, loaded["first_call_seconds"])
        count = int(min(MOST, max(FEWEST, BUDGET_SECONDS / max(typical, 1e-7))))
        found.durations = _burst(process, count)
        found.memory["after_runs"] = process.ask(do="memory")
    except _Ended as ended:
        kind, message = ended.args
        found.outcome = Outcome(
            stage="measure",
            verdict="failed",
            kind=kind,
            message=message,
            signature=signature_of(message),
        )
    finally:
        process.close()
    return found


def _burst(process: _Process, count: int) -> List[float]:
    reply = process.ask(do="burst", n=count)
    if not reply["ok"]:
        outcome = reply["outcome"]
        raise _Ended(outcome["kind"], outcome["message"])
    return reply["durations_s"]


def _warm(process: _Process, first_seconds: float) -> float:
    """Call until two bursts agree within 10% or the warm-up's budget is spent; seconds a call."""
    began, size, before = time.monotonic(), 1, first_seconds
    calls = 0
    while True:
        typical = statistics.median(_burst(process, size))
        calls += size
        settled = abs(typical - before) <= 0.1 * before
        if settled and calls >= 5 or calls >= WARM_CALLS:
            return typical
        if time.monotonic() - began > WARM_SECONDS:
            return typical
        before, size = typical, min(size * 2, 16)

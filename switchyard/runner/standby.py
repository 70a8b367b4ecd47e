"""Measured processes, and those that stand by with their runtime imported.

Importing a framework is most of a launch's wall time, keeps one core busy, and disturbs
nothing but a measurement. So several processes import side by side; then one after the other
is given its cell and measured, while all the others wait for a frame and do nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import time
from multiprocessing.connection import wait
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from switchyard import wire
from switchyard.runner.workers import LAST_SECONDS, Limits, kill_session, kill_tree, with_log
from switchyard.vocabulary import silent_end

#: Seconds between two looks at the memory of a process that is awaited. Each walks over every
#: process of the machine, which takes some percent of a core, beside what is being timed.
LOOK_SECONDS = 1.0


class Ended(Exception):
    """A measured process is over before its time, or could not do what was demanded of it;
    ``args`` are kind and message, ``detail`` is of ``workers.with_log``."""

    def __init__(self, kind: str, message: str, detail: str = ""):
        super().__init__(kind, message)
        self.detail = detail


class MeasuredProcess:
    """One measured process and the frames to and from it."""

    def __init__(self, environment, variables, log: pathlib.Path, limits: Limits,
                 module: str = "switchyard.worker.measuring"):  # fmt: skip
        self._limits = limits
        self.log = log
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as undo:
            theirs_read, self._write = os.pipe()
            theirs.callback(os.close, theirs_read)
            undo.callback(os.close, self._write)
            self._read, theirs_write = os.pipe()
            theirs.callback(os.close, theirs_write)
            undo.callback(os.close, self._read)
            log.parent.mkdir(parents=True, exist_ok=True)
            out = theirs.enter_context(open(log, "wb"))
            self._popen = subprocess.Popen(
                [environment.python, "-m", module,
                 "--read", str(theirs_read), "--write", str(theirs_write)],
                env=variables,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                pass_fds=[theirs_read, theirs_write],
                start_new_session=True,
            )  # fmt: skip
            undo.pop_all()
        self._pipes = [self._read, self._write]  # those to be closed
        self._over: Optional[Ended] = None
        self.begin()

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def alive(self) -> bool:
        return self._status(0) is None

    def _status(self, patience: float) -> Optional[int]:
        """How it ended, or None where it has not in ``patience`` seconds. Its session ends as soon
        as it is reaped: later its number may be another's."""
        if self._popen.returncode is None:
            try:
                self._popen.wait(patience)
            except subprocess.TimeoutExpired:
                return None
            kill_session(self.pid)
        return self._popen.returncode

    def begin(self) -> None:
        """From now on the stage's time counts."""
        self._deadline = time.monotonic() + self._limits.seconds

    def ask(self, **job: Any) -> Dict[str, Any]:
        """One frame there and one back. Raises Ended at a limit or where it died."""
        self.send(**job)
        return self.answer()

    def demand(self, **job: Any) -> Dict[str, Any]:
        """As ``ask``. Raises Ended also where the answer is an error."""
        reply = self.ask(**job)
        if not reply["ok"]:
            said = reply["outcome"]
            raise Ended(said["kind"], said["message"], said["detail"])
        return reply

    def send(self, **job: Any) -> None:
        """One frame there; ``answer`` waits for the one back. Raises what ended it before: the
        answer to an earlier frame, come late, would be taken for this one's."""
        if self._over is not None:
            raise self._over
        try:
            wire.send(self._write, job)
        except BrokenPipeError:
            raise self._gone() from None

    def answer(self) -> Dict[str, Any]:
        try:
            return self._answered()
        except Ended as ended:
            self._over = ended
            raise

    def _answered(self) -> Dict[str, Any]:
        while not wait([self._read], self._patience()):
            passed = self._limits.overstepped(self.pid, self._deadline)
            if passed is not None:
                raise Ended(*passed, with_log(self.log))
        try:
            reply = wire.receive(self._read)
        except wire.BrokenFrame:
            reply = None
        if reply is None:
            raise self._gone()
        if not reply["ok"]:
            reply["outcome"]["detail"] = with_log(self.log, reply["outcome"]["detail"])
        return reply

    def _patience(self) -> float:
        """Seconds until the next look, which is at the deadline where that comes first."""
        return min(LOOK_SECONDS, max(0.0, self._deadline - time.monotonic()))

    def _gone(self) -> Ended:
        status = self._status(5)
        if status is None:
            return Ended("crash", "the measured process closed its pipe", with_log(self.log))
        return Ended(*silent_end(status), with_log(self.log))

    def close(self) -> None:
        """End it, and all that it started; once more does what was broken off, or nothing."""
        while self._pipes:
            os.close(self._pipes.pop())
        if self._popen.returncode is None:
            kill_tree(self.pid)
            self._status(LAST_SECONDS)  # one in the driver stays; its cell has its outcome


@dataclasses.dataclass
class Ready:
    """A process that stands by: what it answered to ``prepare``, or what ended it there."""

    process: MeasuredProcess
    prepared: Optional[Dict[str, Any]] = None
    ended: Optional[Ended] = None


#: Version set, environment and runtime: all that a process is before it is given a cell.
Key = Tuple[str, str, str]


def _lost(ready: Ready) -> bool:
    return ready.ended is None and not ready.process.alive


class Standby:
    """Processes by what they imported; ``start(key)`` makes one, ``width`` wait at most."""

    def __init__(self, start: Callable[[Key], MeasuredProcess], width: int):
        self._start = start
        self.width = width
        self._waiting: Dict[Key, List[Ready]] = {}

    def take(self, key: Key, upcoming: Iterable[Key] = ()) -> Ready:
        """A process for ``key``; every other one is idle when this returns.

        Where none stands by, processes for ``upcoming``, the runtimes that will be asked for
        next, are started beside it, as many as may wait. One that somebody ended while it did
        nothing is no cell's fault: it is passed over.
        """
        for ready in [one for one in self._waiting.get(key, ()) if _lost(one)]:
            self._waiting[key].remove(ready)
            ready.process.close()
        if not self._waiting.get(key):
            self._fill([key, *upcoming])
        return self._waiting[key].pop(0)

    def _fill(self, wanted: List[Key]) -> None:
        spare = {key: len(waiting) for key, waiting in self._waiting.items()}
        room = self.width - sum(spare.values())
        started: List[Tuple[Key, Ready]] = []
        try:
            for place, key in enumerate(wanted):
                if spare.get(key):  # one of those that wait will do
                    spare[key] -= 1
                    continue
                if place and len(started) >= room:
                    break
                ready = Ready(self._start(key))
                # Known to ``close`` before anything can interrupt the wait.
                self._waiting.setdefault(key, []).append(ready)
                started.append((key, ready))
            for key, ready in started:
                self._said(ready, lambda one, key=key: one.send(do="prepare", runtime=key[-1]))
            for _, ready in started:
                if ready.ended is None:
                    self._said(ready, lambda one: one.answer())
        except BaseException:  # one that was asked for nothing is ready for no cell
            for key, ready in started:
                ready.process.close()
                self._waiting[key].remove(ready)
            raise

    @staticmethod
    def _said(ready: Ready, what: Callable[[MeasuredProcess], Optional[Dict[str, Any]]]) -> None:
        try:
            ready.prepared = what(ready.process)
        except Ended as ended:
            ready.ended = ended

    def close(self) -> None:
        for waiting in self._waiting.values():
            for ready in waiting:
                ready.process.close()
        self._waiting.clear()

"""Workers' lives: starting an environment's fork server, jobs in it, and their ends.

The runner supervises each child itself: it holds the read end of the child's result pipe
and knows its pid, so a deadline, a memory limit or the death of the server is one cell's
outcome. A kill takes the child's whole process tree.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
from multiprocessing.connection import wait
from typing import Any, Dict, List, Mapping, Optional, Tuple

import psutil

from switchyard import wire
from switchyard.runner import scratch
from switchyard.runner.private_memory import private_mib, tree
from switchyard.vocabulary import NotUsable, Outcome, signature_of, silent_end

#: Seconds between two looks at a child's memory.
POLL_SECONDS = 0.1

#: Seconds a fork server may take to import its frameworks (cold disk, busy machine), or to come to
#: a job behind what earlier jobs have it import, and between two looks at whether the run has
#: ended meanwhile.
START_SECONDS = 300
LOOK_SECONDS = 0.5

#: Seconds that a killed child may take to be gone.
LAST_SECONDS = 60

_MAX_MESSAGE = 1 << 20

#: Lines and characters of a log's end that an outcome's detail has.
_LOG_LINES, _LOG_CHARACTERS = 20, 6000


#: The last line of a traceback that ended a server.
_NOT_IMPORTED = re.compile(r"^(?:ModuleNotFound|Import)Error: .*\Z", re.MULTILINE)


class WorkerFailed(NotUsable):
    """A fork server that did not come up, of this ``kind``; ``detail`` is what it wrote of why."""

    def __init__(self, message: str, kind: str, detail: str = ""):
        super().__init__(message)
        self.kind = kind
        self.detail = detail


class ServerLost(Exception):
    """The fork server died while a job was in it. Running the job alone shows whether it is to
    blame; one that had not ``begun`` is not. ``detail`` is what job and server wrote."""

    def __init__(self, message: str, begun: bool, detail: str = ""):
        super().__init__(message)
        self.begun = begun
        self.detail = detail


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of one job: seconds of wall time, MiB of private memory over its process tree."""

    seconds: float
    memory_mib: float

    def overstepped(self, pid: int, deadline: float) -> Optional[Tuple[str, str]]:
        """Kind and message of the limit that the processes from ``pid`` down are over, or None.
        ``deadline`` is by ``time.monotonic``."""
        if time.monotonic() >= deadline:
            return "timeout", f"no end after {self.seconds:g} s (--stage-timeout)"
        if private_mib(pid, exact=False) <= self.memory_mib:
            return None
        held = private_mib(pid, exact=True)
        if held <= self.memory_mib:
            return None
        allowed = f"where {self.memory_mib:g} are allowed (--memory-limit)"
        return "host-oom", f"{held:.0f} MiB of private memory {allowed}"


@dataclasses.dataclass
class Finished:
    """A job's end: what it sent (None if nothing whole), or the outcome that stopped it."""

    result: Optional[Dict[str, Any]]
    outcome: Optional[Outcome]
    seconds: float


class _Child:
    """The runner's side of one forked child. Its time counts from ``started``, the fork."""

    def __init__(self) -> None:
        self.sent = time.monotonic()
        self.started: Optional[float] = None
        self.pid: Optional[int] = None
        self.exit: Optional[Dict[str, Any]] = None
        self.changed = threading.Condition()

    def overstepped(self, limits: Limits) -> Optional[Tuple[str, str]]:
        """As of ``Limits``; of one that is not forked yet, whether its server hangs."""
        if self.started is not None and self.pid is not None:
            return limits.overstepped(self.pid, self.started + limits.seconds)
        patience = max(START_SECONDS, limits.seconds)
        if time.monotonic() < self.sent + patience:
            return None
        return "timeout", f"its worker did not come to it in {patience:g} s (--stage-timeout)"

    @property
    def seconds(self) -> float:
        """Since its time counts."""
        return time.monotonic() - (self.sent if self.started is None else self.started)


class Worker:
    """One fork server and the jobs in it; safe to use from several threads. Raises WorkerFailed
    where it does not start, or ``ended`` was set before it had."""

    def __init__(self, environment, variables: Mapping[str, str], preload: List[str],
                 log: pathlib.Path, ended: Optional[threading.Event] = None):  # fmt: skip
        self.environment = environment
        self._variables = dict(variables)
        self._preload = preload
        self.log = log
        self._lock = threading.Lock()
        self._children: Dict[str, _Child] = {}
        self._count = 0
        self._lost = self._closing = False
        self._process: Optional[subprocess.Popen] = None
        self._control: Optional[socket.socket] = None
        self.imports: Dict[str, Dict[str, str]] = {}
        #: GPU files that the server holds open: its jobs for the device are spawned, not forked.
        self.touched: List[str] = []
        self._start(ended or threading.Event())

    def _start(self, ended: threading.Event) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = self._spawn(theirs.fileno())
            except BaseException:
                ours.close()
                raise
        deadline, ready = time.monotonic() + START_SECONDS, []
        while not ready and time.monotonic() < deadline and not ended.is_set():
            ready = wait([ours], LOOK_SECONDS)
        body = ours.recv(_MAX_MESSAGE) if ready else b""
        if not body:
            kind, why = self._unstarted(bool(ready))
            ours.close()
            detail = with_log(self.log)
            if found := _NOT_IMPORTED.search(detail):  # numpy, without which no worker speaks
                kind, why = "missing-dependency", found.group()
            name = f"{self.environment.version_set} ({self.environment.name})"
            message = f"the worker of {name} did not start: {why}; it wrote to {self.log}"
            raise WorkerFailed(message, kind, detail)
        hello = wire.unpack(body)
        self.imports = hello["imports"]
        self.touched = hello["touched"]
        self._control = ours
        threading.Thread(target=self._listen, args=(ours,), daemon=True).start()

    def _spawn(self, control: int) -> subprocess.Popen:
        command = [self.environment.python]
        command += ["-m", "switchyard.worker.server", "--control", str(control)]
        command += ["--preload", ",".join(self._preload)]
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            return subprocess.Popen(
                command,
                env=self._variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[control],
                cwd=self.log.parent,
                start_new_session=True,
            )

    def _unstarted(self, closed: bool) -> Tuple[str, str]:
        """Kind and message of a server that said nothing; ``closed`` where it ended by itself."""
        if closed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return silent_end(self._process.wait(LAST_SECONDS))
        self._process.kill()
        self._process.wait()
        return "timeout", f"nothing came of it in {START_SECONDS} s"

    @property
    def alive(self) -> bool:
        # The socket ends before the process can be waited for.
        return not self._lost and self._process is not None and self._process.poll() is None

    def _listen(self, control: socket.socket) -> None:
        """Hand each event to the job it belongs to; at the end of the socket, to all."""
        while True:
            try:
                body = control.recv(_MAX_MESSAGE)
            except OSError:
                body = b""
            if not body:
                break
            event = wire.unpack(body)
            child = self._children.get(event["id"])
            if child is None:
                continue
            with child.changed:
                if event["event"] == "started":
                    child.started, child.pid = time.monotonic(), event["pid"]
                    self.touched = event["touched"] or self.touched
                else:
                    child.exit = event
                child.changed.notify_all()
        if not self._closing:
            self._end_all()
        with self._lock:
            self._lost = True
            children = list(self._children.values())
        for child in children:
            with child.changed:
                child.exit = child.exit or {"lost": True}
                child.changed.notify_all()

    def _end_all(self) -> None:
        """Of a server that was killed: what its jobs started in sessions of their own, of which
        nobody else knows."""
        if folder := self._variables.get(scratch.VARIABLE):
            scratch.end_all(folder)

    def run(
        self, job: Mapping[str, Any], stage: str, limits: Limits, log: pathlib.Path
    ) -> Finished:
        """Do one job in a child of its own. Raises ServerLost if the server went with it.

        ``stage`` is what the outcome says where the child itself could not say anything.
        """
        child = _Child()
        with self._lock:
            if not self.alive:
                raise self._lost_before(stage)
            self._count += 1
            identity = str(self._count)
            self._children[identity] = child
        with contextlib.ExitStack() as undo:
            undo.callback(self._forget, identity)
            read, write = os.pipe()
            undo.callback(os.close, read)
            with contextlib.ExitStack() as theirs:
                theirs.callback(os.close, write)
                log.parent.mkdir(parents=True, exist_ok=True)
                written = theirs.enter_context(open(log, "wb"))
                message = wire.pack({"id": identity, "job": job})
                try:
                    socket.send_fds(self._control, [message], [write, written.fileno()])
                except OSError as error:
                    self._lost = True
                    raise self._lost_before(stage) from error
            return self._supervise(child, read, stage, limits, log)

    def _forget(self, identity: str) -> None:
        with self._lock:
            self._children.pop(identity, None)

    def _lost_before(self, stage: str) -> ServerLost:
        message = f"the fork server ended before {stage} began"
        return ServerLost(message, begun=False, detail=with_log(self.log))

    def _supervise(self, child, read, stage, limits, log) -> Finished:
        received = bytearray()
        gone_by = 0.0
        stopped: Optional[Outcome] = None
        at_end = False
        while True:
            ready = [] if at_end else wait([read], POLL_SECONDS)
            if ready:
                part = os.read(read, 1 << 20)
                received += part
                at_end = not part
                continue
            with child.changed:
                if child.exit is None and at_end:
                    child.changed.wait(POLL_SECONDS)
                if child.exit is not None and at_end:
                    break
                if child.exit is not None and child.exit.get("lost"):
                    break
            # A leftover grandchild may hold the pipe open after the child has ended.
            if child.exit is not None and not wait([read], 0.05):
                break
            if stopped is None:
                passed = child.overstepped(limits)
                if passed is not None:
                    told = self.log if child.pid is None else log
                    stopped = process_outcome(stage, *passed, with_log(told))
                    if child.pid is None:
                        self._process.kill()  # it never came to fork: its imports hang, say
                    else:
                        kill_tree(child.pid)
                    gone_by = time.monotonic() + LAST_SECONDS
            elif time.monotonic() > gone_by:
                break  # in the driver, where no signal reaches it; its cell has its outcome
        if child.pid is not None:
            # The child is reaped and its number may be another's by now; its session is not.
            kill_session(child.pid)
        seconds = child.seconds
        if stopped is not None:
            return Finished(None, stopped, seconds)
        try:
            return Finished(wire.unpack(received), None, seconds)
        except wire.BrokenFrame:  # none, or the beginning of one
            pass
        if child.exit.get("lost"):
            written = f"{with_log(log)}\n{with_log(self.log)}"
            raise ServerLost(f"the fork server died during {stage}", begun=True, detail=written)
        kind, message = silent_end(child.exit["status"])
        outcome = process_outcome(stage, kind, message, with_log(log))
        return Finished(None, outcome, seconds)

    def close(self) -> None:
        """End the server; it takes its children along."""
        self._closing = True
        if self._control is not None:
            try:
                self._control.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            self._control.close()
        if self._process is not None:
            try:
                self._process.wait(timeout=5)
            except subprocess.TimeoutExpired:  # inside an import, say
                self._process.kill()
                self._process.wait()
                self._end_all()


def process_outcome(stage: str, kind: str, message: str, detail: str) -> Outcome:
    """What became of a process that could not say so itself; ``detail`` is of ``with_log``."""
    return Outcome(
        stage=stage,
        verdict="failed",
        kind=kind,
        message=message,
        signature=signature_of(message),
        detail=detail,
    )


def with_log(log: pathlib.Path, detail: str = "") -> str:
    """Where a process's log lies, before ``detail`` or, without one, before the log's last lines,
    which tell what it was doing. For an outcome's detail, which stands in no table."""
    try:
        written = log.read_text(errors="replace").strip()
    except OSError:
        return detail
    if not written:
        return detail or f"its log is empty: {log}"
    last = written[-_LOG_CHARACTERS:].splitlines()[-_LOG_LINES:]
    return "\n".join([f"its log: {log}", *([detail] if detail else last)])


def _session_members(session: int) -> List[int]:
    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == session:
                members.append(pid)
        except OSError:
            continue
    return members


def kill_tree(pid: int) -> None:
    """End a child, its descendants and every process of its session."""
    for process in tree(pid):
        try:
            process.kill()
        except psutil.Error:
            continue
    kill_session(pid)


def kill_session(session: int) -> None:
    """End whatever a child that led ``session`` left behind."""
    for member in _session_members(session):
        try:
            os.kill(member, signal.SIGKILL)
        except OSError:
            continue

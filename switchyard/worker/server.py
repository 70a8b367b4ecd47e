"""The fork server of one environment: imports frameworks once, forks a child for each job.

Runs no framework operation itself (a forked child that inherits a used thread pool hangs),
never imports the zoo, and holds no threads. It speaks with the runner over one SEQPACKET
socket: a job comes as one frame with two descriptors beside it, the job's result pipe and
its log; ``started`` and ``exited`` go back. The child writes its result into its own pipe, so
that a result reaches the runner even if this server dies. It ends when its socket does, and
takes every child with all its descendants along.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import importlib.util
import os
import signal
import socket
import sys
import traceback
from multiprocessing.connection import wait
from typing import Any, Dict, Iterable, List, Mapping, Set

from switchyard import wire
from switchyard.worker.spawned import become
from switchyard.worker.touching import open_devices, poisoned

MAX_MESSAGE = 1 << 20
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def die_with(parent: int) -> None:
    """Ask the kernel to kill this process when ``parent``, which forked it, ends (Linux).

    The kernel counts the end of the forking *thread*, so that the server itself, which any
    thread of the runner may have forked, must not ask for it; its socket's end is its end.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before it could be asked for
        os._exit(1)


def keep_orphans() -> None:
    """Ask the kernel to make processes whose parents end this process's children, whatever
    session they are in (prctl(2), PR_SET_CHILD_SUBREAPER): so that whoever ends the tree below
    it ends all of it, also what a converter put into the background."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def parents() -> Dict[int, List[int]]:
    """Process -> its children, of all there are (proc(5), ``stat``)."""
    below: Dict[int, List[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", errors="replace") as stat:
                parent = int(stat.read().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
        below.setdefault(parent, []).append(int(name))
    return below


def descendants(pid: int) -> List[int]:
    """The processes below ``pid``, whatever their session."""
    below = parents()
    found = list(below.get(pid, ()))
    for each in found:  # grows while it is gone through
        found.extend(below.get(each, ()))
    return found


def _kill(pid: int) -> None:
    """End a process and all below it."""
    for each in (*descendants(pid), pid):
        try:
            os.kill(each, signal.SIGKILL)
        except ProcessLookupError:
            pass


def import_in_order() -> None:
    """Import Triton before anything brings in TensorFlow, where both are installed.

    Both hold an LLVM, of which each finds the other's: behind TensorFlow 2.21 the import of Triton
    3.7 ends the process by SIGSEGV, before it all is well. torch brings Triton in when it exports
    or compiles, so also where there is no GPU: its builds on PyPI for Linux come with it.
    """
    if all(importlib.util.find_spec(name) for name in ("triton", "tensorflow")):
        try:
            import triton  # noqa: F401
        except Exception:  # who has a use for it will be told the same, and in its place
            pass


def preload(modules: List[str]) -> Dict[str, Dict[str, str]]:
    """Import each module; module -> {} or what its import raised."""
    import_in_order()
    from switchyard.hops import import_required
    from switchyard.worker.blame import outcome_of

    found: Dict[str, Dict[str, str]] = {}
    for name in modules:
        try:
            import_required(name)
            found[name] = {}
        except Exception as error:  # whatever an import raises is that module's own affair
            found[name] = outcome_of(error, "import").as_dict()
    return found


def device_variables(job: Mapping[str, Any]) -> Dict[str, str]:
    """What a job's process has to have in its environment before CUDA could be started."""
    if job.get("device", "cpu") == "cpu":  # what is made on the CPU cannot even see the card
        return {"CUDA_VISIBLE_DEVICES": "-1"}
    if job["do"] == "ask" and job["runtime"].startswith(("ort", "tf")):
        # Nothing is timed there but whose nodes take how long (``placement``): a node on the device
        # then takes until it is done, not until it is launched. torch.compile chooses between
        # kernels by timing them, and what it chooses there is what will be measured.
        return {"CUDA_LAUNCH_BLOCKING": "1"}
    return {}


def run_child(message: Dict[str, Any], result: int, log: int, server: int) -> None:
    """In the forked child: do the job, send its result, and end. Never returns."""
    status = 1
    try:
        os.setsid()
        die_with(server)
        keep_orphans()
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(device_variables(message["job"]))
        from switchyard.worker import jobs

        outcome = jobs.run(message["job"])
        sys.stdout.flush()
        sys.stderr.flush()
        wire.send(result, outcome)
        status = 0
    except BaseException:
        os.write(2, traceback.format_exc().encode())
    finally:
        # No exit handlers: those of the frameworks belong to the server.
        os._exit(status)


class Server:
    """The loop: jobs in, children out."""

    def __init__(self, control: socket.socket):
        self._control = control
        self._children: Dict[int, str] = {}
        self._preloaded: Set[str] = set()

    def serve(self) -> None:
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write)
        try:
            while True:
                ready = wait([self._control, wake_read])
                if wake_read in ready:
                    os.read(wake_read, 4096)
                    self._reap()
                if self._control in ready and not self._take():
                    return
        finally:
            for child in self._children:
                _kill(child)

    def _take(self) -> bool:
        """Take one job; False at the end of the socket."""
        body, descriptors, _, _ = socket.recv_fds(self._control, MAX_MESSAGE, 2)
        if not body:
            return False
        message = wire.unpack(body)
        result, log = descriptors
        self._preload(message["job"].get("preloads", ()))
        touched = open_devices() if message["job"].get("device", "cpu") != "cpu" else []
        pid = self._fork(message, result, log, bool(touched))
        os.close(result)
        os.close(log)
        self._children[pid] = message["id"]
        self._tell({"event": "started", "id": message["id"], "pid": pid, "touched": touched})
        return True

    def _fork(self, message: Dict[str, Any], result: int, log: int, afresh: bool) -> int:
        """A child that does the job, as a fork of this process or, ``afresh``, as a new one."""
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._control.close()
            # a job for the CPU too: where a card is seen, torch asks it for its random state there
            if afresh or (os.environ.get("CUDA_VISIBLE_DEVICES") != "-1" and poisoned()):
                become(message, result, log, server)
            run_child(message, result, log, server)
        return pid

    def _preload(self, modules: Iterable[str]) -> None:
        """Import what this job's converter would import in every child anew."""
        for name in modules:
            if name not in self._preloaded:
                self._preloaded.add(name)
                try:
                    importlib.import_module(name)
                except Exception:  # a child that needs it fails on it, and says so in its job
                    traceback.print_exc()

    def _reap(self) -> None:
        for pid in list(self._children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found == 0:
                continue
            self._tell(
                {
                    "event": "exited",
                    "id": self._children.pop(pid),
                    "pid": pid,
                    "status": os.waitstatus_to_exitcode(status),
                }
            )

        self._end_orphans()

    def _end_orphans(self) -> None:
        """End what an ended job left behind: a child of this process that is no job's. (What
        a job that still runs has orphaned is that job's own child.)"""
        for pid in parents().get(os.getpid(), ()):
            if pid not in self._children:
                _kill(pid)
                os.waitpid(pid, os.WNOHANG)  # one that has yet to end says so by its own signal

    def _tell(self, event: Dict[str, Any]) -> None:
        self._control.send(wire.pack(event))


def main() -> None:
    parser = argparse.ArgumentParser(prog="switchyard.worker.server")
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("--preload", default="")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the runner's to handle
    control = socket.socket(fileno=options.control)
    imports = preload([name for name in options.preload.split(",") if name])
    # So that no child need import them; the API of the zoo is among them, no model is.
    from switchyard import hops, runtimes
    from switchyard.worker import asking, building, diagnosis, jobs, reference  # noqa: F401

    hops.builtin()
    runtimes.builtin()
    control.send(
        wire.pack(
            {
                "event": "ready",
                "pid": os.getpid(),
                "imports": imports,
                "touched": open_devices(),
            }
        )
    )
    keep_orphans()
    Server(control).serve()


if __name__ == "__main__":
    main()

"""Workers that are real, of the tests' own interpreter, and jobs for them.

A job is ``describe`` of a file that misbehaves when it is imported.
"""

from __future__ import annotations

import sys
import textwrap
import time
import types
from pathlib import Path

import psutil

from switchyard.runner.workers import Limits

#: Limits that no job comes near unless it is meant to.
AMPLE = Limits(seconds=120, memory_mib=4096)

FAKE = types.SimpleNamespace(
    version_set="fake",
    name="core",
    python=sys.executable,
    bin=str(Path(sys.executable).parent),
    fingerprint="fake",
)


def until(condition, patience=60):
    """Wait for ``condition``; False where it never came."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def gone(pid, patience=60):
    return until(lambda: ended(pid), patience)


def ended(pid):
    """Whether ``pid`` names no running process; it may end while it is being looked at."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def job(folder, code, name="entries"):
    file = folder / f"{name}.py"
    file.write_text(textwrap.dedent(code))
    return {"do": "describe", "file": str(file)}


def server_pid(worker):
    return worker._process.pid

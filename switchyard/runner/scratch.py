"""Where a run's processes put their temporary files, and by which they are known again.

A process that is killed removes nothing of its own, and there are large things among what it
leaves (a SavedModel half written, an engine of TensorRT). So each fork server and each measured
process is given a folder of the run's for them, as ``TMPDIR``, which goes when the run ends, and
where that is killed itself, when the next begins. Its descendants inherit the name: where their
parents are gone, it tells whose they were. A run holds its folder locked, by which others see that
it goes on.
"""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
import threading
import time
from typing import List, Optional

import psutil
from filelock import FileLock, Timeout

#: Where ``tempfile``, and most that is not Python, puts temporary files.
VARIABLE = "TMPDIR"

#: How the name of a run's folder begins, and the file in it that the run holds locked.
PREFIX, ALIVE = "switchyard-", "alive"

#: How often, and after how many seconds, it is looked whether a killed process is gone: one in the
#: driver may never be.
LOOKS, BETWEEN_LOOKS = 20, 0.05


class Scratch:
    """The run's folder, made when first needed: a collection leaves no trace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Optional[tempfile.TemporaryDirectory] = None
        self._alive: Optional[FileLock] = None

    def folder(self) -> str:
        """A new one. Its path is short: a Unix socket's may have 107 bytes."""
        with self._lock:
            return tempfile.mkdtemp(dir=self._made())

    def shared(self, name: str) -> str:
        """The one of that name, for all processes of the run that ask for it."""
        with self._lock:
            folder = os.path.join(self._made(), name)
            os.makedirs(folder, exist_ok=True)
            return folder

    def _made(self) -> str:
        if self._root is None:
            self._root = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
            # Locked before it has the name by which others look at it.
            made = os.path.join(self._root.name, "made")
            self._alive = FileLock(made)
            self._alive.acquire()
            os.rename(made, os.path.join(self._root.name, ALIVE))
        return self._root.name

    def others(self) -> int:
        """How many other runs of this user go on now, as far as their folders lie where this one's
        does. What runs left that were killed is removed."""
        with self._lock:
            own = self._made()
        going_on = 0
        for file in glob.glob(os.path.join(glob.escape(os.path.dirname(own)), f"{PREFIX}*", ALIVE)):
            folder = os.path.dirname(file)
            if folder == own:
                continue
            try:
                with FileLock(file, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
            except Timeout:
                going_on += 1
            except OSError:  # it ended meanwhile
                continue
        return going_on

    def close(self) -> None:
        """Remove all of them."""
        with self._lock:
            if self._root is not None:
                self._root.cleanup()
                self._alive.release()
                self._root = self._alive = None


def _with(folder: str) -> List[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == folder:
                found.append(process)
        except psutil.Error:  # another user's, or gone
            continue
    return found


def end_all(folder: str) -> None:
    """End every process that was given ``folder``, and their descendants, whatever their session
    and parent; one that is started meanwhile as well."""
    for _ in range(LOOKS):
        found = _with(folder)
        if not found:
            return
        for process in found:
            try:
                process.kill()
            except psutil.Error:
                continue
        time.sleep(BETWEEN_LOOKS)  # not a wait for them, which would take their status from others

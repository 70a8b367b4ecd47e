"""Where a run's processes put their temporary files, and by which they are known again.

A process that is killed removes nothing of its own, and there are large things among what it
leaves (a SavedModel half written, an engine of TensorRT). So each fork server and each measured
process is given a folder of the run's for them, as ``TMPDIR``, which goes when the run ends (unless
it is killed itself). Its descendants inherit the name: where their parents are gone, it tells whose
they were.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from typing import List, Optional

import psutil

#: Where ``tempfile``, and most that is not Python, puts temporary files.
VARIABLE = "TMPDIR"

#: How often, and after how many seconds, it is looked whether a killed process is gone: one in the
#: driver may never be.
LOOKS, BETWEEN_LOOKS = 20, 0.05


class Scratch:
    """The run's folder, made when first needed: a collection leaves no trace."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._root: Optional[tempfile.TemporaryDirectory] = None

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
            self._root = tempfile.TemporaryDirectory(
                prefix="switchyard-", ignore_cleanup_errors=True
            )
        return self._root.name

    def close(self) -> None:
        """Remove all of them."""
        with self._lock:
            if self._root is not None:
                self._root.cleanup()
                self._root = None


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

"""The memory that a process tree has to itself: what a job's limit is held against."""

from __future__ import annotations

import contextlib
from typing import List, Tuple

import psutil

#: Where the kernel tells of each process, proc(5).
PROC = "/proc"


def tree(pid: int) -> List[psutil.Process]:
    """A process and its descendants; nothing where it is gone."""
    try:
        root = psutil.Process(pid)
        found = {process.pid: process for process in [root] + root.children(recursive=True)}
    except psutil.NoSuchProcess:
        found = {}
    return list(found.values())


def private_mib(pid: int, exact: bool) -> float:
    """Private memory of a process tree in MiB, what is swapped out included.

    ``exact``: what smaps_rollup calls private. Not ``exact``, and where that cannot be read
    (another's process, an older kernel): resident less shared, cheap; too high by the pages that a
    forked child still shares with its server, and without those of files and of shared memory that
    nobody else has mapped.
    """
    total = 0
    for process in tree(pid):
        if exact:
            with contextlib.suppress(OSError):
                total += _bytes_of(process.pid, "smaps_rollup", ("Private_", "Swap:"))
                continue
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            memory = process.memory_info()
            total += memory.rss - memory.shared
        with contextlib.suppress(OSError):
            total += _bytes_of(process.pid, "status", ("VmSwap:",))
    return total / (1024 * 1024)


def _bytes_of(pid: int, file: str, fields: Tuple[str, ...]) -> int:
    """The sum of those fields of a file that has them in kB. Raises OSError."""
    with open(f"{PROC}/{pid}/{file}") as lines:
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(fields))

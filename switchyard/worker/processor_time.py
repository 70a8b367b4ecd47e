"""What a process and its companions compute: CPU time, as the kernel counts it."""

from __future__ import annotations

import os
import time
from typing import Sequence


def cpu_seconds(companions: Sequence[int] = ()) -> float:
    """Seconds that all threads of this process have run, in user and in kernel mode, and those of
    ``companions``, process ids: of these in ticks, of 10 ms on most systems (proc(5), utime and
    stime). A thread that spins while it waits runs."""
    ticks = 0
    for process in companions:
        with open(f"/proc/{process}/stat") as stat:
            behind_name = stat.read().rpartition(")")[2].split()  # a name may hold spaces
        ticks += sum(map(int, behind_name[11:13]))
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")

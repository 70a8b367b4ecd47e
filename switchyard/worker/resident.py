"""What a process holds in memory: its resident set, the program in it, and its heap's free part.

How many pages of a library are resident depends on how the page cache holds the file (what a fault
maps around itself, and in folios of what size), not on the model: one installation of ONNX Runtime
and a copy of it, byte for byte the same, differ by more than a tenth of the whole. They are shared
between processes, and the kernel drops them when it wants memory; so they are told apart.
"""

from __future__ import annotations

import ctypes
from typing import Dict, Iterable, Optional, Sequence, Set, Union

_MIB = 1024 * 1024


class _MallInfo2(ctypes.Structure):
    """glibc's ``struct mallinfo2`` (mallinfo(3)); sizes in bytes."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        ).split()
    ]


def heap_free_mib() -> Optional[float]:
    """Free bytes that glibc's allocator holds on to, in MiB; None without mallinfo2 (2.33)."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    mallinfo2.restype = _MallInfo2
    return mallinfo2().fordblks / _MIB


def program_mib(smaps: Iterable[str]) -> float:
    """Resident pages of program files that are still the file's, MiB, from the lines of
    ``/proc/PID/smaps`` (proc(5)).

    A program file is one of which some part is mapped to be executed. Its pages that were written
    to (relocations, variables) are the process's own by then, ``Anonymous``, and no part of this;
    neither is another file that is mapped, such as a model's weights.
    """
    pages: Dict[str, int] = {}
    programs: Set[str] = set()
    name = ""
    for line in smaps:
        key, _, rest = line.partition(" ")
        if not key.endswith(":"):
            fields = line.split(None, 5)  # addresses, permissions, offset, device, inode, name
            name = fields[5] if len(fields) == 6 and fields[5].startswith("/") else ""
            if name and "x" in fields[1]:
                programs.add(name)
        elif name and key in ("Rss:", "Anonymous:"):
            kib = int(rest.split()[0])
            pages[name] = pages.get(name, 0) + (kib if key == "Rss:" else -kib)
    return sum(pages[each] for each in programs) / 1024


#: proc(5)'s names, and ours.
_IN_STATUS = {"VmRSS": "rss_mib", "VmHWM": "peak_mib"}


def memory_now(companions: Sequence[int] = ()) -> Dict[str, Optional[float]]:
    """Resident set and its peak, MiB (proc(5), VmRSS and VmHWM), what of it is program, and the
    heap's free part.

    With ``companions``, process ids, the sums over all; the peaks need not have been at one
    time, so that theirs is a bound. Of the heap only a process itself can tell. None is what the
    kernel does not say: some sandboxes' has no VmHWM.
    """
    found: Dict[str, Optional[float]] = {"rss_mib": None, "peak_mib": None, "program_mib": 0.0}
    process: Union[str, int]
    for process in ("self", *companions):
        with open(f"/proc/{process}/status") as status:
            for line in status:
                key, _, rest = line.partition(":")
                if key in _IN_STATUS:
                    name = _IN_STATUS[key]
                    found[name] = (found[name] or 0.0) + int(rest.split()[0]) / 1024
        with open(f"/proc/{process}/smaps", errors="surrogateescape") as smaps:
            found["program_mib"] += program_mib(smaps)
    found["heap_free_mib"] = None if companions else heap_free_mib()
    return found

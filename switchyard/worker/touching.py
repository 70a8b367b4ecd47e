"""Which GPU device files this process holds open.

A process that has opened the driver cannot hand it to a forked child: CUDA refuses to start
there again. So the fork server looks before it forks (proc(5), ``fd``).
"""

from __future__ import annotations

import os
import sys
from typing import List


def poisoned() -> bool:
    """Whether torch knows that the parent of this forked child had asked CUDA for something,
    which need leave no file open; False where it has no such flag."""
    cuda = getattr(sys.modules.get("torch"), "cuda", None)
    try:
        return bool(cuda._is_in_bad_fork())
    except Exception:  # no torch, or one without the flag
        return False


def open_devices(folder: str = "/proc/self/fd") -> List[str]:
    """The ``/dev/nvidia*`` files among the open descriptors, each once, sorted.

    Empty where ``folder`` cannot be read: nothing is known then.
    """
    found = set()
    try:
        descriptors = os.listdir(folder)
    except OSError:
        return []
    for descriptor in descriptors:
        try:
            target = os.readlink(os.path.join(folder, descriptor))
        except OSError:  # closed since it was listed
            continue
        if target.startswith("/dev/nvidia"):
            found.add(target)
    return sorted(found)

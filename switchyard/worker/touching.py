"""Which GPU device files this process holds open.

A process that has opened the driver cannot hand it to a forked child: CUDA refuses to start
there again. So the fork server looks before it forks (proc(5), ``fd``).
"""

from __future__ import annotations

import os
from typing import List


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

"""torch's record of its CUDA allocations, in the format of its viewer (pytorch.org/memory_viz).

The format is a pickle of ``torch.cuda.memory._snapshot()``, as torch's own ``_dump_snapshot``
writes it since 2.1; nothing of Switchyard ever reads one.
"""

from __future__ import annotations

import os
import pickle
import sys
from typing import Any, Dict, Iterator, Sequence

#: Allocations that a record keeps, the newest.
RECORDED = 100_000


def begin() -> None:
    """From now on remember every allocation, with its Python frames."""
    import torch

    torch.cuda.init()
    remember = torch.cuda.memory._record_memory_history
    try:
        # Its default also keeps C++ frames, whose names take minutes to find when written.
        remember(max_entries=RECORDED, stacks="python")
    except TypeError:  # torch 2.0
        remember(True, trace_alloc_max_entries=RECORDED, trace_alloc_record_context=True)


def write(path: str) -> None:
    """What was remembered, without the names of this machine's folders: results are shared."""
    import torch

    snapshot = torch.cuda.memory._snapshot()
    shorten(snapshot, sys.path)
    with open(path, "wb") as file:
        pickle.dump(snapshot, file)


def shorten(snapshot: Any, folders: Sequence[str]) -> None:
    """In place: each frame's file from below the innermost of ``folders`` (a module's own path), or
    its last part alone."""
    inner_first = sorted(filter(None, map(os.path.abspath, folders)), key=len, reverse=True)
    known: Dict[str, str] = {}

    def short(name: str) -> str:
        if not os.path.isabs(name):  # "<string>", what torch could not name, and a shared frame
            return name
        inside = (one for one in inner_first if name.startswith(one + os.sep))
        folder = next(inside, os.path.dirname(name))
        return os.path.relpath(name, folder)

    for frame in _frames(snapshot):
        name = frame["filename"]
        if name not in known:
            known[name] = short(name)
        frame["filename"] = known[name]


def _frames(snapshot: Any) -> Iterator[Dict[str, Any]]:
    """Wherever they stand: at allocations, at blocks, at what a block's history was (torch 2.0)."""
    if isinstance(snapshot, dict):
        if "filename" in snapshot:
            yield snapshot
        for value in snapshot.values():
            yield from _frames(value)
    elif isinstance(snapshot, (list, tuple)):
        for value in snapshot:
            yield from _frames(value)

"""Which files the building of a model reads: checkpoints, and what else decides what it is.

A model's answers rest on them as they rest on its code, so what was made of the model is stale once
one has changed. What is read through Python (``open``, so ``torch.load``, ``numpy.load``, ``json``)
is seen by an audit hook (PEP 578); what a library reads by itself, as safetensors does, is not, and
is named by ``files=`` of the entry.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from typing import Dict, Iterator, Set

#: Files of the kernel's, which are no files of anybody's.
_NOT_ON_DISK = ("/proc/", "/sys/", "/dev/")

_BLOCK = 1 << 20

_read: Set[str] = set()
_state = {"hooked": False, "noting": False}


def note() -> None:
    """From now on ``noting`` notes. For jobs whose result says what it was made from: an audit hook
    stays as long as its process, and a process that is timed has none."""
    if not _state["hooked"]:
        _state["hooked"] = True
        sys.addaudithook(_heard)


@contextlib.contextmanager
def noting() -> Iterator[None]:
    """Whatever is opened to be read in the block, by any thread, counts."""
    before, _state["noting"] = _state["noting"], True
    try:
        yield
    finally:
        _state["noting"] = before


def _heard(event: str, arguments: tuple) -> None:
    if event != "open" or not _state["noting"]:
        return
    path, mode, flags = arguments
    if isinstance(path, int) or not _reads(mode, flags):
        return
    with contextlib.suppress(Exception):  # a hook that raises would make the model's open fail
        _read.add(os.path.abspath(os.fsdecode(path)))


def _reads(mode: object, flags: object) -> bool:
    """Whether a file is opened to be read alone: ``open`` says how by its mode, ``os.open`` by its
    flags."""
    if isinstance(mode, str):
        return "r" in mode and "+" not in mode
    return isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) == 0


def noted() -> Set[str]:
    """The absolute paths of what was read so far and is still there; no bytecode, which says
    nothing that its source does not."""
    return {
        path
        for path in _read
        if not path.startswith(_NOT_ON_DISK) and not path.endswith(".pyc") and os.path.isfile(path)
    }


def digest(path: str) -> str:
    """The sha256 of a file, of whatever size. Raises OSError."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            found.update(block)
    return found.hexdigest()


def digests(paths) -> Dict[str, str]:
    """path -> ``digest``."""
    return {path: digest(path) for path in paths}

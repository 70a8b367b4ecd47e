"""Removing the environments that nobody needs any longer.

A lock that changes leaves its environment behind, and so does each derived set and each night's
``nightly``. Needed is what a lock under ``version_sets/`` asks for, of whatever flavour, and what
was used of late, by whatever set or checkout: provisioning dates an environment each time.
"""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path
from typing import Iterator

import psutil

from switchyard.runner.environments import home_of
from switchyard.runner.installation import last_used, remove_unheld
from switchyard.runner.inventory import size, there
from switchyard.runner.version_sets import FLAVOURS, version_sets

_DAY_S = 24 * 60 * 60


@dataclasses.dataclass(frozen=True)
class Pruned:
    """An environment that is not needed. ``size_bytes`` as the disk counts it, files left out that
    one before it has too. Where it is still there, ``in_use`` or an ``error`` says why."""

    name: str
    size_bytes: int
    unused_days: int
    in_use: bool = False
    error: str = ""


def prune(days: int, folder: Path | None = None) -> Iterator[Pruned]:
    """Remove what no lock of ``folder`` (the version sets) asks for and no run has used for
    ``days`` days, and nothing else, one with every step. Raises BadSet before the first."""
    needed = locked(folder)
    now = time.time()
    seen: set[tuple[int, int]] = set()
    for home in there():
        used = last_used(home)
        if home in needed or used > now - days * _DAY_S:
            continue
        one = Pruned(home.name, size([home], seen) or 0, int((now - used) / _DAY_S))
        try:
            removed = not _running(home) and remove_unheld(home, used)
            yield dataclasses.replace(one, in_use=not removed)
        except OSError as error:
            yield dataclasses.replace(one, error=str(error))


def locked(folder: Path | None = None) -> set[Path]:
    """Where the environments lie that the locks of every set and flavour mean."""
    return {
        home_of(set_, environment, flavour)[0]
        for set_ in version_sets(folder).values()
        if set_.folder is not None
        for environment in set_.environments
        for flavour in FLAVOURS
        if set_.lock(environment, flavour).exists()
    }


def _running(home: Path) -> bool:
    """Whether a process was started from there, or names something in there."""
    inside = f"{home}{os.sep}"
    return any(
        inside in word
        for process in psutil.process_iter(["cmdline"])
        for word in process.info["cmdline"] or ()
    )

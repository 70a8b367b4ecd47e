"""Whether something else computed while calls were timed, from the cores that these kept busy."""

from __future__ import annotations

from collections.abc import Iterable

#: A process that computes keeps a core busy, or more: with nothing beside it 0.93 at least in 44
#: cells of four runtimes, beside two jobs on two cores less than this in 40 of 44 (docs/timing.md).
A_CORE = 0.85

#: The part of the timed cells that may be below it without a word: a single one may wait for
#: something of its own.
FEW = 0.1


def crowded(timed: Iterable[tuple[str, float | None]]) -> str:
    """What is to be said of a run, from the device and ``cores_busy`` of its cells (None or NaN
    where it is not known); "" where nothing is. A cell on a device waits for that."""
    busy = [cores for device, cores in timed if device == "cpu" and cores is not None]
    known = [cores for cores in busy if cores == cores]
    below = sum(cores < A_CORE for cores in known)
    if below <= FEW * len(known):
        return ""
    return (
        f"{below} of {len(known)} timed cells kept less than {A_CORE} of a core busy: something "
        "else computed on the machine meanwhile, or they waited, and their times say little"
    )

"""What an allocator wastes, as three numbers, and what a model leaks: pure functions.

Of memory that an allocator took from the device (reserved), a part is handed out (allocated),
and of that the callers asked for a part (requested); the rest is free inside the allocator.

    slack    = 1 - allocated / reserved                taken and not handed out
    external = 1 - sum of largest free / sum of free   free, and not in one piece
    internal = 1 - requested / allocated               handed out and never asked for

Each lies in [0, 1) and is None where a framework does not say what it needs, or where it would
divide by nothing: never 0 for what is not known.
"""

from __future__ import annotations

from typing import Any, Dict, Hashable, Iterable, List, Mapping, Optional, Sequence


def slack(allocated: Optional[float], reserved: Optional[float]) -> Optional[float]:
    """The share of what the allocator reserved that is handed out to nobody."""
    return _missing_share(allocated, reserved)


def internal(requested: Optional[float], allocated: Optional[float]) -> Optional[float]:
    """The share of what was handed out that nobody asked for: rounding to block sizes."""
    return _missing_share(requested, allocated)


def external(free: Mapping[Hashable, Sequence[float]]) -> Optional[float]:
    """The share of the free bytes that lies outside the largest free block of its pool.

    ``free``: pool -> sizes of its free blocks. A request is served from one pool alone, so
    that blocks of two pools never make up for each other: the pools' own numbers, each
    weighed by its free bytes, which is 1 - sum of the largest / sum of all.
    """
    pools = [blocks for blocks in free.values() if sum(blocks)]
    total = sum(sum(blocks) for blocks in pools)
    return 1 - sum(max(blocks) for blocks in pools) / total if total else None


def free_blocks(snapshot: Iterable[Mapping[str, Any]]) -> Dict[Hashable, List[float]]:
    """pool -> free block sizes, bytes, from ``torch.cuda.memory_snapshot()``.

    A pool is what torch serves a request from: device, stream, private pool (a CUDA graph's)
    and small or large. Only ``inactive`` blocks are free; one that awaits its free
    (``active_pending_free``, ``active_awaiting_free``) cannot be used again yet.
    """
    found: Dict[Hashable, List[float]] = {}
    for segment in snapshot:
        pool = tuple(
            str(segment.get(name))
            for name in ("device", "stream", "segment_pool_id", "segment_type")
        )
        for block in segment["blocks"]:
            if block["state"] == "inactive":
                found.setdefault(pool, []).append(block["size"])
    return found


def slope(calls: Sequence[float], allocated: Sequence[Optional[float]]) -> Optional[float]:
    """Bytes that each further call leaves behind: the least-squares slope of ``allocated``
    over ``calls``. None where a value is missing or there are fewer than three."""
    if len(calls) < 3 or len(calls) != len(allocated) or None in allocated:
        return None
    middle_x, middle_y = sum(calls) / len(calls), sum(allocated) / len(allocated)
    spread = sum((x - middle_x) ** 2 for x in calls)
    if not spread:
        return None
    return sum((x - middle_x) * (y - middle_y) for x, y in zip(calls, allocated)) / spread


def _missing_share(part: Optional[float], whole: Optional[float]) -> Optional[float]:
    return None if part is None or not whole else 1 - part / whole

"""How a benchmark says what it found: figures side by side, and the goal met or missed."""

from __future__ import annotations

import os
from typing import Sequence, Union

Value = Union[str, float, int]


def _text(value: Value) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1f}" if abs(value) >= 100 else f"{value:.3g}"


def table(header: Sequence[str], rows: Sequence[Sequence[Value]]) -> None:
    """Print rows under a header: the first column to the left, figures to the right."""
    lines = [tuple(header)] + [tuple(_text(value) for value in row) for row in rows]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(line[1:], widths[1:])]
        print("  ".join(cells).rstrip())


def at_most(what: str, value: float, goal: float, unit: str) -> bool:
    """Print a figure that should be small, and whether it is."""
    met = value <= goal
    word = "met" if met else "goal missed"
    print(f"{what}: {_text(value)} {unit} (goal: at most {goal:g} {unit}): {word}")
    return met


def times_less(what: str, dear: float, cheap: float, goal: float) -> bool:
    """Print how many times less ``cheap`` is than ``dear``, and whether that is enough."""
    ratio = dear / cheap if cheap > 0 else float("inf")
    word = "met" if ratio >= goal else "goal missed"
    print(f"{what}: {_text(ratio)} times less (goal: {goal:g} times less): {word}")
    return ratio >= goal


def conditions() -> None:
    """Print what else decides these figures: the cores, and who shares them."""
    cores, load = len(os.sched_getaffinity(0)), os.getloadavg()[0]
    print(f"{cores} cores, load average {load:.2f} before the first measurement\n")

"""What a command writes: lines to the screen, or a report to the one file that was named."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

#: SGR codes of ``rendering.STYLES``.
_CODES = {"heading": "1", "good": "32", "wrong": "33;1", "bad": "31", "new": "31;1", "quiet": "2"}


def terminal():
    """For standard output as it is: its width, its encoding, colour where it is a terminal.

    NO_COLOR (https://no-color.org) turns colour off. Lines are never made for less than 80
    columns, since a table that is cut says less than one that wraps.
    """
    from switchyard.compare.rendering import Terminal, plain

    def paint(text: str, style: str) -> str:
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style in _CODES else text

    # an error message may hold what this terminal cannot show; a sign for it is enough
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = shutil.get_terminal_size((80, 24)).columns
    return Terminal(
        width=max(80, min(160, width)),
        unicode="utf" in (getattr(sys.stdout, "encoding", "") or "").lower(),
        paint=paint if colour else plain,
    )


def show(lines: Iterable[str]) -> None:
    """Print lines; a reader that has seen enough (``| head``) is no error."""
    try:
        for line in lines:
            print(line)
        sys.stdout.flush()
    except BrokenPipeError:
        # the interpreter flushes once more at its end, and would complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(message: str) -> int:
    """Say on standard error what went wrong; the exit status for it."""
    print(f"switchyard: {message}", file=sys.stderr)
    return 2


def conflict(targets: Sequence[tuple[str, str]], inputs: Sequence[Path]) -> str:
    """Why these ``(option, FILE)`` cannot all be written; "" where they can."""
    seen: list[str] = []
    protected = set()
    for path in inputs:
        names = [path] if path.is_file() else [path, *path.iterdir()] if path.is_dir() else []
        protected.update(name.resolve() for name in names)
    for option, name in targets:
        place = name if name == "-" else str(Path(name).resolve())
        if place in seen:
            return f"{option} {name}: two reports cannot go to one place"
        if name != "-" and Path(name).resolve() in protected:
            return f"{option} {name}: that is part of a table that is read; name another file"
        seen.append(place)
    return ""


def write(name: str, pieces: Iterable[bytes]) -> None:
    """To the file of that name, or to standard output for ``-``. Raises OSError."""
    if name == "-":
        sys.stdout.flush()
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    with open(name, "wb") as file:
        file.writelines(pieces)

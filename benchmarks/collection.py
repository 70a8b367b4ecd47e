"""What does collecting the yard cost beyond collecting as many empty items?

Alternately, in the same interpreter with the same plugins: ``pytest bench/ --collect-only -q``
and the same over a scratch folder with as many files, each with a test parametrized over as
many numbers. Medians of the wall time. One run of either goes before, uncounted: it fills
the zoo's descriptions, which are cached by content, and the bytecode, which is kept in a
scratch folder for both, since a shell that forbids writing it would compile at every start.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Dict, List, Tuple

import goals
import sessions

GOAL_SECONDS = 0.5
EMPTY = """\
import pytest


@pytest.mark.parametrize("number", range({count}))
def test_{name}(number):
    pass
"""


def collect(root: pathlib.Path, bytecode: pathlib.Path, *arguments: str) -> Tuple[float, int]:
    """Wall seconds and items of one collection of ``bench/`` under ``root``."""
    command = [sys.executable, "-m", "pytest", "bench/", "--collect-only", "-q", *arguments]
    variables = {**os.environ, "PYTHONPYCACHEPREFIX": str(bytecode)}
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)
    seconds = time.monotonic() - began
    found = re.search(r"^(\d+) tests collected", done.stdout, re.M)
    if found is None:
        sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, int(found.group(1))


def empty_items(root: pathlib.Path, files: int, items: int) -> None:
    """A folder ``bench`` of ``files`` files with ``items`` empty items in all."""
    (root / "bench").mkdir(parents=True)
    (root / "pytest.ini").write_text("[pytest]\n")
    for place in range(files):
        count = items // files + (place < items % files)
        text = EMPTY.format(count=count, name=f"empty_{place}")
        (root / "bench" / f"test_empty_{place}.py").write_text(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tier", default="quick")
    options = parser.parse_args()
    goals.conditions()
    files = len(list((sessions.PROJECT / "bench").glob("test_*.py")))
    with tempfile.TemporaryDirectory(prefix="switchyard-benchmark-") as folder:
        scratch, bytecode = pathlib.Path(folder) / "empty", pathlib.Path(folder) / "bytecode"
        collections = {
            "yard": (sessions.PROJECT, bytecode, "--tier", options.tier),
            "empty": (scratch, bytecode),
        }
        _, items = collect(*collections["yard"])
        empty_items(scratch, files, items)
        collect(*collections["empty"])
        took: Dict[str, List[float]] = {name: [] for name in collections}
        for place in range(options.rounds):
            for name in sorted(collections, reverse=place % 2 == 0):
                seconds, found = collect(*collections[name])
                if found != items:
                    sys.exit(f"{found} items where there were {items}: the zoo was edited")
                took[name].append(seconds)
    yard, empty = (statistics.median(took[name]) for name in ("yard", "empty"))
    goals.table(
        ("seconds", "median", "least", "most"),
        [
            (label, statistics.median(took[name]), min(took[name]), max(took[name]))
            for label, name in (
                (f"pytest bench/ --collect-only, {items} items", "yard"),
                (f"{items} empty items in {files} files", "empty"),
            )
        ],
    )
    print(f"\nratio {yard / empty:.2f}, medians of {options.rounds} alternating rounds")
    goals.at_most("collection beyond empty items", yard - empty, GOAL_SECONDS, "s")


if __name__ == "__main__":
    main()

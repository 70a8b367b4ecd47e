"""Runs over ``bench/`` as a user starts them, in a cache that begins empty.

The version set's environments are shared with the user's own cache (installing them is
measured nowhere here); artefacts, descriptions and compiled kernels are not.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, Iterator, List, Sequence

PROJECT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from switchyard.runner import environments  # noqa: E402  found by the line above
from switchyard.runner.options import DEFAULT_SET  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Session:
    """One pytest process: from its start to its end by this process's monotonic clock, what
    ``observed`` noted, and the rows of its table."""

    began: float
    ended: float
    spans: Dict[str, List[List[float]]]
    marks: Dict[str, float]
    rows: List[Dict[str, str]]

    @property
    def wall(self) -> float:
        return self.ended - self.began


@contextlib.contextmanager
def scratch_cache() -> Iterator[pathlib.Path]:
    """A cache with the default version set's environments and nothing else."""
    for name in environments.find(DEFAULT_SET).environments:
        environments.provision(DEFAULT_SET, name)
    with tempfile.TemporaryDirectory(prefix="switchyard-benchmark-") as folder:
        cache = pathlib.Path(folder)
        (cache / "environments").symlink_to(environments.cache_root() / "environments")
        yield cache


def run_bench(cache: pathlib.Path, arguments: Sequence[str]) -> Session:
    """Run ``pytest bench/`` with ``arguments`` in ``cache``.

    Cells that fail do not matter here; a run that could not be made does, and ends this one.
    """
    with tempfile.TemporaryDirectory(prefix="run-", dir=cache) as folder:
        place = pathlib.Path(folder)
        variables: Dict[str, Any] = {
            **os.environ,
            "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent),
            "SWITCHYARD_CACHE": str(cache),
            "SWITCHYARD_OBSERVED": str(place / "observed.json"),
        }
        command = [sys.executable, "-m", "pytest", "bench/", "-p", "observed"]
        command += ["-p", "no:cacheprovider", "--results", str(place / "results"), *arguments]
        began = time.monotonic()
        done = subprocess.run(command, cwd=PROJECT, env=variables, capture_output=True, text=True)
        ended = time.monotonic()
        if done.returncode not in (0, 1):
            sys.exit(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        noted = json.loads((place / "observed.json").read_text())
        (table,) = (place / "results").glob("*/cells.csv")
        with open(table, newline="") as lines:
            rows = list(csv.DictReader(lines))
    return Session(began, ended, noted["spans"], noted["marks"], rows)


def covered(spans: Sequence[Sequence[float]]) -> float:
    """Seconds in which at least one of ``spans`` was under way."""
    total, until = 0.0, float("-inf")
    for began, ended, *_ in sorted(spans):
        total += max(0.0, ended - max(began, until))
        until = max(until, ended)
    return total

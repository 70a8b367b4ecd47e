"""Real runs of ``pytest bench/``, each a subprocess with a cache and a mark of its own."""

from __future__ import annotations

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Dict, List

import psutil
import pytest
from live_workers import AMPLE, FAKE

from switchyard.runner import environments, nvml, staging
from switchyard.runner.crew import Crew

ROOT = Path(__file__).resolve().parents[1]
MARK = "SWITCHYARD_TEST_MARK"

#: The suites that need no measuring.
CHEAP = ("bench/test_conversion.py", "bench/test_accuracy.py")

#: Seconds after which a run is taken for hung; none comes near it.
PATIENCE = 900


def marked(mark: str) -> List[psutil.Process]:
    """Every process that carries a run's mark in its environment, whoever its parent is."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


@dataclasses.dataclass
class Ended:
    """One run that came to its end."""

    status: int
    output: str
    results: Path
    mark: str

    @property
    def folder(self) -> Path:
        (only,) = self.results.iterdir()
        return only

    @property
    def rows(self) -> Dict[str, Dict[str, str]]:
        """``MODEL-ROUTE`` -> the row of ``cells.csv``, as text."""
        with open(self.folder / "cells.csv", newline="") as table:
            return {f"{row['model']}-{row['route']}": row for row in csv.DictReader(table)}

    def outcome(self, cell: str) -> tuple:
        row = self.rows[cell]
        return row["stage"], row["kind"], row["verdict"]

    def left_behind(self, patience: float = 30) -> List[psutil.Process]:
        """What still lives of the run, once it had time to end."""
        deadline = time.monotonic() + patience
        while (found := marked(self.mark)) and time.monotonic() < deadline:
            psutil.wait_procs(found, timeout=0.5)
        return found


class Bench:
    """``pytest bench/`` for real, on a cache that shares only the installed packages."""

    def __init__(self, cache: Path, folder: Path):
        self.cache = cache
        self.folder = folder
        self.expects_nothing = folder / "no-expectations"
        self.expects_nothing.mkdir()

    def start(self, *arguments, files=CHEAP, results=None, **variables) -> subprocess.Popen:
        """Begin a run; ``mark`` and ``results`` stand on what is returned."""
        mark = uuid.uuid4().hex
        results = results or self.folder / f"results-{mark[:8]}"
        kept = {n: v for n, v in os.environ.items() if not n.startswith(("PYTEST_", "COV_"))}
        command = [sys.executable, "-m", "pytest", *files, "--color=no", "--results", results,
                   "-o", f"cache_dir={self.folder / 'pytest-cache'}", "--expectations",
                   self.expects_nothing, *arguments]  # fmt: skip
        log = self.folder / f"output-{mark[:8]}.txt"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env={**kept, MARK: mark, "SWITCHYARD_CACHE": str(self.cache), **variables},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                # A shell's background job ignores Ctrl-C, and its children with it.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        process.mark, process.results, process.log = mark, results, log
        return process

    def end(self, process: subprocess.Popen) -> Ended:
        try:
            status = process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            for one in marked(process.mark):
                one.kill()
            raise
        output = process.log.read_text(errors="replace")
        return Ended(status, output, process.results, process.mark)

    @staticmethod
    def only(*cells: str) -> List[str]:
        """The arguments that select just these cells, by ``MODEL-ROUTE``."""
        return ["-k", " or ".join(f":{cell}]" for cell in cells)]

    def __call__(self, *arguments, **more) -> Ended:
        return self.end(self.start(*arguments, **more))


@pytest.fixture(scope="session")
def fresh_cache(tmp_path_factory) -> Path:
    """A cache without artefacts, so that every conversion is really made, but with the
    environments that are already installed."""
    cache = tmp_path_factory.mktemp("cache")
    installed = environments.cache_root() / "environments"
    installed.mkdir(parents=True, exist_ok=True)
    (cache / "environments").symlink_to(installed)
    return cache


@pytest.fixture(scope="session")
def bench(fresh_cache, tmp_path_factory) -> Bench:
    return Bench(fresh_cache, tmp_path_factory.mktemp("runs"))


def pytest_runtest_setup(item):
    """What needs a card is skipped where there is none, with what was looked for."""
    if item.get_closest_marker("gpu") is not None:
        try:
            nvml.find(0)
        except nvml.NoDevice as error:
            pytest.skip(str(error))


@pytest.fixture
def staged(tmp_path):
    return staging.stage(tmp_path / "cache")


@pytest.fixture
def crew(tmp_path, staged, monkeypatch):
    """One whose only environment is the tests' own; ``said`` is what it said."""
    monkeypatch.setattr(environments, "provision", lambda *asked, **more: FAKE)
    said = []
    crew = Crew(staged, tmp_path / "cache", tmp_path / "logs", AMPLE, {}, said.append)
    crew.said = said
    crew.environment("fake", "core")
    yield crew
    crew.close()

"""The journal of a run: one JSON object a line, appended and flushed as things happen.

The journal is the truth of a run; ``cells.csv`` and the parquet files are made from it.
A killed process loses nothing that was finished: each entry is one ``write`` of a whole
line, taken back where it fails. Only the last line can be torn, and it is left out when read, and
reported.

Entries::

    {"event": "planned", "schema": 1, "cells": [{five columns and what is known before}]}
    {"event": "row",     "cell": {five columns}, "fields": {...}}
    {"event": "state",   "cell": {...}, "state": "done"}
    {"event": "figure",  "cell": {...}, "probe_or_condition": "batch=5", "metric": "mse",
                         "value": 1e-9, "unit": ""}
    {"event": "samples", "cell": {...}, "launch": 0, "durations_s": [...]}

Infinite numbers stand as ``Infinity``, which Python's json writes and reads.
"""

from __future__ import annotations

import array
import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Iterator, Mapping

from switchyard.tables import schema
from switchyard.vocabulary import Cell

JOURNAL_NAME = "journal.jsonl"


class JournalDamaged(ValueError):
    """A line other than the last is no entry; somebody else wrote into the file."""


class JournalBusy(RuntimeError):
    """Another process is writing this run."""


class UnplannedCell(KeyError):
    """A cell that was never planned was given a result."""

    def __init__(self, cell: Cell):
        super().__init__(f"{cell.id} was never planned, so it can have no result")


@dataclasses.dataclass(frozen=True)
class Figure:
    """One number that does not fit the cell's row. ``value`` is in ``unit``."""

    probe_or_condition: str
    metric: str
    value: float
    unit: str


@dataclasses.dataclass(frozen=True)
class LaunchSamples:
    """The durations one fresh process measured, in seconds, in the order taken."""

    launch: int
    durations_s: array.array


class Ledger:
    """What the entries add up to. The same code serves the live run and the replay.

    ``rows`` is ordered as planned. With ``series=False`` figures and samples are not kept,
    which is what a live run wants: they may be millions of numbers.
    """

    def __init__(self, series: bool):
        self._series = series
        self.rows: dict[Cell, dict[str, Any]] = {}
        self.figures: dict[Cell, list[Figure]] = {}
        self.samples: dict[Cell, list[LaunchSamples]] = {}

    def apply(self, entry: Mapping[str, Any]) -> None:
        """Take one entry in; unknown events are an error, since the file is ours alone."""
        event = entry["event"]
        if event == "planned":
            for fields in entry["cells"]:
                self._plan(fields)
            return
        cell = schema.cell_of(entry["cell"])
        if cell not in self.rows:
            raise UnplannedCell(cell)
        if event == "row":
            self.rows[cell].update(entry["fields"])
        elif event == "state":
            self.rows[cell]["state"] = entry["state"]
        elif event == "figure":
            if self._series:
                figure = Figure(*(entry[f.name] for f in dataclasses.fields(Figure)))
                self.figures.setdefault(cell, []).append(figure)
        elif event == "samples":
            if self._series:
                durations = array.array("d", entry["durations_s"])
                self.samples.setdefault(cell, []).append(LaunchSamples(entry["launch"], durations))
        else:
            raise ValueError(f"unknown event {event!r}")

    def _plan(self, fields: Mapping[str, Any]) -> None:
        cell = schema.cell_of(fields)
        if self.rows.get(cell, {}).get("state") == "done":
            return  # resumed: what is done stays
        # A cell planned again starts over: half of an interrupted attempt mixed into the
        # next one would be a row that no run ever measured.
        self.rows[cell] = {**fields, "schema": schema.SCHEMA_VERSION, "state": "planned"}
        self.figures.pop(cell, None)
        self.samples.pop(cell, None)

    def done(self) -> frozenset[Cell]:
        return frozenset(cell for cell, row in self.rows.items() if row["state"] == "done")


@dataclasses.dataclass(frozen=True)
class Replay:
    """A ledger and what became of the journal's last line.

    ``intact_bytes`` is where the last whole line ends; ``torn`` is what stands after it.
    """

    ledger: Ledger
    intact_bytes: int
    torn: str


def _entries(path: Path) -> Iterator[tuple[int, bytes]]:
    with path.open("rb") as file:
        yield from enumerate(file, start=1)


def replay(folder: Path, series: bool = True) -> Replay:
    """Read the journal of ``folder``. Raises JournalDamaged, naming the line.

    A last line without its newline is torn even where it happens to parse: nothing says
    that it is all that was meant (``12`` may have been ``123``).
    """
    path = Path(folder) / JOURNAL_NAME
    ledger, intact, torn = Ledger(series), 0, ""
    for number, line in _entries(path):
        if not line.endswith(b"\n"):
            torn = line.decode("utf-8", "replace")
            break
        try:
            ledger.apply(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise JournalDamaged(
                f"{path}, line {number}: not an entry of a run's journal ({error}); "
                "restore the file, or start a new run instead of resuming this one"
            ) from error
        intact += len(line)
    return Replay(ledger, intact, torn)


class Journal:
    """The append-only file. One process writes; a second one gets JournalBusy.

    Opening an existing journal cuts a torn last line off, after ``replay`` reported it.
    """

    def __init__(self, folder: Path):
        import fcntl  # on Unix alone, and tables are read elsewhere too

        self.path = Path(folder) / JOURNAL_NAME
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._descriptor)
            raise JournalBusy(
                f"{self.path} is being written by another process; wait for it to end"
            ) from None

    def cut(self, intact_bytes: int) -> None:
        """Drop everything after the first ``intact_bytes``."""
        os.ftruncate(self._descriptor, intact_bytes)

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one entry; when this returns, a kill of this process cannot lose it. Raises
        OSError where it cannot be written (the disk is full): then nothing of it stands."""
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
        began = os.fstat(self._descriptor).st_size
        view = memoryview(line)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except BaseException:
            # Else the next entry were glued to the half of this one, and no line could be read.
            self.cut(began)
            raise

    def sync(self) -> None:
        """Make what was written survive a power cut as well."""
        os.fsync(self._descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

"""The folder of one run: ``cells.csv``, ``figures.parquet``, ``samples.parquet``, ``run.json``.

Every change goes to the journal first, then into the rows held here, and now and then
into ``cells.csv``, which is always replaced whole. The parquet files are made at the end.
"""

from __future__ import annotations

import csv
import datetime
import json
import os
import re
import threading
import time
from pathlib import Path
from typing import Any, Iterable, Mapping, Sequence

from switchyard.tables import schema
from switchyard.tables.journal import JOURNAL_NAME, Journal, Ledger, UnplannedCell, replay
from switchyard.tables.replacing import replace_atomically
from switchyard.vocabulary import Cell, UnknownName

CELLS_NAME = "cells.csv"
FIGURES_NAME = "figures.parquet"
SAMPLES_NAME = "samples.parquet"
PROVENANCE_NAME = "run.json"

#: Seconds between two rewritings of ``cells.csv``.
SECONDS_BETWEEN_WRITES = 1.0

#: A large table may cost this share of the run at most, however long writing it takes.
WRITING_SHARE = 0.05

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_APOSTROPHE_ADDED = re.compile(r"'+[=+\-@\t\r]")


def guarded(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe before ``= + - @ TAB CR``.

    Text that already begins with apostrophes and one of those gets one more, so that
    ``unguarded`` gives back exactly what was there.
    """
    return "'" + text if _FORMULA.match(text) else text


def unguarded(text: str) -> str:
    """The inverse of ``guarded``."""
    return text[1:] if _APOSTROPHE_ADDED.match(text) else text


def as_written(value: Any) -> str:
    """A field as it stands in the CSV: floats by repr, so that they read back the same."""
    if value is None:
        return ""
    if isinstance(value, str):
        return guarded(value)
    return repr(value)


def run_name(
    started: datetime.datetime, version_sets: Sequence[str], devices: Sequence[str], tier: str
) -> str:
    """``20261122T204500-torch2.13-tf2.21-cpu-quick``, time in UTC.

    Of several version sets the first is named, with how many more there are.
    """
    sets = version_sets[0] + (f"+{len(version_sets) - 1}more" if len(version_sets) > 1 else "")
    stamp = started.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S")
    name = "-".join([stamp, sets, *devices, tier])
    return re.sub(r"[^A-Za-z0-9._+-]+", "_", name)


class RunFolder:
    """One run's results while it runs. Make one with ``create`` or ``reopen``.

    Methods may be called from several threads of the one runner process. A field that is
    not in the schema, or of another type, is refused at the call.
    """

    def __init__(self, path: Path, journal: Journal, ledger: Ledger, about: dict[str, Any]):
        self.path = path
        self.torn = ""
        self._journal = journal
        self._ledger = ledger
        self._about = about
        self._lock = threading.RLock()
        self._unwritten = True
        self._next_write = 0.0

    @classmethod
    def create(
        cls,
        results: Path,
        *,
        version_sets: Sequence[str],
        devices: Sequence[str],
        tier: str,
        started: datetime.datetime | None = None,
    ) -> "RunFolder":
        """Make a folder of its own under ``results``; two runs in one second get two."""
        started = started or datetime.datetime.now(datetime.timezone.utc)
        name = run_name(started, version_sets, devices, tier)
        attempt = 1
        while True:
            path = Path(results) / (name if attempt == 1 else f"{name}.{attempt}")
            try:
                path.mkdir(parents=True)
                break
            except FileExistsError:
                attempt += 1
        about = {
            "schema_version": schema.SCHEMA_VERSION,
            "state": "running",
            "started": started.astimezone(datetime.timezone.utc).isoformat(timespec="seconds"),
            "version_sets": list(version_sets),
            "devices": list(devices),
            "tier": tier,
        }
        run = cls(path, Journal(path), Ledger(series=False), about)
        run.record()
        return run

    @classmethod
    def reopen(cls, path: Path) -> "RunFolder":
        """Take up an earlier run. ``done`` says what needs no second time.

        Raises FileNotFoundError where there is nothing to take up (a folder that was copied
        without its journal is none: all cells would start over in its place), ValueError where the
        run has another schema version, JournalBusy where its process still lives.
        """
        path = Path(path)
        try:
            about = json.loads((path / PROVENANCE_NAME).read_text("utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} holds no {PROVENANCE_NAME}: not a run's folder"
            ) from None
        if about.get("schema_version") != schema.SCHEMA_VERSION:
            raise ValueError(
                f"{path} was written with table schema {about.get('schema_version')}, this "
                f"Switchyard writes {schema.SCHEMA_VERSION}: start a new run instead"
            )
        if not (path / JOURNAL_NAME).is_file():
            raise FileNotFoundError(
                f"{path} holds no {JOURNAL_NAME}, from which a run goes on: restore it from where "
                "the run was made, or start a new run"
            )
        journal = Journal(path)
        try:
            replayed = replay(path, series=False)
        except BaseException:
            journal.close()
            raise
        journal.cut(replayed.intact_bytes)
        about["state"] = "running"
        about["resumed"] = int(about.get("resumed", 0)) + 1
        run = cls(path, journal, replayed.ledger, about)
        run.torn = replayed.torn
        run.record()
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def about(self) -> dict[str, Any]:
        """What ``run.json`` says, as a copy."""
        return dict(self._about)

    @property
    def done(self) -> frozenset[Cell]:
        """The cells that are finished, from earlier sittings of this run as well."""
        with self._lock:
            return self._ledger.done()

    def rows(self) -> list[dict[str, Any]]:
        """All rows in the order planned, with every column; None where nothing is known."""
        with self._lock:
            return [self._whole_row(row) for row in self._ledger.rows.values()]

    def row(self, cell: Cell) -> dict[str, Any]:
        """One row, likewise. Raises UnplannedCell."""
        with self._lock:
            if cell not in self._ledger.rows:
                raise UnplannedCell(cell)
            return self._whole_row(self._ledger.rows[cell])

    @staticmethod
    def _whole_row(row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: row.get(name) for name in schema.NAMES}

    def plan(self, cells: Iterable[Cell] | Mapping[Cell, Mapping[str, Any]]) -> None:
        """Write down every planned cell, before anything runs.

        A mapping gives what is already known of each (family, hops, tier ...). When
        resuming, plan again: cells that are done stay, all others start over.
        """
        known = cells if isinstance(cells, Mapping) else {cell: {} for cell in cells}
        planned = []
        for cell, fields in known.items():
            planned.append({**self._checked(fields), **schema.key_of(cell)})
        self._enter({"event": "planned", "schema": schema.SCHEMA_VERSION, "cells": planned})
        self._journal.sync()
        self.flush(force=True)

    def update(self, cell: Cell, **fields: Any) -> None:
        """Merge ``fields`` into the cell's row; None empties one."""
        for name in fields:
            if name in schema.KEY or name in ("schema", "state"):
                raise ValueError(f"column {name} is not set by update")
        self._enter_of(cell, {"event": "row", "fields": self._checked(fields)})

    def state(self, cell: Cell, state: str) -> None:
        """Set how far the run came with the cell: running, done, interrupted."""
        if state not in schema.STATES:
            raise UnknownName("state", state, schema.STATES)
        self._enter_of(cell, {"event": "state", "state": state})

    def figure(
        self, cell: Cell, probe_or_condition: str, metric: str, value: float, unit: str = ""
    ) -> None:
        """Keep one number that does not fit the row."""
        entry = {
            "event": "figure",
            "probe_or_condition": probe_or_condition,
            "metric": metric,
            "value": float(value),
            "unit": unit,
        }
        self._enter_of(cell, entry)

    def samples(self, cell: Cell, launch: int, durations_s: Iterable[float]) -> None:
        """Keep every duration one launch measured, in seconds, in the order taken."""
        durations = [float(duration) for duration in durations_s]
        self._enter_of(cell, {"event": "samples", "launch": launch, "durations_s": durations})

    def flush(self, force: bool = False) -> None:
        """Bring ``cells.csv`` up to date, at most once a second unless ``force``."""
        with self._lock:
            now = time.monotonic()
            if not self._unwritten or (now < self._next_write and not force):
                return
            self._write_cells()
            took = time.monotonic() - now
            self._next_write = now + max(SECONDS_BETWEEN_WRITES, took / WRITING_SHARE)
            self._unwritten = False

    def record(self, **provenance: Any) -> None:
        """Merge into ``run.json``. What it holds is published: see ``provenance``."""
        with self._lock:
            self._about.update(provenance)
            text = json.dumps(self._about, indent=1, ensure_ascii=False, default=str)
            replace_atomically(self.path / PROVENANCE_NAME, text.encode() + b"\n")

    def close(self, whole: bool, **provenance: Any) -> None:
        """End the run: cells still running become interrupted, planned ones stay planned.

        ``whole`` says that nothing narrowed the selection; the run counts as whole only
        if it also came to its end.
        """
        with self._lock:
            unfinished = 0
            for cell, row in list(self._ledger.rows.items()):
                if row["state"] == "running":
                    self.state(cell, "interrupted")
                unfinished += row["state"] != "done"
            self._unwritten = True
            self.flush(force=True)
            self._journal.sync()
            self._write_series()
            # Last, since readers take a folder that is still ``running`` from its journal.
            self.record(
                **{
                    "ended": datetime.datetime.now(datetime.timezone.utc).isoformat(
                        timespec="seconds"
                    ),
                    **provenance,
                    "rows": len(self._ledger.rows),
                    "unfinished": unfinished,
                    "whole": bool(whole) and unfinished == 0,
                    "state": "interrupted" if unfinished else "done",
                }
            )
            self._journal.close()

    @staticmethod
    def _checked(fields: Mapping[str, Any]) -> dict[str, Any]:
        return {name: schema.checked(name, value) for name, value in fields.items()}

    def _enter_of(self, cell: Cell, entry: dict[str, Any]) -> None:
        if cell not in self._ledger.rows:
            raise UnplannedCell(cell)
        self._enter({**entry, "cell": schema.key_of(cell)})
        self.flush()

    def _enter(self, entry: Mapping[str, Any]) -> None:
        with self._lock:
            self._journal.append(entry)
            self._ledger.apply(entry)
            self._unwritten = True

    def _write_cells(self) -> None:
        target = self.path / CELLS_NAME
        temporary = target.with_name(f".{CELLS_NAME}.writing")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(schema.NAMES)
            for row in self._ledger.rows.values():
                writer.writerow([as_written(row.get(name)) for name in schema.NAMES])
        os.replace(temporary, target)

    def _write_series(self) -> None:
        import pyarrow
        import pyarrow.parquet

        ledger = replay(self.path).ledger
        for name, table in (
            (FIGURES_NAME, figures_table(ledger)),
            (SAMPLES_NAME, samples_table(ledger)),
        ):
            table = table.replace_schema_metadata({"switchyard_schema": str(schema.SCHEMA_VERSION)})
            temporary = self.path / f".{name}.writing"
            pyarrow.parquet.write_table(table, temporary, compression="zstd")
            os.replace(temporary, self.path / name)


def figures_table(ledger: Ledger):
    """The figures as a pyarrow table: the cell's columns, then one number a row."""
    import pyarrow

    fields = [(name, pyarrow.string()) for name in (*schema.KEY, "probe_or_condition", "metric")]
    fields += [("value", pyarrow.float64()), ("unit", pyarrow.string())]
    rows = [
        {**schema.key_of(cell), **vars(figure)}
        for cell, figures in ledger.figures.items()
        for figure in figures
    ]
    return pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(fields))


def samples_table(ledger: Ledger):
    """The durations as a pyarrow table: a row a launch, its durations in one list."""
    import pyarrow

    fields = [(name, pyarrow.string()) for name in schema.KEY]
    fields += [("launch", pyarrow.int64()), ("durations_s", pyarrow.list_(pyarrow.float64()))]
    rows = [
        {**schema.key_of(cell), "launch": taken.launch, "durations_s": taken.durations_s}
        for cell, launches in ledger.samples.items()
        for taken in launches
    ]
    return pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(fields))

"""What is known not to work: one table per version set and device, every row with a reason.

A row names a cell that does not pass and where it stops: stage, kind and verdict. An
outcome that differs, also an unexpected success, is a failure until the row is changed on
purpose, with ``--accept --reason``.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import pathlib
from typing import Collection, Dict, Iterable, List, Optional, Tuple

from switchyard.tables.replacing import replace_atomically
from switchyard.tables.writing import guarded, unguarded
from switchyard.vocabulary import (
    KINDS,
    PASSING,
    SUITE_OF_STAGE,
    UNACCEPTABLE_KINDS,
    VERDICTS,
    Cell,
    NotUsable,
    Outcome,
    UnknownName,
    stage_base,
)

COLUMNS = ("precision", "model", "route", "stage", "kind", "verdict", "reason")


#: What is nobody's known failure: faults of the moment, and the harness's own.
NEVER_EXPECTED = {*UNACCEPTABLE_KINDS, *(k for k, family in KINDS.items() if family == "harness")}


class BadExpectations(NotUsable):
    """A table of expectations that cannot be believed: file, line and what is wrong."""


class AsExpected(Exception):
    """Raised by a test whose cell stopped just where its expectation says."""


@dataclasses.dataclass(frozen=True)
class Expectation:
    """A cell that is known not to pass."""

    stage: str
    kind: str
    verdict: str
    reason: str

    @property
    def suite(self) -> str:
        """The suite that owns the stage; later suites of the cell skip and name it."""
        return SUITE_OF_STAGE[stage_base(self.stage)]

    def met_by(self, outcome: Outcome) -> bool:
        return (self.stage, self.kind, self.verdict) == (
            outcome.stage, outcome.kind, outcome.verdict)  # fmt: skip

    def __str__(self) -> str:
        return f"{self.verdict} at {self.stage} ({self.kind})"


Key = Tuple[str, str, str]


def row_key(cell: Cell) -> Key:
    return (cell.precision, cell.model, cell.route)


class Expectations:
    """The table of one version set and device; ``exists`` is False where there is none.

    ``start``: the table of the set it is derived from, whose rows hold until it has a table of
    its own; ``starts_from`` is then that table's path, else None.
    """

    def __init__(self, path: pathlib.Path, start: Optional[pathlib.Path] = None):
        self.path = path
        own = path.is_file()
        self.starts_from = start if not own and start is not None and start.is_file() else None
        self.exists = own or self.starts_from is not None
        read = self.starts_from or path
        self._rows: Dict[Key, Expectation] = _read(read) if self.exists else {}
        self._found = dict(self._rows)

    @property
    def changed(self) -> bool:
        """Whether it holds other rows than it was found with."""
        return self._rows != self._found

    def of(self, cell: Cell) -> Optional[Expectation]:
        return self._rows.get(row_key(cell))

    def forget(self, models: Collection[str]) -> None:
        """Expect nothing of these models: others of their names were meant."""
        for rows in (self._rows, self._found):
            for key in [key for key in rows if key[1] in models]:
                del rows[key]

    def stray(self, models: Collection[str], routes: Collection[str]) -> List[str]:
        """The rows that can meet no cell, since there is no such model or route."""
        return [
            f"{model}-{route}"
            for _, model, route in self._rows
            if model not in models or route not in routes
        ]

    def __len__(self) -> int:
        return len(self._rows)

    def accept(self, outcomes: Iterable[Tuple[Cell, Outcome]], reason: str) -> List[str]:
        """Take these cells' outcomes as expected; returns the difference, a line a cell.

        A cell that passes loses its row; one that already stands as it ended keeps its old
        reason. What may not be accepted is said in a line and left as it was.
        """
        lines = []
        for cell, outcome in outcomes:
            old = self.of(cell)
            if outcome.verdict in PASSING:
                if old is not None:
                    del self._rows[row_key(cell)]
                    lines.append(f"- {cell.short}: {old}")
                continue
            if outcome.kind in NEVER_EXPECTED:
                why = ": its environment could not be made" if outcome.stage == "resolve" else ""
                lines.append(f"! {cell.short}: {outcome.kind} cannot be accepted{why}")
                continue
            if old is not None and old.met_by(outcome):
                continue
            new = Expectation(outcome.stage, outcome.kind, outcome.verdict, reason)
            self._rows[row_key(cell)] = new
            lines.append(f"~ {cell.short}: {old} -> {new}" if old else f"+ {cell.short}: {new}")
        return lines

    def write(self) -> None:
        """Replace the table at once, rows in order of model and route."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key in sorted(self._rows, key=lambda key: (key[1], key[2], key[0])):
            row = self._rows[key]
            cells = (*key, row.stage, row.kind, row.verdict, row.reason)
            writer.writerow(map(guarded, cells))  # a reason is anybody's text
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(self.path, out.getvalue().encode())
        self.exists, self.starts_from = True, None


def _read(path: pathlib.Path) -> Dict[Key, Expectation]:
    rows: Dict[Key, Expectation] = {}
    with open(path, encoding="utf-8", newline="") as source:
        reader = csv.DictReader(source)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise BadExpectations(f"{path}: the first line should be {','.join(COLUMNS)}")
        for texts in reader:
            row = {name: unguarded(v) if isinstance(v, str) else v for name, v in texts.items()}
            where = f"{path}:{reader.line_num}"
            if None in row or None in row.values():
                raise BadExpectations(f"{where}: not {len(COLUMNS)} columns")
            try:
                if stage_base(row["stage"]) == "measure":  # no suite would ever look at it
                    raise BadExpectations(f"{where}: what is measured cannot be expected to fail")
                for what, known in (("kind", KINDS), ("verdict", VERDICTS)):
                    if row[what] not in known:
                        raise UnknownName(what, row[what], known)
            except UnknownName as error:
                raise BadExpectations(f"{where}: {error}") from None
            if not row["reason"].strip():
                raise BadExpectations(f"{where}: a row without a reason")
            key = (row["precision"], row["model"], row["route"])
            if key in rows:
                raise BadExpectations(f"{where}: {row['model']}-{row['route']} stands twice")
            if row["kind"] in NEVER_EXPECTED:
                raise BadExpectations(f"{where}: {row['kind']} cannot be expected")
            rows[key] = Expectation(row["stage"], row["kind"], row["verdict"], row["reason"])
    return rows


def expected(
    folder: pathlib.Path, version_set: str, device: str, base: str = ""
) -> Expectations:
    """What is expected of a set: its own table's rows, else those of the ``base`` it has."""
    start = table_path(folder, base, device) if base else None
    return Expectations(table_path(folder, version_set, device), start)


def table_path(folder: pathlib.Path, version_set: str, device: str) -> pathlib.Path:
    return folder / f"{version_set}-{device}.csv"

"""The two sides of a comparison, as a command opens them: tables, launches, thresholds, and what is
to be said of the runs beside them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from switchyard.compare.pairing import Table
    from switchyard.compare.thresholds import Thresholds
    from switchyard.tables.opening import Found


def notes(before: Found, after: Found, results: str) -> list[str]:
    """On what runs there are in ``results`` beside the two: one that is better evidence of how
    times differ, and newer ones of a set that is named, which were not taken."""
    from switchyard.tables import opening, whole_runs

    said = []
    folder = opening.better_in_turn(before, after, results)
    if folder is not None:
        said.append(
            f"these are two runs, and in {folder} both sets took turns, launch by launch: name "
            "that run for how their times differ"
        )
    for one in (before, after):
        newer = []
        if one.newest:
            newer = whole_runs.newer_partial_runs(results, one.only_set, one.folder)
        if newer:
            more = f"; nor were {len(newer) - 1} more that are not whole" if newer[1:] else ""
            path, why = newer[0]
            said.append(f"{path}, a newer run of {one.only_set}, was not taken: it {why}{more}")
    return said


def read_thresholds(name: str | None) -> Thresholds:
    """The defaults, with what the file of that name says. Raises ValueError and OSError."""
    from switchyard.compare.thresholds import Thresholds

    if name is None:
        return Thresholds()
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        return Thresholds.from_mapping(tomllib.loads(Path(name).read_text("utf-8")))
    except ValueError as error:  # of the parser, of a value, of an unknown name, of the encoding
        raise ValueError(f"{name}: {error}") from error


def both_tables(before: Found, after: Found) -> list[Table]:
    """Both sides, read, with their launches where both have several. Raises TableError."""
    tables = [table(found) for found in (before, after)]
    if all(_most_launches(one) > 1 for one in tables):
        return [with_launches(one, found) for one, found in zip(tables, (before, after))]
    # A side without several launches is compared with nothing: spare the reading.
    return [single(one, other) for one, other in zip(tables, reversed(tables))]


def table(found: Found) -> Table:
    """One side, read, without its launches. Raises TableError."""
    from switchyard.compare.pairing import Table

    label = str(found.folder or found.path)
    if found.only_set:
        label += f" ({'the newest whole run of ' * found.newest}{found.only_set})"
    return Table(label, found.cells(), found.about(), None, "no samples without the run's folder")


def _most_launches(one: Table) -> int:
    """Of any of its cells; 0 where none was measured."""
    counts = one.cells["launches"].dropna()
    return int(counts.max()) if len(counts) else 0


def single(one: Table, other: Table) -> Table:
    """A side whose launches need not be read, with why."""
    most = _most_launches(one)
    if most > 1:
        others = "a single one" if _most_launches(other) else "none"
        why = f"several launches, and the other side has {others}"
    elif most:
        why = "a single launch a cell has no spread (--launches 5 in both runs gives one)"
    else:
        why = "no launch of any cell"
    return dataclasses.replace(one, why_no_launches=why)


def with_launches(one: Table, found: Found) -> Table:
    """The side with every launch's median, or why there is none. Raises DamagedTable."""
    from switchyard.tables import opening
    from switchyard.tables.reading import MissingTable

    if found.folder is None:
        return one
    try:
        return dataclasses.replace(one, launches=opening.launch_medians(found.folder))
    except MissingTable:
        return dataclasses.replace(one, why_no_launches="the run's samples.parquet is missing")

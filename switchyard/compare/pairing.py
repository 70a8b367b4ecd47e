"""Which row of one table answers to which row of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from switchyard.tables import schema
from switchyard.vocabulary import TIERS

if TYPE_CHECKING:
    import numpy
    import pandas

ACROSS_SETS = tuple(name for name in schema.KEY if name != "version_set")


@dataclasses.dataclass(frozen=True)
class Table:
    """One side: what it is called, its cells as ``reading.read_cells`` gives them, and, where
    it came with its run's folder, what ``run.json`` says and every launch's median.

    ``launches`` has the cell's columns, ``launch`` and ``median_s``; ``why_no_launches``
    says why it is None.
    """

    label: str
    cells: pandas.DataFrame
    about: Mapping[str, Any] | None = None
    launches: pandas.DataFrame | None = None
    why_no_launches: str = ""

    @property
    def sets(self) -> list[str]:
        return list(self.cells["version_set"].unique())

    @property
    def tier(self) -> str:
        """The run's tier; "" where the table says none, or several."""
        said = (self.about or {}).get("tier")
        if not said:
            tiers = [tier for tier in self.cells["tier"].unique() if tier]
            said = tiers[0] if len(tiers) == 1 else ""
        return said

    @property
    def narrowed(self) -> bool:
        """Whether options took models or routes out of the run's tier, as far as is known."""
        return (self.about or {}).get("whole_selection") is False


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Positions into both tables, -1 where one has no such cell.

    ``outside`` are cells that one table lacks because it was never asked for them: reason
    to number. They are in neither array.
    """

    by: tuple[str, ...]
    before: numpy.ndarray
    after: numpy.ndarray
    outside: dict[str, int]

    def without(self, out: numpy.ndarray) -> Pairs:
        """Less those that the mask names."""
        return dataclasses.replace(self, before=self.before[~out], after=self.after[~out])


def key_columns(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Across version sets where each table holds one, else within each set."""
    return ACROSS_SETS if len(before) == 1 == len(after) else schema.KEY


def pair(before: Table, after: Table) -> Pairs:
    """Every cell of both tables once, in the order of ``before``, then what is only in
    ``after``.

    A cell that the larger of two tiers has alone, or that a narrowed selection (``--model``,
    ``-k``) may have left out, is neither new nor gone: for all that is known nobody asked for it.
    Nor is a cell of a version set that the other run, as its ``run.json`` says, was not of. But
    what narrowing options ask for as much as the other run's did is, and so is what stands in a zoo
    file that the run could not use. A cell of the smaller tier that the larger one lacks is gone,
    since the larger plans all that the smaller does.
    """
    import numpy
    import pandas

    by = key_columns(before.sets, after.sets)
    first, second = _codes(before.cells, after.cells, by)
    found = pandas.Index(second).get_indexer(first)  # in ``after``, for each of ``before``
    taken = numpy.zeros(len(second), bool)
    taken[found[found >= 0]] = True
    outside: dict[str, int] = {}
    kept = found >= 0
    lost = numpy.flatnonzero(~kept)
    kept[lost] = _planned_by(after, before, lost, "after", by, outside)
    left = numpy.flatnonzero(kept)
    only = numpy.flatnonzero(~taken)
    only = only[_planned_by(before, after, only, "before", by, outside)]
    return Pairs(
        by,
        numpy.concatenate([left, numpy.full(len(only), -1)]),
        numpy.concatenate([found[left], only]),
        outside,
    )


def _planned_by(
    lacking: Table,
    having: Table,
    places: numpy.ndarray,
    side: str,
    by: Sequence[str],
    outside: dict[str, int],
) -> numpy.ndarray:
    """Which of the cells of ``having`` at ``places``, none of which ``lacking`` has, it was asked
    for; ``outside`` gets how many it was not, by why."""
    import numpy

    cells = having.cells[[*schema.KEY, "family", "hops"]].iloc[places]
    left = numpy.ones(len(cells), bool)
    for reason, out in _not_asked(lacking, having, cells, side, by):
        count = int((left & out).sum())
        if count:
            outside[reason] = count
        left &= ~out
    return left


def _not_asked(
    lacking: Table, having: Table, cells: pandas.DataFrame, side: str, by: Sequence[str]
) -> Iterator[tuple[str, numpy.ndarray]]:
    """Why ``lacking``, which is called ``side``, may not have been asked for some of these cells of
    ``having``, and for which of them."""
    about = lacking.about or {}
    if by == schema.KEY and about.get("version_sets"):
        sets = [*about["version_sets"], *lacking.sets]
        foreign = ~cells["version_set"].isin(sets).to_numpy(bool)
        yield f"of version sets that {side} is not of", foreign
    failed = _of_failed_files(lacking, cells)
    if lacking.narrowed:
        yield f"not selected in {side}", ~failed & ~_asked_alike(lacking, having, cells)
    yield from ((reason, ~failed & out) for reason, out in _not_added(lacking, having, cells, side))
    tiers = (lacking.tier, having.tier)
    if all(tier in TIERS for tier in tiers) and TIERS.index(tiers[0]) < TIERS.index(tiers[1]):
        reason = f"{side} is {tiers[0]}, and no table says which only the {tiers[1]} tier plans"
        yield reason, ~failed


def _not_added(
    lacking: Table, having: Table, cells: pandas.DataFrame, side: str
) -> Iterator[tuple[str, numpy.ndarray]]:
    """What options add to a whole tier that ``lacking`` was not given, and what was named to
    ``having``, whose tier need not have it."""
    import numpy

    asked, had = (lacking.about or {}).get("asked"), _options(having)
    if not asked:
        return
    if had is not None and not lacking.narrowed:
        yield f"not selected in {side}", _named_alone(had, asked, lacking, cells)
    if not asked.get("tf32"):
        yield f"{side} was not given --tf32", (cells["precision"] == "tf32").to_numpy(bool)
    if had is not None and not set(had.get("hop") or ()) <= set(asked.get("hop") or ()):
        from switchyard import hops

        own = {"", *hops.builtin()}
        theirs = [not own.issuperset(names.split(">")) for names in cells["hops"]]
        yield f"of converters that {side} was not given (--hop)", numpy.array(theirs, bool)


#: The options that name cells, called as the columns that hold the names.
_NAMING = ("model", "route", "precision")


def _named_alone(
    had: Mapping[str, Any], asked: Mapping[str, Any], lacking: Table, cells: pandas.DataFrame
) -> numpy.ndarray:
    """Which of these cells, of a run that was given the options ``had``, may be there only as they
    were named: by model, route or precision, whatever its tier plans, or by their zoo file.

    Every tier but the smallest plans every model on some route, so that one that ``lacking``, which
    is whole, does not have at all is none of them."""
    import numpy

    if any(had.get(name) for name in _NAMING):
        if lacking.tier not in TIERS[1:]:
            return numpy.ones(len(cells), bool)
        return cells["model"].isin(lacking.cells["model"]).to_numpy(bool)
    stems = {PurePosixPath(file).stem for file in asked.get("zoo") or ()}
    more = {PurePosixPath(file).stem for file in had.get("zoo") or ()} - stems
    if "builtin" in more:
        return ~cells["family"].isin(stems).to_numpy(bool)
    return cells["family"].isin(more).to_numpy(bool)


def _asked_alike(lacking: Table, having: Table, cells: pandas.DataFrame) -> numpy.ndarray:
    """Which of these cells of ``having`` the options of ``lacking``, which narrow it, ask for as
    much as those of ``having`` did.

    None where that is not known: without ``asked`` in ``run.json`` (tables of before 27 November
    2026), and where ``-k`` or a single suite took out items (not ``every_question``), since which
    is not recorded. What is named is planned in any tier, so that of two runs of which ``having``
    alone names models, ``lacking`` was asked for less.
    """
    import numpy

    none = numpy.zeros(len(cells), bool)
    asked, had = (lacking.about or {}).get("asked"), _options(having)
    if not asked or had is None or lacking.about.get("every_question") is not True:
        return none
    for name in ("zoo", "hop"):
        if not set(had.get(name) or ()) <= set(asked.get(name) or ()):
            return none
    alike = ~none
    if asked.get("device"):  # cuda:1 is as good as cuda:0
        alike &= (cells["device"] == asked["device"].partition(":")[0]).to_numpy(bool)
    if not asked.get("tf32"):
        alike &= (cells["precision"] != "tf32").to_numpy(bool)
    for name in _NAMING:
        named, before = set(asked.get(name) or ()), set(had.get(name) or ())
        if before and not named:
            return none
        if named and not (before and before <= named):
            alike &= cells[name].isin(named).to_numpy(bool)
    return alike


def _options(table: Table) -> Mapping[str, Any] | None:
    """What ``run.json`` holds as ``asked``; of an older table that nothing narrowed what comes to
    the same, and None of any other."""
    about = table.about or {}
    if about.get("asked"):
        return about["asked"]
    if about.get("whole_selection") is not True:
        return None
    return {"zoo": ["builtin"], "hop": (about.get("options") or {}).get("hop")}


def _of_failed_files(lacking: Table, cells: pandas.DataFrame) -> numpy.ndarray:
    """Which cells are of models that ``lacking`` did not know of, since it could not use their zoo
    file, and that its options do not leave out by name."""
    about = lacking.about or {}
    failures = (about.get("zoo_failures") or {}).values()
    files = {PurePosixPath(file).stem for each in failures for file in each}
    found = cells["family"].isin(files).to_numpy(bool)
    for name in _NAMING:
        if named := (about.get("asked") or {}).get(name):
            found = found & cells[name].isin(named).to_numpy(bool)
    return found


def _codes(
    before: pandas.DataFrame, after: pandas.DataFrame, by: Sequence[str]
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """One integer a cell, the same on both sides: joining five text columns takes longer."""
    import numpy
    import pandas

    codes = numpy.zeros(len(before) + len(after), "int64")
    for name in by:
        both = pandas.concat([before[name], after[name]], ignore_index=True)
        own, values = pandas.factorize(both)
        codes = codes * max(1, len(values)) + own
    return codes[: len(before)], codes[len(before) :]

"""Which row of one table answers to which row of the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
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


def key_columns(before: Sequence[str], after: Sequence[str]) -> tuple[str, ...]:
    """Across version sets where each table holds one, else within each set."""
    return ACROSS_SETS if len(before) == 1 == len(after) else schema.KEY


def pair(before: Table, after: Table) -> Pairs:
    """Every cell of both tables once, in the order of ``before``, then what is only in
    ``after``.

    A cell that only the larger of two tiers plans, or that a narrowed selection (``--model``,
    ``-k``) left out, is neither new nor gone: nobody asked for it. A cell of the smaller tier
    that the larger one lacks is gone, since the larger plans all that the smaller does. Nor is a
    cell of a version set that the other run, as its ``run.json`` says, was not of.
    """
    import numpy
    import pandas

    by = key_columns(before.sets, after.sets)
    first, second = _codes(before.cells, after.cells, by)
    found = pandas.Index(second).get_indexer(first)  # in ``after``, for each of ``before``
    taken = numpy.zeros(len(second), bool)
    taken[found[found >= 0]] = True
    left = numpy.arange(len(first))
    only = numpy.flatnonzero(~taken)
    outside: dict[str, int] = {}
    if by == schema.KEY:
        lost = (found < 0) & _of_sets_not_asked(after, before)
        outside["of version sets that after is not of"] = int(lost.sum())
        left, found = left[~lost], found[~lost]
        foreign = _of_sets_not_asked(before, after)[only]
        outside["of version sets that before is not of"] = int(foreign.sum())
        only = only[~foreign]
    if reason := _not_asked(after, before, "after"):
        outside[reason] = int((found < 0).sum())
        left, found = left[found >= 0], found[found >= 0]
    if reason := _not_asked(before, after, "before"):
        outside[reason] = len(only)
        only = only[:0]
    return Pairs(
        by,
        numpy.concatenate([left, numpy.full(len(only), -1)]),
        numpy.concatenate([found, only]),
        {reason: count for reason, count in outside.items() if count},
    )


def _of_sets_not_asked(lacking: Table, having: Table) -> numpy.ndarray:
    """Which cells of ``having`` are of a version set that the run of ``lacking`` did not ask of:
    none where it has no ``run.json`` to say so."""
    import numpy

    asked = (lacking.about or {}).get("version_sets")
    if not asked:
        return numpy.zeros(len(having.cells), bool)
    return ~having.cells["version_set"].isin([*asked, *lacking.sets]).to_numpy(bool)


def _not_asked(lacking: Table, having: Table, side: str) -> str:
    """Why the cells of ``having`` that ``lacking`` has not say nothing; "" if they do."""
    if lacking.narrowed:
        return f"not selected in {side}"
    tiers = (lacking.tier, having.tier)
    if all(tier in TIERS for tier in tiers) and TIERS.index(tiers[0]) < TIERS.index(tiers[1]):
        return f"only the {tiers[1]} tier plans them, {side} is {tiers[0]}"
    return ""


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

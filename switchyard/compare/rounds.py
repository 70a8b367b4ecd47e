"""How cells changed where both sides took turns, each launch against the one beside it.

The launches of one number stand side by side, in one state of the machine, and those of the next
minutes later, maybe in another. So what is looked at is the difference of each pair: what the
machine did to both falls out of it, where the spread of each side alone would hold it. This is the
paired comparison of randomised blocks (Fisher, "The Design of Experiments", 1935, chapter 3),
a block being a launch's number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchyard.compare import spread
from switchyard.compare.pairing import Pairs, Table
from switchyard.tables import schema

if TYPE_CHECKING:
    import numpy
    import pandas


def groups(
    before: Table, after: Table, pairs: Pairs, places: numpy.ndarray, least: float
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """``spread.NAMES`` of log medians after less before, with the shape (4, 1, cells), and why a
    cell has not enough of them. ``least``: the variance that none is taken for less than."""
    import numpy

    for table in (after, before):
        if table.launches is None:
            reasons = numpy.full(len(places), table.why_no_launches, object)
            return numpy.zeros((len(spread.NAMES), 1, len(places))), reasons
    both = _of_places(after, pairs.after[places]).merge(
        _of_places(before, pairs.before[places]), on=["place", "launch"], suffixes=("", "_before")
    )
    both["log"] -= both["log_before"]
    own = spread.of_groups(both, ["place"], least).set_index("place")
    found = own.reindex(range(len(places)))[list(spread.NAMES)].fillna(0).to_numpy()
    reasons = numpy.full(len(places), "", object)
    reasons[found[:, 0] < 2] = "fewer than two launches that both sets have"
    return found.T[:, None, :], reasons


def _of_places(table: Table, positions: numpy.ndarray) -> pandas.DataFrame:
    """The log of every launch's median of these rows: ``place`` in ``positions``, ``launch``,
    ``log``."""
    keys = table.cells[list(schema.KEY)].iloc[positions].reset_index(drop=True)
    keys = keys.assign(place=keys.index)
    return keys.merge(spread.logs(table.launches), on=list(schema.KEY))[["place", "launch", "log"]]

"""Two tables compared: all that the terminal, Markdown, JSON and JUnit reports show."""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from switchyard.compare import circumstances, crowding, route_times, tallies, timing, verdicts
from switchyard.compare.circumstances import PackageChange
from switchyard.compare.pairing import Pairs, Table, pair
from switchyard.compare.thresholds import Thresholds
from switchyard.tables import schema

if TYPE_CHECKING:
    import numpy
    import pandas


@dataclasses.dataclass(frozen=True)
class Comparison:
    """``cells`` is ``verdicts.judge``'s table less the ignored cells; ``outside`` the cells
    that one side was never asked for, and ``ignored`` those that a pattern took out, as
    reason or pattern to number. ``hardware`` is by device; "" is the same hardware.
    ``packages`` is None where a side did not record them, ``times`` (``route_times.by_route``'s
    table) where the two sides took no turns. ``allowed`` are verdicts that are shown like any
    other and do not count as worse."""

    before: Table
    after: Table
    by: tuple[str, ...]
    thresholds: Thresholds
    cells: pandas.DataFrame
    outside: dict[str, int]
    ignored: dict[str, int]
    hardware: dict[str, str]
    packages: list[PackageChange] | None
    conditions: list[str]
    native: dict | None
    routes: pandas.DataFrame
    times: pandas.DataFrame | None
    wins: tuple[list[str], numpy.ndarray]
    allowed: frozenset[str] = frozenset()

    @functools.cached_property
    def counts(self) -> dict[str, int]:
        """How many cells have each verdict that occurs, in the order of ``VERDICTS``."""
        found = self.cells["verdict"].value_counts()
        return {name: int(found[name]) for name in verdicts.VERDICTS if name in found}

    @property
    def in_turn(self) -> bool:
        """Whether both sides were timed in turn, in one run."""
        return circumstances.in_turn(self.before.about, self.after.about)

    @functools.cached_property
    def _doubled(self) -> frozenset[tuple[str, str]]:
        """Models and routes that more than one cell has, in several sets, say."""
        key = ["model", "route"]
        doubled = self.cells.loc[self.cells.duplicated(key), key]
        return frozenset(doubled.itertuples(index=False, name=None))

    def name(self, row: Mapping[str, Any]) -> str:
        """``MODEL-ROUTE`` where that is one cell, else the whole id; on one line."""
        cell = schema.cell_of(row)
        whole = (cell.model, cell.route) in self._doubled
        return schema.one_line(cell.id if whole else cell.short)

    @property
    def compared(self) -> int:
        """Cells that were judged on both sides; what neither could host says nothing."""
        unfit = ("new", "gone", "not-comparable")
        cells = tallies.without_mistakes(self.cells)  # which count for nothing
        unhosted = cells["before_verdict"].eq("unavailable")
        unhosted &= cells["after_verdict"].eq("unavailable")
        return int((~cells["verdict"].isin(unfit) & ~unhosted).sum())

    @functools.cached_property
    def became_worse(self) -> pandas.Series:
        """Which of ``cells`` became worse: by their verdict, or where that is ``allowed`` by any
        other finding. Mistakes made on purpose count for nobody."""
        judged = set(verdicts.WORSE) - self.allowed
        found = self.cells["verdict"].isin(judged)
        for name in judged & set(verdicts.WORSENED):
            found |= self.cells[name].astype(bool)
        return found & self.cells.index.isin(tallies.without_mistakes(self.cells).index)

    @property
    def worse(self) -> int:
        """How many cells became worse."""
        return int(self.became_worse.sum())

    @property
    def tolerated(self) -> int:
        """How many cells would count as worse, were their verdict not ``allowed``."""
        counted = tallies.without_mistakes(self.cells)
        return int(counted["verdict"].isin(self.allowed).sum()) - int(
            (self.became_worse & self.cells["verdict"].isin(self.allowed)).sum()
        )

    @property
    def slower_routes(self) -> int:
        """Routes that became slower over their models, whatever is known of each cell."""
        return 0 if "slower" in self.allowed else self._routes_found_slower

    @property
    def tolerated_routes(self) -> int:
        """How many routes would count as slower, were that not ``allowed``."""
        return self._routes_found_slower if "slower" in self.allowed else 0

    @property
    def _routes_found_slower(self) -> int:
        return 0 if self.times is None else int((self.times["status"] == "slower").sum())

    @property
    def status(self) -> int:
        """The exit status: 2 where nothing was compared, else 1 where something is worse."""
        return 2 if not self.compared else int(self.worse + self.slower_routes > 0)


def _crowded(before: Table, after: Table) -> list[str]:
    """Which side's calls did not have the machine to themselves, a sentence each."""
    found = []
    for side, table in (("before", before), ("after", after)):
        if said := crowding.crowded(zip(table.cells["device"], table.cells["cores_busy"])):
            found.append(f"{side}: {said}")
    return found


def compare(
    before: Table,
    after: Table,
    thresholds: Thresholds | None = None,
    ignore: Sequence[str] = (),
    notes: Sequence[str] = (),
    allowed: Collection[str] = (),
) -> Comparison:
    """Pair, judge and count. ``notes`` are the caller's, on what else there is to know of the two.

    A pattern of ``ignore`` is a shell pattern on ``MODEL-ROUTE``, or on the whole id
    ``SET:DEVICE:PRECISION:MODEL-ROUTE`` where it holds a colon. What it takes out is
    nowhere counted but in ``ignored``.
    """
    thresholds = thresholds or Thresholds()
    pairs = pair(before, after)
    abouts = (before.about, after.about)
    # asked once a device and not once a cell
    hardware = functools.lru_cache(None)(lambda d: circumstances.other_hardware(*abouts, d))
    machine = functools.lru_cache(None)(lambda d: circumstances.known_other_hardware(*abouts, d))
    if "version_set" in pairs.by:
        common = sorted(set(before.sets) & set(after.sets))
        sets = [(name, name) for name in common]
    else:
        sets = [(before.sets[0], after.sets[0])]
    builds = circumstances.other_builds(*abouts, sets)

    def judged(pairs: Pairs) -> pandas.DataFrame:
        return verdicts.judge(before, after, pairs, hardware, machine, thresholds, builds)

    cells, own = judged(pairs), after.cells
    ignored: dict[str, int] = {}
    if ignore and (out := _matching(cells, ignore, ignored)).any():
        # Anew, since what is told from no change depends on how many cells ask.
        cells = judged(pairs.without(out))
        own = own[~_matching(own, ignore, {})]
    routes = tallies.by_route(cells, "version_set" in pairs.by)
    in_turn = circumstances.in_turn(*abouts)
    return Comparison(
        before=before,
        after=after,
        by=pairs.by,
        thresholds=thresholds,
        cells=cells,
        outside=pairs.outside,
        ignored=ignored,
        hardware={device: hardware(device) for device in cells["device"].unique()},
        packages=circumstances.packages_that_differ(*abouts, sets),
        conditions=[
            *circumstances.other_conditions(*abouts),
            *_crowded(before, after),
            *builds.values(),
            *notes,
        ],
        native=timing.native_drift(before, after, hardware),
        routes=routes,
        times=route_times.by_route(cells, routes, thresholds) if in_turn else None,
        wins=tallies.wins(own),
        allowed=frozenset(allowed),
    )


def _matching(
    cells: pandas.DataFrame, patterns: Sequence[str], counts: dict[str, int]
) -> numpy.ndarray:
    """Which cells some pattern names; ``counts`` gets how many each does."""
    import numpy

    short = cells["model"] + "-" + cells["route"]
    whole = None
    out = numpy.zeros(len(cells), bool)
    for pattern in patterns:
        names = short
        if ":" in pattern:
            if whole is None:
                prefix = cells["version_set"] + ":" + cells["device"] + ":" + cells["precision"]
                whole = prefix + ":" + short
            names = whole
        matches = re.compile(fnmatch.translate(pattern)).match
        own = numpy.fromiter((bool(matches(name)) for name in names), bool, len(names))
        counts[pattern] = int(own.sum())
        out |= own
    return out

"""Several tables, each compared with the next, as one page of Markdown.

A page about version sets: what they have in common, the routes' rates in all of them, stands
first; what a step from one set to the next broke and mended follows, cause by cause.
"""

from __future__ import annotations

from collections.abc import Sequence

from switchyard.compare import as_markdown, sentences, statistics, verdicts
from switchyard.compare.as_markdown import code, text
from switchyard.compare.comparison import Comparison
from switchyard.compare.pairing import Table
from switchyard.compare.saying import TITLES

#: What a step may do to a cell, worst first, with what it was before and after.
SHOWN = (*verdicts.WORSE, *verdicts.BETTER, "not-comparable")

#: Verdicts listed cell by cell; the others are numbers in the first table.
LISTED = tuple(
    name for name in SHOWN if name not in ("more-memory", "less-memory", "not-comparable")
)


def lines(comparisons: Sequence[Comparison]) -> list[str]:
    """The page. ``comparisons``: of the first table with the second, that with the third..."""
    tables = [comparisons[0].before, *(one.after for one in comparisons)]
    page = [
        "# What differs between neighbouring version sets", "",
        "Written by `switchyard neighbours`, from these tables:", "",
    ]  # fmt: skip
    used = [tables[0]]
    for one in comparisons:
        # of two runs that meet in a version set each has a table of it
        used += [each for each in (one.before, one.after) if each.label != used[-1].label]
    page += [f"- {code(_name(one))}: {text(sentences.described(one))}" for one in used]
    if len(used) > len(tables):
        page += ["", "Of a set with two tables the first ends a step and the second begins the "
                 "next, so that each step is within one run."]  # fmt: skip
    page += _rates(tables) + _steps(comparisons)
    for one in comparisons:
        page += _step(one)
    return page


def _name(table: Table) -> str:
    return " ".join(table.sets)


def _rates(tables: Sequence[Table]) -> list[str]:
    """Passed of attempted by route and set; empty where a set has nothing of a route."""
    found = {
        (place, rate.route): rate
        for place, table in enumerate(tables)
        for rate in statistics.rates(_rows(table), by=("device",))
    }
    routes = dict.fromkeys(route for _, route in found)
    rows = [
        (route, *(_rate(found.get((place, route))) for place in range(len(tables))))
        for route in routes
    ]
    heads = ("route", *map(_name, tables))
    note = (
        "Models that pass, in their own precision, of those attempted (unavailable ones, which the "
        "set cannot host, and void ones are neither). Sets do not attempt the same models: compare "
        "by the pairs below."
    )
    return ["", "## Rates", "", note, "", *as_markdown.table(heads, rows, len(tables))]


def _rows(table: Table) -> list[dict]:
    frame = table.cells
    rows = frame.astype(object).where(frame.notna(), None).to_dict("records")
    return statistics.in_own_precision(rows)


def _rate(rate: statistics.RouteRate | None) -> str:
    if rate is None or not rate.planned:
        return ""
    if not rate.attempted:
        return "unavailable"
    return f"{rate.passed}/{rate.attempted} ({sentences.share(rate.passed, rate.attempted)})"


def _steps(comparisons: Sequence[Comparison]) -> list[str]:
    heads = ("verdict", "meaning", *(f"→ {_name(one.after)}" for one in comparisons))
    rows = [
        (verdict, TITLES[verdict], *(one.counts.get(verdict, 0) for one in comparisons))
        for verdict in verdicts.VERDICTS
        if any(verdict in one.counts for one in comparisons)
    ]
    return ["", "## Steps", "", "Cells by what a step did to them.", "",
            *as_markdown.table(heads, rows, len(comparisons))]  # fmt: skip


def _step(one: Comparison) -> list[str]:
    heading = f"## {text(_name(one.before))} → {text(_name(one.after))}"
    page = ["", heading, "", f"{text(sentences.overall(one))}", ""]
    page += [f"- {text(said)}" for said in sentences.around(one)]
    return [*page, *as_markdown.times(one, level=3), *as_markdown.findings(one, LISTED, level=3)]

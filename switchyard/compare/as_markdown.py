"""Tables and comparisons as GitHub's Markdown, for a pull request or a release's page.

A text that comes out of a table of results is somebody else's: an error message may hold a
pipe, a heading, a link, an image or a mention. It goes into a code span, or has every sign
that means something in Markdown written as a character reference, which never does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from switchyard.compare import rendering, saying, sentences, statistics, tallies, verdicts
from switchyard.compare.comparison import Comparison
from switchyard.compare.saying import TITLES
from switchyard.tables import schema
from switchyard.tables.schema import one_line
from switchyard.vocabulary import PASSING

#: Cells listed of one cause; beyond that a number.
MOST_CELLS = 20
MOST_CLUSTERS = 30
#: Routes of a square of who wins where; a wider one is in the JSON alone.
MOST_SQUARE = 40

_MEANT = re.compile(r"[&<>|`*\[\]\\~#@$]|(?<![^\W_])_|_(?![^\W_])|(?<=\w):(?=//)|(?<=www)\.")


def text(words: Any) -> str:
    """``words`` as text that Markdown takes for nothing else, on one line, also in a table."""
    return _MEANT.sub(lambda found: f"&#{ord(found.group())};", one_line(str(words)))


def code(words: Any) -> str:
    """``words`` in a code span that they cannot end. Not for cells of a table."""
    words = one_line(str(words))
    if not words:
        return ""
    fence = "`" * (1 + max(map(len, re.findall("`+", words)), default=0))
    space = " " if words[0] in " `" or words[-1] in " `" else ""
    return f"{fence}{space}{words}{space}{fence}"


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], figures: int) -> list[str]:
    """A table whose last ``figures`` columns stand to the right."""
    marks = ["---"] * (len(heads) - figures) + ["--:"] * figures
    lines = [heads, marks, *([text(value) for value in row] for row in rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def comparison_lines(comparison: Comparison, only: Sequence[str] = ()) -> list[str]:
    """The whole comparison, with the same parts as on the terminal."""
    lines = [f"# {text(sentences.conclusion(comparison))}", ""]
    for label in ("before", "after"):
        side = getattr(comparison, label)
        lines.append(f"- {label}: {code(side.label)}, {text(sentences.described(side))}")
    lines += [f"- {text(said)}" for said in sentences.around(comparison)]
    counts = [(name, TITLES[name], count) for name, count in comparison.counts.items()]
    lines += ["", *table(("verdict", "meaning", "cells"), counts, 1)]
    lines += ["", text(sentences.overall(comparison))]
    lines += findings(comparison, only or (*verdicts.WORSE, *verdicts.BETTER, "not-comparable"))
    if only:
        return lines
    lines += [*_routes(comparison), *times(comparison), *_wins(comparison)]
    if said := sentences.ambiguous(comparison):
        lines += ["", text(said)]
    return lines


def findings(comparison: Comparison, wanted: Sequence[str], level: int = 2) -> list[str]:
    """The cells of each verdict of ``wanted``, cause by cause, under headings of that level."""
    lines = []
    for verdict in wanted:
        groups = tallies.clusters(comparison.cells, verdict)
        if groups:
            lines += ["", f"{'#' * level} {sentences.heading(verdict, groups)}", ""]
            for group in groups[:MOST_CLUSTERS]:
                lines += _cluster(comparison, group)
            if rest := groups[MOST_CLUSTERS:]:
                lines.append(f"- and {sum(map(len, rest))} more cells of {len(rest)} causes")
    return lines


def _cluster(comparison: Comparison, group: Any) -> list[str]:
    rows = group.head(MOST_CELLS).to_dict("records")
    lines, indent = [], ""
    error = saying.error_line(rows[0])
    if error and rows[0]["verdict"] in ("broke", "changed-failure", "fixed"):
        lines.append(f"- {sentences.cells(len(group))}: {code(error)}")
        indent = "  "
    for row in rows:
        lines.append(f"{indent}- {code(comparison.name(row))}: {text(saying.figures(row))}")
    if len(group) > MOST_CELLS:
        lines.append(f"{indent}- and {len(group) - MOST_CELLS} more")
    return lines


def _routes(comparison: Comparison) -> list[str]:
    rows = []
    for row in comparison.routes.to_dict("records"):
        where = [row[name] for name in ("version_set", "device", "precision") if name in row]
        pairs = [(row[f"{side}_passed"], row[f"{side}_attempted"]) for side in ("before", "after")]
        past = [
            sentences.changed(row[f"before_past_{stage}"], row[f"after_past_{stage}"], "→")
            for stage in tallies.FUNNEL
        ]
        rows.append((
            " ".join(where), row["route"], row["planned"], row["gone"] or "", row["new"] or "",
            *past, sentences.changed(*(f"{a}/{b}" for a, b in pairs), "→"),
            sentences.changed(*(sentences.share(*pair) for pair in pairs), "→"),
            sentences.changed(*(sentences.share(p[0], row["planned"]) for p in pairs), "→"),
        ))  # fmt: skip
    heads = ("where", "route", "planned", "gone", "new", *(f"past {s}" for s in tallies.FUNNEL),
             "passed", "of attempted", "of planned")  # fmt: skip
    note = "Over the cells that both tables planned; gone and new are beside them."
    if tallies.mistakes(comparison.cells):
        note += " Mistakes made on purpose count for no route and have no line."
    return ["", "## Routes", "", note, "", *table(heads, rows, len(heads) - 2)]


def times(comparison: Comparison, level: int = 2) -> list[str]:
    """How the time of each route moved over its models, under a heading of that level."""
    if comparison.times is None or not len(comparison.times):
        return []
    rows = [
        (" ".join(row[name] for name in tallies.GROUPS[:-1] if name in row), row["route"],
         row["models"], f"{row['change']:.2f}", sentences.interval(row), row["status"])
        for row in comparison.times.to_dict("records")
    ]  # fmt: skip
    confidence = round(100 * comparison.thresholds.latency_confidence)
    heads = ("where", "route", "models", "times as long", f"{confidence}%", "")
    note = "The geometric mean over the models that both sets pass and time."
    return ["", f"{'#' * level} Time by route", "", note, "", *table(heads, rows, 4)]


def _wins(comparison: Comparison) -> list[str]:
    routes, square = comparison.wins
    if len(routes) < 2 or len(routes) > MOST_SQUARE:
        return []
    heads = ("passes", "", *(str(number + 1) for number in range(len(routes))))
    rows = [
        (number + 1, route, *("" if number == other else square[number][other]
                              for other in range(len(routes))))
        for number, route in enumerate(routes)
    ]  # fmt: skip
    note = "Models that the line's route passes and the column's does not, after."
    return ["", "## Who wins where", "", note, "", *table(heads, rows, len(routes))]


def by_set(
    rows: Sequence[Mapping[str, Any]],
    lines: Callable[[Sequence[Mapping[str, Any]]], list[str]],
) -> list[str]:
    """What ``lines`` makes of a table, for each version set by itself, under its name where there
    are several: what is counted over models would count each of them once a set."""
    sets = dict.fromkeys(row["version_set"] for row in rows)
    if len(sets) < 2:
        return lines(rows)
    found: list[str] = []
    for name in sets:
        own = [row for row in rows if row["version_set"] == name]
        found += [*([""] if found else []), f"## {text(name)}", "", *lines(own)]
    return found


def run_lines(rows: Sequence[Mapping[str, Any]], title: str) -> list[str]:
    """One table by itself: its rates, its matrix, and what differs from the expectations."""
    lines = [f"# {text(title)}", "", text(rendering.totals(rows))]
    rates = [
        (" ".join(rate.group), rate.route, f"{rate.passed}/{rate.attempted}",
         sentences.share(rate.passed, rate.attempted),
         "{:.0f}–{:.0f}%".format(*(100 * b for b in rate.interval)) if rate.attempted else "",
         sentences.share(rate.passed, rate.planned),
         "" if rate.ratio_to_native is None else f"{rate.ratio_to_native:.2f}x")
        for rate in statistics.rates(rows)
    ]  # fmt: skip
    heads = ("where", "route", "passed", "of attempted", "95%", "of planned", "time over native")
    lines += ["", "## Routes", "", *table(heads, rates, 5)]
    differing = [row for row in rows if row.get("expected") in rendering.DEVIATIONS]
    if differing:
        lines += ["", "## What differs from the expectations", ""]
        for row in differing:
            known = row.get("expected_outcome") or "pass"
            parts = ("verdict",) if row.get("verdict") in PASSING else ("stage", "kind", "verdict")
            now = " ".join(filter(None, (row.get(part) for part in parts)))
            name = code(schema.cell_of(row).id)
            lines.append(f"- {name}: {text(known)} → {text(now)} {code(row.get('message') or '')}")
    return [*lines, *_matrix(rows)]


def _matrix(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    routes = statistics.route_order(rows)
    lines = ["", "## Models by routes", ""]
    marks = {rendering.mark_of(row) for row in rows}
    lines.append(
        ", ".join(f"{m.unicode} {m.meaning}" for n, m in rendering.MARKS.items() if n in marks)
    )
    lines += ["", *(f"{number}. {text(route)}" for number, route in enumerate(routes, 1))]
    groups = dict.fromkeys((r["version_set"], r["device"], r["precision"]) for r in rows)
    for group in groups:
        own = [r for r in rows if (r["version_set"], r["device"], r["precision"]) == group]
        found = {(row["model"], row["route"]): row for row in own}
        models = dict.fromkeys(row["model"] for row in own)
        body = [
            (model, *(_mark(found.get((model, route))) for route in routes)) for model in models
        ]
        heads = (text(" ".join(group)), *(str(number + 1) for number in range(len(routes))))
        lines += ["", *table(heads, body, len(routes))]
    return lines


def _mark(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    sign = rendering.DEVIATION_SIGN if row.get("expected") in rendering.DEVIATIONS else ""
    return rendering.MARKS[rendering.mark_of(row)].unicode + sign

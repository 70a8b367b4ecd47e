"""The routes of a comparison as tables for a terminal: rates, stages, time, who wins where."""

from __future__ import annotations

from collections.abc import Sequence

from switchyard.compare import sentences, tallies
from switchyard.compare.comparison import Comparison
from switchyard.compare.rendering import Terminal
from switchyard.tables.schema import one_line

#: Pairs of routes that are named where the square of all of them does not fit.
MOST_PAIRS = 10


def arrow(terminal: Terminal) -> str:
    return " → " if terminal.unicode else " -> "


def rates(comparison: Comparison, terminal: Terminal) -> list[str]:
    """Passed of attempted and of planned over the cells of both; only what moved."""
    rows = []
    sign = arrow(terminal)
    for row in comparison.routes.to_dict("records"):
        if not row["planned"]:
            continue
        pairs = [(row[f"{side}_passed"], row[f"{side}_attempted"]) for side in ("before", "after")]
        if pairs[0] != pairs[1]:
            rows.append((
                row,
                sentences.changed(*(f"{passed}/{attempted}" for passed, attempted in pairs), sign),
                sentences.changed(*(sentences.share(*pair) for pair in pairs), sign),
                sentences.changed(*(sentences.share(p[0], row["planned"]) for p in pairs), sign),
            ))  # fmt: skip
    return _table(
        "Rates that moved, over the cells that both tables planned",
        ("passed", "of attempted", "of planned"), rows, _planned(comparison), terminal,
    )  # fmt: skip


def funnel(comparison: Comparison, terminal: Terminal) -> list[str]:
    """How many cells of each route got past each stage; only what moved."""
    rows = []
    for row in comparison.routes.to_dict("records"):
        past = [
            tuple(row[f"{side}_past_{stage}"] for stage in tallies.FUNNEL)
            for side in ("before", "after")
        ]
        if past[0] != past[1]:
            moved = [sentences.changed(was, now, arrow(terminal)) for was, now in zip(*past)]
            rows.append((row, str(row["planned"]), *moved))
    title = "Cells that got past each stage, where that moved"
    return _table(title, ("planned", *tallies.FUNNEL), rows, _planned(comparison), terminal)


def _planned(comparison: Comparison) -> int:
    return int((comparison.routes["planned"] > 0).sum())


def times(comparison: Comparison, terminal: Terminal) -> list[str]:
    """How the time of each route moved over its models; only where its interval says so."""
    if comparison.times is None:
        return []
    rows = [
        (row, str(row["models"]), f"{row['change']:.2f}", sentences.interval(row),
         "" if row["status"] == "as-before" else row["status"])
        for row in comparison.times.to_dict("records")
        if not row["low"] <= 1 <= row["high"]
    ]  # fmt: skip
    level = round(100 * comparison.thresholds.latency_confidence)
    heads = ("models", "times as long", f"{level}%", "")
    title = "Time by route, the geometric mean over its models, where its interval leaves out 1"
    return _table(title, heads, rows, len(comparison.times), terminal, "hold it")


def _table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[tuple],
    total: int,
    terminal: Terminal,
    rest: str = "did not move",
) -> list[str]:
    """Figures to the right of the routes, a block for each set, device and precision."""
    still = total - len(rows)
    if not rows:
        return [terminal.paint(f"{title}: none of {still}.", "quiet")] if still else []
    lines = [terminal.paint(title, "heading")]
    widths = [max(len(head), *(len(row[i + 1]) for row in rows)) for i, head in enumerate(heads)]
    first = max(len(one_line(row[0]["route"])) for row in rows)
    first = min(first, terminal.width - sum(widths) - 2 * len(widths) - 2)
    block = None
    for row, *figures in rows:
        names = [row[name] for name in ("version_set", "device", "precision") if name in row]
        if names != block:
            block = names
            head = terminal.cut("  ".join(names), first + 2).ljust(first + 2)
            head += "".join("  " + head.rjust(width) for head, width in zip(heads, widths))
            lines.append(terminal.paint(head.rstrip(), "heading"))
        name = terminal.cut(one_line(row["route"]), first).ljust(first)
        texts = "".join("  " + text.rjust(w) for text, w in zip(figures, widths))
        lines.append(f"  {name}{texts}".rstrip())
    if still:
        lines.append(terminal.paint(f"  {still} others {rest}.", "quiet"))
    return lines


def wins(comparison: Comparison, terminal: Terminal) -> list[str]:
    """Who passes where others do not: a square where it fits, else the widest differences."""
    routes, square = comparison.wins
    if len(routes) < 2:
        return []
    cell = max(2, len(str(max(square.max(), len(routes))))) + 1
    gutter = max(len(one_line(route)) for route in routes) + 4
    if gutter + cell * len(routes) > terminal.width:
        return _widest(routes, square, terminal)
    text = (
        "Who wins where, after: models that the line's route passes and the column's does "
        "not, of those that both were judged on"
    )
    lines = terminal.wrap(text, style="heading")
    head = " " * gutter + "".join(str(n + 1).rjust(cell) for n in range(len(routes)))
    lines.append(terminal.paint(head, "quiet"))
    for place, route in enumerate(routes):
        name = f"{place + 1:>2}  {one_line(route)}".ljust(gutter)
        others = range(len(routes))
        counts = "".join(_count(square, place, other, cell, terminal) for other in others)
        lines.append((name + counts).rstrip())
    return lines


def _widest(routes: Sequence[str], square, terminal: Terminal) -> list[str]:
    """The pairs of routes where one is furthest ahead of the other."""
    text = "Who wins where, after: the pairs of routes furthest apart"
    lines = terminal.wrap(text, style="heading")
    pairs = sorted(
        (int(square[j][i]) - int(square[i][j]), i, j)
        for i in range(len(routes))
        for j in range(len(routes))
        if (square[i][j], j) > (square[j][i], i)
    )
    for _, i, j in pairs[:MOST_PAIRS]:
        one, another = one_line(routes[i]), one_line(routes[j])
        models = f"{square[i][j]} model{'s' if square[i][j] != 1 else ''}"
        text = f"{one} passes {models} that {another} does not; {square[j][i]} the other way"
        lines += terminal.wrap(text, "  ", later="  ")
    text = f"  and {len(pairs) - MOST_PAIRS} more pairs: all of them stand in --json"
    return lines + ([terminal.paint(text, "quiet")] if len(pairs) > MOST_PAIRS else [])


def _count(square, place: int, other: int, cell: int, terminal: Terminal) -> str:
    if place == other:
        return ("·" if terminal.unicode else ".").rjust(cell)
    return str(square[place][other]).rjust(cell)

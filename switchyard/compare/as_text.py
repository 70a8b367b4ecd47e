"""A comparison as lines for a terminal. What became worse stands last, nearest the prompt."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from switchyard.compare import saying, sentences, tallies, verdicts
from switchyard.compare.comparison import Comparison
from switchyard.compare.pairing import Table
from switchyard.compare.rendering import Row, Terminal, run_again
from switchyard.compare.routes_as_text import arrow, funnel, rates, times, wins
from switchyard.tables.schema import one_line

if TYPE_CHECKING:
    import pandas

#: Cells of a cluster that are shown with their figures; the others by name.
MOST_SHOWN = 6
#: Names in one list, and clusters of one verdict; beyond that a number, and where they are.
MOST_NAMES = 40
MOST_CLUSTERS = 12

#: Of these the error says why.
_WITH_CAUSE = ("broke", "changed-failure", "fixed")

_STYLES = {**dict.fromkeys(verdicts.WORSE, "bad"), **dict.fromkeys(verdicts.BETTER, "good")}


def report(
    comparison: Comparison,
    terminal: Terminal,
    only: Sequence[str] = (),
    command: Callable[[Row], str] = run_again,
) -> list[str]:
    """All of it. ``only`` names the verdicts whose cells are listed; what is counted, and
    the rates, stay those of all cells. ``command`` says how one cell is run again."""
    lines = header(comparison, terminal)
    if not only:
        for part in (wins, funnel, rates, times, _ambiguous, _not_comparable):
            shown = part(comparison, terminal)
            if shown:
                lines += ["", *shown]
    for verdict in only or (*verdicts.BETTER, *verdicts.WORSE):
        if verdict == "not-comparable":
            shown = _not_comparable(comparison, terminal)
        else:
            shown = _cells_of(comparison, verdict, terminal, command)
        if shown:
            lines += ["", *shown]
    lines += ["", *terminal.wrap(sentences.overall(comparison), later="  ")]
    return [*lines, *totals(comparison, terminal)]


def _ascii(text: str, terminal: Terminal) -> str:
    return text if terminal.unicode else text.replace("→", "->")


def header(comparison: Comparison, terminal: Terminal) -> list[str]:
    """Which two tables, how they were paired, and what differs around them."""
    lines = []
    for label in ("before", "after"):
        table: Table = getattr(comparison, label)
        # a path is never broken, so that it can be copied
        lines.append(terminal.paint(f"{label:<7} {one_line(table.label)}", "heading"))
        lines += terminal.wrap(sentences.described(table), " " * 8)
    lines.append("")
    for text in sentences.around(comparison):
        lines += terminal.wrap(_ascii(one_line(text), terminal), later="  ")
    return lines


def _cells_of(
    comparison: Comparison, verdict: str, terminal: Terminal, command: Callable[[Row], str]
) -> list[str]:
    groups = tallies.clusters(comparison.cells, verdict)
    if not groups:
        return []
    many = f", {len(groups)} causes" if len(groups) > 1 and verdict in _WITH_CAUSE else ""
    style = _STYLES.get(verdict, "quiet")
    lines = terminal.wrap(sentences.heading(verdict, groups) + many, "", style, later="  ")
    for group in groups[:MOST_CLUSTERS]:
        if verdict in _WITH_CAUSE:
            lines += _cause(comparison, group, terminal, command)
        elif verdict in verdicts.FINDINGS:
            lines += _sizes(comparison, group, terminal)
        else:
            lines += _planned_once(comparison, group, terminal)
    if len(groups) > MOST_CLUSTERS:
        rest = groups[MOST_CLUSTERS:]
        text = f"and {sum(map(len, rest))} more cells of {len(rest)} further causes: see --json"
        lines += terminal.wrap(text, "  ", "quiet")
    return lines


def _cause(
    comparison: Comparison,
    group: pandas.DataFrame,
    terminal: Terminal,
    command: Callable[[Row], str],
) -> list[str]:
    """One error; then, route by route, what happened and to which models."""
    rows = group.head(MOST_NAMES).to_dict("records")
    lines = []
    if len(group) > 1:
        alike = "one error" if rows[0]["verdict"] != "fixed" else "which had one error"
        lines.append(f"  {len(group)} cells, {alike}:")
    if error := saying.error_line(rows[0]):
        wrapped = terminal.wrap(error, "  ")
        if len(wrapped) > 2:
            rest = "  " + " ".join(line.strip() for line in wrapped[1:])
            wrapped[1:] = [terminal.cut(rest, terminal.width)]
        lines += [terminal.paint(line, "bad") for line in wrapped]
    happened: dict[str, list[str]] = {}
    for row in rows:
        text = f"{one_line(row['route'])}: {one_line(saying.figures(row, arrow(terminal)))}"
        happened.setdefault(text, []).append(_model(comparison, row))
    for text, models in happened.items():
        lines += terminal.wrap(text, "    ", later="  ")
        lines += terminal.wrap(", ".join(models), "      ", "quiet", later="  ")
    if len(group) > len(rows):
        lines += terminal.wrap(f"and {len(group) - len(rows)} more: see --json", "    ", "quiet")
    if rows[0]["verdict"] != "fixed":
        lines.append(f"    again: {command(rows[0])}")
    return lines


def _model(comparison: Comparison, row: Row) -> str:
    """The model, where that says which cell of its route it is; else the whole id."""
    name = comparison.name(row)
    return name if ":" in name else one_line(row["model"])


def _sizes(comparison: Comparison, group: pandas.DataFrame, terminal: Terminal) -> list[str]:
    """A cell and its figures, on one line where they fit; of many only the largest."""
    lines = []
    for row in group.head(MOST_SHOWN).to_dict("records"):
        name, text = comparison.name(row), one_line(saying.figures(row, arrow(terminal)))
        if 4 + len(name) + len(text) <= terminal.width:
            lines.append(f"  {name}  {text}".rstrip())
        else:
            lines += [*terminal.wrap(name, "  "), *terminal.wrap(text, "    ")]
    rest = group.iloc[MOST_SHOWN:]
    if len(rest):
        names = [comparison.name(row) for row in rest.head(MOST_NAMES).to_dict("records")]
        text = f"and {len(rest)} more, less so: {', '.join(names)}"
        if len(rest) > MOST_NAMES:
            text += f", and {len(rest) - MOST_NAMES} that --json lists"
        lines += terminal.wrap(text, "  ", "quiet", later="  ")
    return lines


def _planned_once(comparison: Comparison, group: pandas.DataFrame, terminal: Terminal) -> list[str]:
    """What is new, gone or the same: by model or by route, whichever makes fewer lines."""
    axis, other = ("route", "model")
    if group["model"].nunique() < group["route"].nunique():
        axis, other = other, axis
    side = "before" if group["verdict"].iloc[0] == "gone" else "after"
    lines = []
    parts = list(group.groupby(axis, sort=False))
    for value, part in parts[:MOST_NAMES]:
        judged = part[f"{side}_verdict"].replace("", "not judged")
        reasons = part["reason"].where(part["reason"] == "", ", " + part["reason"])
        counts = ", ".join(f"{n} {name}" for name, n in (judged + reasons).value_counts().items())
        rows = part.head(MOST_NAMES).to_dict("records")
        names = [comparison.name(row) for row in rows]
        if not any(":" in name for name in names):
            names = [one_line(row[other]) for row in rows]
        text = f"{one_line(value)} ({counts}): {', '.join(names)}"
        if len(part) > MOST_NAMES:
            text += f", and {len(part) - MOST_NAMES} that --json lists"
        lines += terminal.wrap(text, "  ", later="    ")
    if len(parts) > MOST_NAMES:
        text = f"and of {len(parts) - MOST_NAMES} more {axis}s: see --json"
        lines += terminal.wrap(text, "  ", "quiet")
    return lines


def _not_comparable(comparison: Comparison, terminal: Terminal) -> list[str]:
    own = comparison.cells[comparison.cells["verdict"] == "not-comparable"]
    lines = []
    for reason, group in own.groupby("reason", sort=False):
        names = [comparison.name(row) for row in group.head(6).to_dict("records")]
        more = f" and {len(group) - 6} more" if len(group) > 6 else ""
        text = f"not comparable: {sentences.cells(len(group))}, {reason}: {', '.join(names)}{more}"
        lines += terminal.wrap(text, "", "quiet", later="  ")
    return lines


def _ambiguous(comparison: Comparison, terminal: Terminal) -> list[str]:
    said = sentences.ambiguous(comparison)
    return terminal.wrap(said, "", "quiet", later="  ") if said else []


def totals(comparison: Comparison, terminal: Terminal) -> list[str]:
    """How many of each verdict, and what that comes to."""
    counts = ", ".join(f"{count} {name}" for name, count in comparison.counts.items())
    number = sentences.cells(len(comparison.cells))
    lines = terminal.wrap(f"{number}: {counts or 'none'}", later="  ")
    return [*lines, terminal.paint(sentences.conclusion(comparison), _conclusion_style(comparison))]


def _conclusion_style(comparison: Comparison) -> str:
    return "good" if comparison.status == 0 else "bad"

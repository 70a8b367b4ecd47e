"""What is shown of a table: rows in, lines of text out.

Used by the summary at the end of a run and by ``switchyard report``. Rows are dicts with
the columns of ``switchyard.tables.schema``, None or "" where nothing is known. Every
function takes the ``Terminal`` that its lines are for, and returns them already painted.
"""

from __future__ import annotations

import dataclasses
import textwrap
from typing import Any, Callable, Iterable, Mapping, Sequence

from switchyard.compare import statistics
from switchyard.vocabulary import PASSING, VERDICTS

Row = Mapping[str, Any]
Paint = Callable[[str, str], str]

#: heading: titles · good: passed · wrong: came through with other numbers · bad: stopped
#: · new: differs from its expectation · quiet: known, or nothing to say
STYLES = ("heading", "good", "wrong", "bad", "new", "quiet")


def plain(text: str, style: str) -> str:
    """The ``paint`` of a terminal without colour."""
    return text


@dataclasses.dataclass(frozen=True)
class Terminal:
    """What lines are made for: columns, whether beyond ASCII, and how colour is put on.

    ``paint(text, style)``, with a style of ``STYLES``, may add anything that takes no room.
    """

    width: int = 80
    unicode: bool = True
    paint: Paint = plain

    def cut(self, text: str, width: int) -> str:
        """``text`` in ``width`` columns, with a sign where some of it is left out."""
        if len(text) <= width:
            return text
        sign = "…" if self.unicode else "..."
        return text[: max(0, width - len(sign))] + sign

    def wrap(self, text: str, indent: str = "", style: str = "", later: str = "") -> list[str]:
        """``text`` as lines of ``width``, each behind ``indent``; later ones also ``later``."""
        lines = textwrap.wrap(
            text,
            self.width,
            initial_indent=indent,
            subsequent_indent=indent + later,
            break_on_hyphens=False,  # routes and kinds hold hyphens
        )
        return [self.paint(line, style) if style else line for line in lines]


#: Outcomes that differ from the expectation, the worst first, and what is said of them.
DEVIATIONS = {
    "new": "expected to pass",
    "changed": "stopped otherwise than recorded",
    "fixed": "recorded as failing, but passed",
}


@dataclasses.dataclass(frozen=True)
class Mark:
    """One character for one verdict or state."""

    unicode: str
    ascii: str
    meaning: str
    style: str


MARKS = {
    "excellent": Mark("●", "@", "excellent", "good"),
    "acceptable": Mark("○", "o", "acceptable", "good"),
    "investigate": Mark("≠", "#", "investigate (wrong)", "wrong"),
    "refused": Mark("⊘", "/", "refused", "bad"),
    "failed": Mark("✗", "X", "failed", "bad"),
    "unavailable": Mark("·", ".", "unavailable", "quiet"),
    "void": Mark("∅", "0", "void (bad reference)", "quiet"),
    "unjudged": Mark("▹", ">", "not judged", "quiet"),
    "planned": Mark("…", "_", "not run", "quiet"),
    "interrupted": Mark("~", "~", "interrupted", "quiet"),
}

#: Follows the mark of a cell that differs from its expectation.
DEVIATION_SIGN = "!"


def mark_of(row: Row) -> str:
    """The key into ``MARKS``: the verdict of a finished cell, else how far it came."""
    state = row.get("state") or "done"
    if state == "planned":
        return "planned"
    if state != "done":
        return "interrupted"
    return row.get("verdict") or "unjudged"


def is_known_failure(row: Row) -> bool:
    """It did not pass, and that is what was recorded of it."""
    return row.get("expected") == "as-expected" and row.get("verdict") not in PASSING


def _in_order(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def matrix(rows: Sequence[Row], terminal: Terminal = Terminal()) -> list[str]:
    """Models by routes with one mark a verdict, a block per version set, device, precision.

    Routes stand in the order planned, models grouped by family. The route names form a
    stair above their columns (and below them under a long block), which reads without
    numbers to look up and fits 80 columns. Routes that do not fit go into a further block.
    """
    lines: list[str] = []
    groups = _in_order((r["version_set"], r["device"], r["precision"]) for r in rows)
    for group in groups:
        own = [r for r in rows if (r["version_set"], r["device"], r["precision"]) == group]
        if lines:
            lines.append("")
        lines.append(terminal.paint("  ".join(group), "heading"))
        lines += _blocks(own, terminal)
    if lines:
        lines += ["", *legend(rows, terminal)]
    return lines


def _blocks(rows: Sequence[Row], terminal: Terminal) -> list[str]:
    families = _in_order(row.get("family") or "" for row in rows)
    models = _in_order((row.get("family") or "", row["model"]) for row in rows)
    models.sort(key=lambda pair: families.index(pair[0]))
    routes = statistics.route_order(rows)
    widest_pair = max(len(family) + 2 + len(model) for family, model in models)
    gutter = max(widest_pair, *(len(route) for route in routes))
    # a third of the line at least is left to the marks
    gutter = min(gutter, terminal.width - max(8, min(2 * len(routes), terminal.width // 3)) - 1)
    by_cell = {(row["model"], row["route"]): row for row in rows}
    lines: list[str] = []
    columns = (terminal.width - gutter - 1) // 2
    for start in range(0, len(routes), columns):
        shown = routes[start : start + columns]
        lines += _stair(shown, gutter, terminal)
        lines += _model_lines(models, shown, by_cell, gutter, terminal)
        if len(models) > 30:  # its head has scrolled away when its foot is read
            lines += _stair(shown, gutter, terminal, below=True)
    return lines


def _stair(
    routes: Sequence[str], gutter: int, terminal: Terminal, below: bool = False
) -> list[str]:
    """One line a route: its name, and a line to its column. The last is the outermost."""
    across, down = ("─", "│") if terminal.unicode else ("-", "|")
    corner = ("┘" if below else "┐") if terminal.unicode else "+"
    lines = []
    for place, route in enumerate(routes):
        name = terminal.cut(route, gutter).rjust(gutter)
        reach = across * (2 * place) + corner
        later = "".join(" " + down for _ in routes[place + 1 :])
        lines.append(name + " " + terminal.paint(reach + later, "quiet"))
    return lines if below else lines[::-1]


def _model_lines(
    models: Sequence[tuple[str, str]],
    routes: Sequence[str],
    by_cell: Mapping[tuple[str, str], Row],
    gutter: int,
    terminal: Terminal,
) -> list[str]:
    lines = []
    before = None
    for family, model in models:
        title = family if family != before else ""
        before = family
        if title and len(title) + 2 + len(model) > gutter:
            lines.append(terminal.paint(terminal.cut(title, gutter), "heading"))
            title = ""
        name = terminal.cut(model, gutter)
        space = " " * (gutter - len(title) - len(name))
        marks = "".join(_painted_mark(by_cell.get((model, route)), terminal) for route in routes)
        painted = terminal.paint(title, "heading") if title else ""
        lines.append(painted + space + name + " " + marks)
    return [line.rstrip() for line in lines]


def _painted_mark(row: Row | None, terminal: Terminal) -> str:
    """Two columns: the mark, and the sign of a deviation or a space."""
    if row is None:
        return "  "
    mark = MARKS[mark_of(row)]
    character = mark.unicode if terminal.unicode else mark.ascii
    if row.get("expected") in DEVIATIONS:
        return terminal.paint(character + DEVIATION_SIGN, "new")
    style = "quiet" if is_known_failure(row) else mark.style
    return terminal.paint(character, style) + " "


def legend(rows: Sequence[Row], terminal: Terminal = Terminal()) -> list[str]:
    """The marks that occur, and how expectations are shown."""
    present = {mark_of(row) for row in rows}
    parts = []
    for name, mark in MARKS.items():
        if name in present:
            character = mark.unicode if terminal.unicode else mark.ascii
            parts.append((f"{character} {mark.meaning}", mark.style))
    if any(row.get("expected") in DEVIATIONS for row in rows):
        parts.append((f"{DEVIATION_SIGN} differs from its expectation", "new"))
    lines, used, line = [], 0, ""
    for text, style in parts:
        if used and used + 3 + len(text) > terminal.width:
            lines.append(line)
            used, line = 0, ""
        line += ("   " if used else "") + terminal.paint(text, style)
        used += (3 if used else 0) + len(text)
    return lines + [line] if line else lines


def totals(rows: Sequence[Row], terminal: Terminal = Terminal()) -> str:
    """One line: how many cells, and how many of each verdict and state (may be long)."""
    counts = {name: 0 for name in MARKS}
    for row in rows:
        counts[mark_of(row)] += 1
    said = []
    for name, count in counts.items():
        if count:
            called = name if name in VERDICTS else MARKS[name].meaning
            said.append(terminal.paint(f"{count} {called}", MARKS[name].style))
    return f"{len(rows)} cells: " + (", ".join(said) or "none planned")


_RATE_HEADS = ("route", "passed", "rate", "95%", "planned", "convert", "native")


def route_rates(rows: Sequence[Row], terminal: Terminal = Terminal()) -> list[str]:
    """A line a route: passed of attempted, rate and its 95% Wilson interval, and of planned.

    Beside them the median seconds of conversion and the latency over native's.
    """
    lines: list[str] = []
    found = statistics.rates(rows)
    groups = _in_order(rate.group for rate in found)
    for group in groups:
        own = [rate for rate in found if rate.group == group]
        table = [_RATE_HEADS, *(_rate_cells(rate, terminal) for rate in own)]
        widths = [max(len(line[i]) for line in table) for i in range(len(_RATE_HEADS))]
        gaps = len(widths) - 1
        gap = "  " if sum(widths) + 2 * gaps <= terminal.width else " "
        widths[0] = min(widths[0], terminal.width - sum(widths[1:]) - len(gap) * gaps)
        if lines:
            lines.append("")
        if len(groups) > 1:
            lines.append(terminal.paint("  ".join(group), "heading"))
        for number, cells in enumerate(table):
            name = terminal.cut(cells[0], widths[0]).ljust(widths[0])
            text = gap.join([name, *(c.rjust(w) for c, w in zip(cells[1:], widths[1:]))])
            if number == 0:
                text = terminal.paint(text, "heading")
            elif not own[number - 1].attempted:
                text = terminal.paint(text, "quiet")
            lines.append(text)
    if lines:
        note = (
            "passed of attempted (unavailable and void count for neither), its 95% Wilson "
            "interval; planned: passed of all planned; convert: median; native: geometric mean "
            "of latency over torch-eager's, below 1x is faster."
        )
        lines += terminal.wrap(note, style="quiet")
    return lines


def _rate_cells(rate: statistics.RouteRate, terminal: Terminal) -> tuple[str, ...]:
    dash = "–" if terminal.unicode else "-"
    if rate.attempted:
        low, high = (round(100 * bound) for bound in rate.interval)
        shares = (f"{100 * rate.passed / rate.attempted:.1f}%", f"{low}{dash}{high}%")
    else:
        shares = ("", "")
    seconds, ratio = rate.convert_median_s, rate.ratio_to_native
    return (
        rate.route,
        f"{rate.passed}/{rate.attempted}",
        *shares,
        f"{100 * rate.passed / rate.planned:.1f}%",
        "" if seconds is None else f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s",
        "" if ratio is None else f"{ratio:.2f}x",
    )


def run_again(row: Row) -> str:
    """The command that runs one cell alone, as far as a row can tell."""
    return f'pytest bench/ -k "{row["model"]}-{row["route"]}"'


def changes(
    rows: Sequence[Row],
    terminal: Terminal = Terminal(),
    command: Callable[[Row], str] = run_again,
    most: int = 6,
) -> list[str]:
    """What differs from the expectations: the cell, what was expected, what happened, why,
    and the command that runs it alone again.

    Cells that stopped with one signature are one cluster under one error line; of a
    cluster ``most`` cells are shown in full, the others by name. Commands are never cut.
    """
    lines: list[str] = []
    several = len({(r["version_set"], r["device"], r["precision"]) for r in rows}) > 1
    clusters: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if row.get("expected") in DEVIATIONS:
            cause = row.get("signature") or ""
            if row["expected"] == "fixed":
                cause = ""  # what passes needs no cause
            elif not cause:  # nothing says that two such cells share a cause
                cause = f"{_name(row, True)} alone"
            clusters.setdefault((row["expected"], cause), []).append(row)
    order = list(DEVIATIONS)
    for (deviation, cause), own in sorted(
        clusters.items(), key=lambda item: (order.index(item[0][0]), -len(item[1]))
    ):
        title = f"{len(own)} cell{'s' if len(own) > 1 else ''} {DEVIATIONS[deviation]}"
        title += ", same error:" if len(own) > 1 and cause else ":"
        lines.append(terminal.paint(title, "heading"))
        lines += _error(own[0], terminal)
        for row in own[:most]:
            lines += _change(row, _name(row, several), terminal)
            lines.append(f"    {command(row)}")
        if len(own) > most:
            names = ", ".join(_name(row, several) for row in own[most:])
            more = f"and {len(own) - most} more: {names}"
            lines += terminal.wrap(more, "  ", "quiet", later="  ")
    for name in _in_order(r["version_set"] for r in rows if r.get("expected") == "no-expectation"):
        text = (
            f"{name} has no expectations: outcomes are recorded; only faults of the harness, "
            "measurements and environments that could not be made fail"
        )
        if any(r["version_set"] == name and r["device"] != "cpu" for r in rows):
            text += ", and what the card, its driver or a process on it did"
        text += "."
        lines += terminal.wrap(text, style="quiet")
    return lines


def _name(row: Row, several: bool) -> str:
    short = f"{row['model']}-{row['route']}"
    return f"{row['version_set']}:{row['device']}:{row['precision']}:{short}" if several else short


def _change(row: Row, name: str, terminal: Terminal) -> list[str]:
    """One line where it fits, else what happened stands on lines of its own."""
    arrow = " → " if terminal.unicode else " -> "
    happened = [row.get(part) for part in ("stage", "kind", "verdict")]
    if row.get("verdict") in PASSING:
        happened = [row["verdict"]]
    text = f"{row.get('expected_outcome') or 'pass'}{arrow}{' '.join(filter(None, happened))}"
    if 4 + len(name) + len(text) <= terminal.width:
        return [f"  {terminal.paint(name, 'new')}  {text}"]
    return ["  " + terminal.paint(name, "new"), *terminal.wrap(text, "    ")]


def _error(row: Row, terminal: Terminal) -> list[str]:
    """The first line of the error, on two lines of text at most."""
    wrapped = terminal.wrap(row.get("message") or "", "  ")
    if len(wrapped) > 2:
        rest = "  " + " ".join(line.strip() for line in wrapped[1:])
        wrapped[1:] = [terminal.cut(rest, terminal.width)]
    return [terminal.paint(line, "bad") for line in wrapped]

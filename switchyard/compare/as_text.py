"""A comparison as lines for a terminal: what became worse first, then the rest by weight."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Sequence

from switchyard.compare import saying, tallies, verdicts
from switchyard.compare.comparison import Comparison
from switchyard.compare.pairing import Table
from switchyard.compare.rendering import Terminal
from switchyard.compare.saying import TITLES
from switchyard.tables.schema import one_line

if TYPE_CHECKING:
    import pandas

#: Cells of a cluster that are shown with their figures; the others by name.
MOST_SHOWN = 6
#: Names in one list, and clusters of one verdict; beyond that a number, and where they are.
MOST_NAMES = 40
MOST_CLUSTERS = 12
#: Routes whose wins are shown as a square; more would fill screens.
MOST_SQUARE = 40

_STYLES = {**dict.fromkeys(verdicts.WORSE, "bad"), **dict.fromkeys(verdicts.BETTER, "good")}
_SHOWN_CHANGES = (*verdicts.WORSE, *verdicts.BETTER)


def report(comparison: Comparison, terminal: Terminal, only: Sequence[str] = ()) -> list[str]:
    """All of it. ``only`` names the verdicts whose cells are listed; what is counted, and
    the rates, stay those of all cells."""
    lines = header(comparison, terminal)
    for verdict in only or _SHOWN_CHANGES:
        shown = _cells_of(comparison, verdict, terminal)
        if shown:
            lines += ["", *shown]
    if not only:
        for part in (_not_comparable, _ambiguous, _rates, _funnel, _wins):
            shown = part(comparison, terminal)
            if shown:
                lines += ["", *shown]
    lines += ["", *terminal.wrap(overall(comparison), later="  ")]
    return [*lines, *totals(comparison, terminal)]


def _arrow(terminal: Terminal) -> str:
    return " → " if terminal.unicode else " -> "


def _ascii(text: str, terminal: Terminal) -> str:
    return text if terminal.unicode else text.replace("→", "->")


def header(comparison: Comparison, terminal: Terminal) -> list[str]:
    """Which two tables, how they were paired, and what differs around them."""
    lines = []
    for label in ("before", "after"):
        table: Table = getattr(comparison, label)
        lines += terminal.wrap(f"{label:<7} {one_line(table.label)}", style="heading", later=" " * 8)
        lines += terminal.wrap(described(table), " " * 8)
    lines.append("")
    for text in around(comparison):
        lines += terminal.wrap(_ascii(one_line(text), terminal), later="  ")
    return lines


def described(table: Table) -> str:
    """``774 cells, torch2.13-tf2.21, quick tier, started 2026-11-22T22:59:26+00:00``."""
    said = [f"{len(table.cells)} cells", ", ".join(map(one_line, table.sets))]
    if table.tier:
        said.append(f"{table.tier} tier" + (", not the whole of it" if table.narrowed else ""))
    about = table.about or {}
    if about.get("started"):
        said.append(f"started {about['started']}")
    if about.get("state") not in (None, "done"):
        said.append(f"a run that is {about['state']}")
    if not about:
        said.append("no run.json beside it")
    return ", ".join(said)


def around(comparison: Comparison) -> list[str]:
    """Sentences: pairing, what was left out, packages, other conditions, timing."""
    before, after = comparison.before, comparison.after
    across = "version_set" not in comparison.by and before.sets != after.sets
    said = [
        f"Paired by {', '.join(comparison.by)}"
        + (f": {before.sets[0]} against {after.sets[0]}." if across else ".")
    ]
    if before.tier != after.tier and before.tier and after.tier:
        said.append(
            f"Tiers differ ({before.tier} → {after.tier}): only cells of both are compared."
        )
    for reason, count in comparison.outside.items():
        said.append(f"{count} cells left out: {reason}.")
    for pattern, count in comparison.ignored.items():
        cells = f"{count} cells" if count else "no cell at all: is it spelt as MODEL-ROUTE?"
        said.append(f"Ignored by {pattern!r}: {cells}" + ("." if count else ""))
    said.append(packages(comparison))
    said += [f"Note: {condition}." for condition in comparison.conditions]
    said += timing(comparison)
    return said


def packages(comparison: Comparison, most: int = 20) -> str:
    """One sentence on what is installed otherwise."""
    changes = comparison.packages
    if changes is None:
        return "Packages: not recorded on both sides, so what differs is not known."
    if not changes:
        return "Packages: none differs."
    several = len({change.environment for change in changes}) > 1
    named = [
        (f"{change.environment}: " if several else "")
        + f"{change.package} {change.before or 'absent'} → {change.after or 'absent'}"
        for change in changes
    ]
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return f"Packages that differ ({len(named)}): {', '.join(named[:most])}{more}."


def timing(comparison: Comparison) -> list[str]:
    """Whether times were compared, and if not why."""
    cells = comparison.cells
    timed = int(cells["timing"].isin(["as-before", "ambiguous", "slower", "faster"]).sum())
    said = []
    if timed:
        level = round(100 * comparison.thresholds.latency_confidence)
        said.append(
            f"Timing: {timed} cells by their ratio to torch eager over several launches, "
            f"{level}% intervals."
        )
    unfit = cells[(cells["timing"] == "not-comparable") & (cells["route"] != "torch-eager")]
    for reason, count in unfit["timing_why"].value_counts().items():
        said.append(f"Timing not comparable in {count} cells: {reason}.")
    if comparison.native:
        native = comparison.native
        said.append(
            f"torch eager itself took {native['ratio']:.2f} times as long "
            f"(geometric mean of {native['models']} models); that is divided out."
        )
    return said


def _cells_of(comparison: Comparison, verdict: str, terminal: Terminal) -> list[str]:
    groups = tallies.clusters(comparison.cells, verdict)
    if not groups:
        return []
    total = sum(map(len, groups))
    style = _STYLES.get(verdict, "quiet")
    many = f", {len(groups)} causes" if len(groups) > 1 else ""
    heading = f"{verdict}: {total} cell{'s' * (total > 1)} {TITLES[verdict]}{many}"
    lines = [terminal.paint(heading, style)]
    several = _several(comparison.cells)
    if verdict in ("new", "gone", "same"):
        return lines + _by_outcome(groups[0], verdict, several, terminal)
    for group in groups[:MOST_CLUSTERS]:
        lines += _cluster(group, several, terminal)
    if len(groups) > MOST_CLUSTERS:
        rest = groups[MOST_CLUSTERS:]
        text = f"and {sum(map(len, rest))} more cells of {len(rest)} further causes: see --json"
        lines += terminal.wrap(text, "  ", "quiet")
    return lines


def _several(cells: "pandas.DataFrame") -> bool:
    """Whether a cell's short name could mean two cells."""
    return any(cells[name].nunique() > 1 for name in ("version_set", "device", "precision"))


def _name(row: Mapping[str, Any], several: bool) -> str:
    cell = saying.cell_of(row)
    return one_line(cell.id if several else cell.short)


def _cluster(group: "pandas.DataFrame", several: bool, terminal: Terminal) -> list[str]:
    lines = []
    shown = group.head(MOST_SHOWN).to_dict("records")
    error = saying.error_line(shown[0])
    if error and shown[0]["verdict"] in ("broke", "changed-failure", "fixed"):
        wrapped = terminal.wrap(error, "  ")
        if len(wrapped) > 2:
            rest = "  " + " ".join(line.strip() for line in wrapped[1:])
            wrapped[1:] = [terminal.cut(rest, terminal.width)]
        count = f"{len(group)} cells, one error:" if len(group) > 1 else ""
        lines += [*([f"  {count}"] if count else []), *(terminal.paint(w, "bad") for w in wrapped)]
    for row in shown:
        name, text = _name(row, several), one_line(saying.figures(row, _arrow(terminal)))
        if 6 + len(name) + len(text) <= terminal.width:
            lines.append(f"    {name}  {text}".rstrip())
        else:
            lines += [*terminal.wrap(name, "    "), *terminal.wrap(text, "      ")]
    return lines + _others(group.iloc[MOST_SHOWN:], several, terminal)


def _others(rest: "pandas.DataFrame", several: bool, terminal: Terminal) -> list[str]:
    if not len(rest):
        return []
    names = [_name(row, several) for row in rest.head(MOST_NAMES).to_dict("records")]
    text = f"and {len(rest)} more: {', '.join(names)}"
    if len(rest) > MOST_NAMES:
        text += f", and {len(rest) - MOST_NAMES} that --json lists"
    return terminal.wrap(text, "    ", "quiet", later="  ")


def _by_outcome(
    own: "pandas.DataFrame", verdict: str, several: bool, terminal: Terminal
) -> list[str]:
    """A line a route: how many, their verdicts and their names."""
    lines = []
    side = "before" if verdict == "gone" else "after"
    for route, group in own.groupby("route", sort=False):
        found = group[f"{side}_verdict"].replace("", "not judged").value_counts()
        counts = ", ".join(f"{count} {name}" for name, count in found.items())
        names = [_name(row, True) if several else one_line(row["model"])
                 for row in group.head(MOST_NAMES).to_dict("records")]  # fmt: skip
        text = f"{one_line(route)} ({counts}): {', '.join(names)}"
        if len(group) > MOST_NAMES:
            text += f", and {len(group) - MOST_NAMES} that --json lists"
        lines += terminal.wrap(text, "  ", later="    ")
    return lines


def _not_comparable(comparison: Comparison, terminal: Terminal) -> list[str]:
    own = comparison.cells[comparison.cells["verdict"] == "not-comparable"]
    lines = []
    for reason, group in own.groupby("reason", sort=False):
        names = [_name(row, _several(comparison.cells)) for row in group.head(6).to_dict("records")]
        more = f" and {len(group) - 6} more" if len(group) > 6 else ""
        text = f"not comparable: {len(group)} cells, {reason}: {', '.join(names)}{more}"
        lines += terminal.wrap(text, "", "quiet", later="  ")
    return lines


def _ambiguous(comparison: Comparison, terminal: Terminal) -> list[str]:
    """Cells whose time seems to have changed without anything to hold it up."""
    own = comparison.cells[comparison.cells["timing"] == "ambiguous"]
    if not len(own):
        return []
    slower = int((own["change"] > 1).sum())
    text = (
        f"ambiguous timing: {len(own)} cells beyond {comparison.thresholds.latency_ratio:g} "
        f"times ({slower} slower, {len(own) - slower} faster) on too little evidence; more "
        "launches of both runs would decide (--launches)."
    )
    return terminal.wrap(text, "", "quiet", later="  ")


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else ""


def changed(was: object, now: object, arrow: str) -> str:
    return str(was) if was == now else f"{was}{arrow.strip()}{now}"


def _rates(comparison: Comparison, terminal: Terminal) -> list[str]:
    """Passed of attempted and of planned over the cells of both; only what moved."""
    rows = []
    arrow = _arrow(terminal)
    for row in comparison.routes.to_dict("records"):
        if not row["planned"]:
            continue
        pairs = [(row[f"{side}_passed"], row[f"{side}_attempted"]) for side in ("before", "after")]
        if pairs[0] != pairs[1]:
            rows.append((
                row,
                changed(*(f"{passed}/{attempted}" for passed, attempted in pairs), arrow),
                changed(*(share(*pair) for pair in pairs), arrow),
                changed(*(share(pair[0], row["planned"]) for pair in pairs), arrow),
            ))  # fmt: skip
    return _table(
        "Rates that moved, over the cells that both tables planned",
        ("passed", "of attempted", "of planned"), rows, comparison, terminal,
    )  # fmt: skip


def _funnel(comparison: Comparison, terminal: Terminal) -> list[str]:
    """How many cells of each route got past each stage; only what moved."""
    rows = []
    for row in comparison.routes.to_dict("records"):
        past = [
            tuple(row[f"{side}_past_{stage}"] for stage in tallies.FUNNEL)
            for side in ("before", "after")
        ]
        if past[0] != past[1]:
            moved = [changed(was, now, _arrow(terminal)) for was, now in zip(*past)]
            rows.append((row, str(row["planned"]), *moved))
    heads = ("planned", *tallies.FUNNEL)
    return _table("Cells that got past each stage, where that moved", heads, rows, comparison, terminal)  # fmt: skip


def _table(
    title: str,
    heads: Sequence[str],
    rows: Sequence[tuple],
    comparison: Comparison,
    terminal: Terminal,
) -> list[str]:
    """Figures to the right of the routes, a block for each set, device and precision."""
    planned = comparison.routes[comparison.routes["planned"] > 0]
    still = len(planned) - len(rows)
    if not rows:
        return [terminal.paint(f"{title}: none of {still} lines.", "quiet")] if still else []
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
            lines.append(terminal.paint(head, "heading"))
        name = terminal.cut(one_line(row["route"]), first).ljust(first)
        lines.append(
            "  " + name + "".join("  " + text.rjust(w) for text, w in zip(figures, widths))
        )
    if still:
        lines.append(terminal.paint(f"  {still} other lines did not move.", "quiet"))
    return lines


def _wins(comparison: Comparison, terminal: Terminal) -> list[str]:
    """The square of who passes where others do not."""
    routes, square = comparison.wins
    if len(routes) < 2:
        return []
    if len(routes) > MOST_SQUARE:
        text = f"Who wins where: {len(routes)} routes, too many for a screen; see --json."
        return terminal.wrap(text, style="quiet")
    cell = max(2, len(str(max(square.max(), len(routes))))) + 1
    gutter = max(len(one_line(route)) for route in routes) + 4
    columns = max(1, (terminal.width - gutter) // cell)
    text = (
        "Who wins where, after: models that the line's route passes and the column's does "
        "not, of those that both were judged on"
    )
    lines = terminal.wrap(text, style="heading")
    for start in range(0, len(routes), columns):
        shown = range(start, min(start + columns, len(routes)))
        head = " " * gutter + "".join(str(number + 1).rjust(cell) for number in shown)
        lines.append(terminal.paint(head, "quiet"))
        for place, route in enumerate(routes):
            name = f"{place + 1:>2}  {one_line(route)}".ljust(gutter)
            counts = "".join(_count(square, place, other, cell, terminal) for other in shown)
            lines.append((name + counts).rstrip())
    return lines


def _count(square, place: int, other: int, cell: int, terminal: Terminal) -> str:
    if place == other:
        return ("·" if terminal.unicode else ".").rjust(cell)
    return str(square[place][other]).rjust(cell)


def totals(comparison: Comparison, terminal: Terminal) -> list[str]:
    """How many of each verdict, and what that comes to."""
    counts = ", ".join(f"{count} {name}" for name, count in comparison.counts.items())
    lines = terminal.wrap(f"{len(comparison.cells)} cells: {counts or 'none'}", later="  ")
    return [*lines, terminal.paint(conclusion(comparison), _conclusion_style(comparison))]


def overall(comparison: Comparison) -> str:
    """The rates of both sides over all cells that both planned, in a sentence."""
    sums = comparison.routes.sum(numeric_only=True)
    planned = int(sums["planned"])
    if not planned:
        return "No cell is planned in both tables."
    said = []
    for side in ("before", "after"):
        passed, attempted = int(sums[f"{side}_passed"]), int(sums[f"{side}_attempted"])
        of = [f"{share(passed, planned)} of planned"]
        if attempted:
            of.insert(0, f"{share(passed, attempted)} of attempted")
        said.append(f"{side} {passed} passed ({', '.join(of)})")
    extra = [f"{int(sums[name])} {name}" for name in ("gone", "new") if sums[name]]
    more = f" Not among them: {', '.join(extra)}." if extra else ""
    return f"Of {planned} cells planned in both: {'; '.join(said)}.{more}"


def conclusion(comparison: Comparison) -> str:
    if comparison.status == 2:
        return "Nothing could be compared."
    if comparison.worse:
        return f"Worse: {comparison.worse} cells."
    return "Nothing became worse."


def _conclusion_style(comparison: Comparison) -> str:
    return "good" if comparison.status == 0 else "bad"

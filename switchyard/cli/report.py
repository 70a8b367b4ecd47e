"""``switchyard report RUN``: what a run printed at its end, from its table."""

from __future__ import annotations

import argparse

from switchyard.cli import screen


def add(commands) -> None:
    parser = commands.add_parser(
        "report",
        help="the summary of a run, from its table",
        description=__doc__,
        epilog="exit status: 0, and 2 where the table cannot be read",
    )
    parser.add_argument("table", metavar="RUN",
                        help="a run's folder, a cells.csv, or a version set's name, which means "
                        "its newest whole run")  # fmt: skip
    parser.add_argument("--results", default="results", metavar="DIR",
                        help="where the runs of a set's name are (default: results)")  # fmt: skip
    parser.add_argument("--markdown", metavar="FILE",
                        help="write it as Markdown; - is standard output")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare import as_markdown, rendering
    from switchyard.runner.summary import run_again
    from switchyard.tables import opening
    from switchyard.tables.reading import TableError

    targets = [("--markdown", options.markdown)] if options.markdown else []
    try:
        found = opening.find(options.table, options.results)
        place = found.folder or found.path
        if problem := screen.conflict(targets, [place]):
            return screen.complain(problem)
        rows = as_rows(found.cells())
    except (TableError, OSError) as error:
        return screen.complain(str(error))
    if options.markdown:
        lines = as_markdown.run_lines(rows, str(place))
        try:
            screen.write(
                options.markdown, (line.encode("utf-8", "replace") + b"\n" for line in lines)
            )
        except BrokenPipeError:
            screen.show([])
        except OSError as error:
            return screen.complain(f"the report cannot be written: {error}")
        if options.markdown == "-":
            return 0
    terminal = screen.terminal()
    lines = [*rendering.matrix(rows, terminal), "", *rendering.route_rates(rows, terminal)]
    if differing := rendering.changes(rows, terminal, command=run_again):
        lines += ["", *differing]
    lines += ["", rendering.totals(rows, terminal), terminal.paint(f"table: {place}", "heading")]
    screen.show(lines)
    return 0


def as_rows(cells) -> list:
    """The rows as dicts of Python's own values, None where nothing is known.

    Texts lose control characters, which a table of somebody else's may hold.
    """
    from switchyard.tables.schema import one_line

    rows = cells.astype(object).where(cells.notna(), None).to_dict("records")
    return [
        {name: (one_line(v) or None) if isinstance(v, str) else v for name, v in row.items()}
        for row in rows
    ]

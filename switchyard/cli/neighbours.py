"""``switchyard neighbours A B C ...``: what differs from each version set to the next."""

from __future__ import annotations

import argparse
import sys

from switchyard.cli import compare, screen


def add(commands) -> None:
    parser = commands.add_parser(
        "neighbours",
        help="what differs from each of several tables to the next",
        description="Compare each table with the next, oldest first, and write one page of it "
        "in Markdown: a table of rates over all of them, then what broke, became less accurate "
        "or was fixed between neighbours, cause by cause.",
        epilog="exit status: 0, and 2 where a table cannot be read or a pair has nothing in common",
    )
    parser.add_argument("tables", nargs="+", metavar="TABLE",
                        help="a run's folder, a cells.csv, or a version set's name")  # fmt: skip
    parser.add_argument("--results", default="results", metavar="DIR",
                        help="where the runs of a set's name are (default: results)")  # fmt: skip
    parser.add_argument("--markdown", default="-", metavar="FILE",
                        help="the page (default: -, standard output)")  # fmt: skip
    parser.add_argument("--thresholds", metavar="FILE",
                        help="TOML of what counts as a difference, as in README.md")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare import neighbours_as_markdown
    from switchyard.compare.comparison import compare as compared
    from switchyard.tables import opening
    from switchyard.tables.reading import TableError

    if len(options.tables) < 2:
        return screen.complain("neighbours needs two tables or more, oldest first")
    try:
        thresholds = compare.read_thresholds(options.thresholds)
        found = opening.find_all(options.tables, options.results)
        comparisons = [
            compared(*compare.both_tables(*pair), thresholds) for pair in zip(found, found[1:])
        ]
    except (TableError, ValueError, OSError) as error:
        return screen.complain(str(error))
    for one in [comparisons[0].before, *(each.after for each in comparisons)]:
        for what in ("version_set", "device"):
            several = sorted(one.cells[what].unique())
            if len(several) > 1:
                return screen.complain(
                    f"{one.label} is of {' and '.join(several)}, and each model would count once "
                    "for each: name one version set, in a run of one device"
                )
    inputs = [one.folder or one.path for one in found]
    if problem := screen.conflict([("--markdown", options.markdown)], inputs):
        return screen.complain(problem)
    lines = neighbours_as_markdown.lines(comparisons)
    try:
        screen.write(options.markdown, (f"{line}\n".encode("utf-8", "replace") for line in lines))
    except BrokenPipeError:
        screen.show([])
    except OSError as error:
        return screen.complain(f"the page cannot be written: {error}")
    empty = [one for one in comparisons if one.status == 2]
    for one in empty:
        print(
            f"switchyard: {one.before.label} and {one.after.label} have nothing to compare",
            file=sys.stderr,
        )
    return 2 if empty else 0

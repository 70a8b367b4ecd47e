"""``switchyard neighbours A B C ...``: what differs from each version set to the next."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from switchyard.cli import screen, sides

if TYPE_CHECKING:
    from switchyard.tables.opening import Found


def add(commands) -> None:
    parser = commands.add_parser(
        "neighbours",
        help="what differs from each of several version sets to the next",
        description="Compare each table with the next, oldest first, and write one page of it "
        "in Markdown: a table of rates over all of them, then what broke, became less accurate "
        "or was fixed between neighbours, cause by cause. A run of several version sets stands for "
        "a table of each; where two such runs meet in one set, each keeps the step that it "
        "measured itself.",
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
    from switchyard.compare.comparison import compare
    from switchyard.tables import opening
    from switchyard.tables.reading import TableError

    try:
        thresholds = sides.read_thresholds(options.thresholds)
        found = opening.find_all(options.tables, options.results)
        pairs = list(steps([opening.by_set(one) for one in found]))
        if not pairs:
            return screen.complain(
                "neighbours needs two tables or more, oldest first, or a run of several version "
                "sets"
            )
        comparisons = [
            compare(
                *sides.both_tables(*pair), thresholds, notes=sides.notes(*pair, options.results)
            )
            for pair in pairs
        ]
    except (TableError, ValueError, OSError) as error:
        return screen.complain(str(error))
    for one in itertools.chain.from_iterable((each.before, each.after) for each in comparisons):
        devices = sorted(one.cells["device"].unique())
        if len(devices) > 1:
            return screen.complain(
                f"{one.label} is of {' and '.join(devices)}, and each model would count once "
                "for each: name a run of one device"
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


def steps(tables: Sequence[Sequence[Found]]) -> Iterator[tuple[Found, Found]]:
    """The pairs to compare, of each table's version sets in their order.

    Two runs of several sets that meet in one need no step from that set to itself: the first
    run's ends one step and the second's begins the next, each timed in turn with its neighbour.
    """
    for sets, following in itertools.zip_longest(tables, tables[1:], fillvalue=()):
        yield from itertools.pairwise(sets)
        if not following:
            return
        several = len(sets) > 1 and len(following) > 1
        if not (several and sets[-1].only_set == following[0].only_set):
            yield sets[-1], following[0]

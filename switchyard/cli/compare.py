"""``switchyard compare A [B]``: what became of each cell from one table to another."""

from __future__ import annotations

import argparse
import functools
import sys

from switchyard.cli import screen, sides

_STATUS = """\
A and B are each a run's folder, a cells.csv, or a version set's name, which means its newest
whole run under --results. A alone is a run of two version sets, the second compared with the
first. FILE may be -, standard output, in place of the report for people.

exit status: 0 nothing is worse; 1 something is (broke, gone, changed-failure, less-accurate,
onto-cpu, slower, more-memory, a route slower over its models) that --allow does not name, whether
or not --only shows it; 2 nothing could be compared, a table cannot be read, the arguments are
wrong, or the command itself failed.
"""


def add(commands) -> None:
    parser = commands.add_parser(
        "compare",
        help="what became of each cell from one table to another",
        description=__doc__,
        epilog=_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("before", metavar="A", help="the table before")
    parser.add_argument("after", metavar="B", nargs="?",
                        help="the table after; without it A's second version set")  # fmt: skip
    parser.add_argument("--results", default="results", metavar="DIR",
                        help="where the runs of a set's name are (default: results)")  # fmt: skip
    for name, what in (("markdown", "as Markdown"), ("json", "every cell as JSON"),
                       ("junit", "a test case a cell as JUnit XML")):  # fmt: skip
        parser.add_argument(f"--{name}", metavar="FILE", help=f"write the comparison, {what}")
    parser.add_argument("--only", action="append", default=[], metavar="VERDICT",
                        help="list only cells of this verdict; repeatable")  # fmt: skip
    parser.add_argument("--allow", action="append", default=[], metavar="VERDICT",
                        help="tell of cells of this verdict as ever, and do not count them as "
                        "worse; repeatable")  # fmt: skip
    parser.add_argument("--ignore", action="append", default=[], metavar="PATTERN",
                        help="leave cells out: a shell pattern on MODEL-ROUTE, or with a colon "
                        "on SET:DEVICE:PRECISION:MODEL-ROUTE; repeatable")  # fmt: skip
    parser.add_argument("--thresholds", metavar="FILE",
                        help="TOML of what counts as a difference, as in README.md")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare import as_text, sentences, verdicts
    from switchyard.compare.comparison import compare
    from switchyard.runner import again
    from switchyard.tables import opening
    from switchyard.tables.reading import TableError
    from switchyard.vocabulary import UnknownName

    targets = [(f"--{name}", getattr(options, name)) for name in ("markdown", "json", "junit")
               if getattr(options, name)]  # fmt: skip
    try:
        for verdict in options.only:
            if verdict not in verdicts.VERDICTS:
                raise UnknownName("verdict", verdict, verdicts.VERDICTS)
        for verdict in options.allow:
            if verdict not in verdicts.WORSE:
                raise UnknownName("verdict of what is worse", verdict, verdicts.WORSE)
        thresholds = sides.read_thresholds(options.thresholds)
        if options.after is None:
            before, after = opening.both_sets(options.before, options.results)
        else:
            before, after = opening.find_all((options.before, options.after), options.results)
        inputs = [found.folder or found.path for found in (before, after)]
        if problem := screen.conflict(targets, inputs):
            return screen.complain(problem)
        tables = sides.both_tables(before, after)
    except (TableError, UnknownName, ValueError, OSError) as error:
        return screen.complain(str(error))
    notes = sides.notes(before, after, options.results)
    comparison = compare(*tables, thresholds, options.ignore, notes, options.allow)
    written = {"--markdown": _markdown, "--json": _json, "--junit": _junit}
    try:
        for option, name in targets:
            screen.write(name, written[option](comparison, options.only))
    except BrokenPipeError:
        screen.show([])
    except OSError as error:
        return screen.complain(f"the report cannot be written: {error}")
    if not any(name == "-" for _, name in targets):
        shown = screen.terminal()
        given = (tables[1].about or {}).get("options") or {}
        alone = functools.partial(again.of_row, options=given)
        screen.show(as_text.report(comparison, shown, options.only, alone))
    elif comparison.status == 2:
        print(f"switchyard: {sentences.conclusion(comparison)}", file=sys.stderr)
    return comparison.status


def _markdown(comparison, only):
    from switchyard.compare import as_markdown

    for line in as_markdown.comparison_lines(comparison, only):
        yield line.encode("utf-8", "replace") + b"\n"


def _json(comparison, only):
    from switchyard.compare import as_json

    for piece in as_json.pieces(comparison, only):
        yield piece.encode("utf-8", "replace")


def _junit(comparison, only):
    from switchyard.compare import as_junit

    yield as_junit.document(comparison, only)

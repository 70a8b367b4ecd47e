"""``switchyard compare A [B]``: what became of each cell from one table to another."""

from __future__ import annotations

import argparse
import functools
import sys
from pathlib import Path

from switchyard.cli import screen

_STATUS = """\
A and B are each a run's folder, a cells.csv, or a version set's name, which means its newest
whole run under --results. A alone is a run of two version sets, the second compared with the
first. FILE may be -, standard output, in place of the report for people.

exit status: 0 nothing is worse; 1 something is (broke, gone, changed-failure, less-accurate,
onto-cpu, slower, more-memory, a route slower over its models), whether or not --only shows it;
2 nothing could be compared, a table cannot be read, or the arguments are wrong.
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
        thresholds = read_thresholds(options.thresholds)
        if options.after is None:
            before, after = opening.both_sets(options.before, options.results)
        else:
            before, after = opening.find_all((options.before, options.after), options.results)
        inputs = [found.folder or found.path for found in (before, after)]
        if problem := screen.conflict(targets, inputs):
            return screen.complain(problem)
        tables = both_tables(before, after)
    except (TableError, UnknownName, ValueError, OSError) as error:
        return screen.complain(str(error))
    comparison = compare(*tables, thresholds, options.ignore, notes(before, after, options))
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


def notes(before, after, options: argparse.Namespace) -> list[str]:
    """On what runs there are beside the two: one that is better evidence of how times differ, and
    newer ones of a set that is named, which were not taken."""
    from switchyard.tables import opening, whole_runs

    said = []
    folder = opening.better_in_turn(before, after, options.results)
    if folder is not None:
        said.append(
            f"these are two runs, and in {folder} both sets took turns, launch by launch: name "
            "that run for how their times differ"
        )
    for one in (before, after):
        newer = []
        if one.newest:
            newer = whole_runs.newer_partial_runs(options.results, one.only_set, one.folder)
        if newer:
            more = f"; nor were {len(newer) - 1} more that are not whole" if newer[1:] else ""
            path, why = newer[0]
            said.append(f"{path}, a newer run of {one.only_set}, was not taken: it {why}{more}")
    return said


def read_thresholds(name: str | None):
    """The defaults, with what the file of that name says. Raises ValueError and OSError."""
    from switchyard.compare.thresholds import Thresholds

    if name is None:
        return Thresholds()
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    try:
        return Thresholds.from_mapping(tomllib.loads(Path(name).read_text("utf-8")))
    except ValueError as error:  # of the parser, of a value, of an unknown name, of the encoding
        raise ValueError(f"{name}: {error}") from error


def both_tables(before, after):
    """Both sides, read, with their launches where both have several. Raises TableError."""
    tables = [table(found) for found in (before, after)]
    if all(_most_launches(one) > 1 for one in tables):
        return [with_launches(one, found) for one, found in zip(tables, (before, after))]
    # A side without several launches is compared with nothing: spare the reading.
    return [single(one, other) for one, other in zip(tables, reversed(tables))]


def table(found):
    """One side, read, without its launches. Raises TableError."""
    from switchyard.compare.pairing import Table

    label = str(found.folder or found.path)
    if found.only_set:
        label += f" ({'the newest whole run of ' * found.newest}{found.only_set})"
    return Table(label, found.cells(), found.about(), None, "no samples without the run's folder")


def _most_launches(one) -> int:
    """Of any of its cells; 0 where none was measured."""
    counts = one.cells["launches"].dropna()
    return int(counts.max()) if len(counts) else 0


def single(one, other):
    """A side whose launches need not be read, with why."""
    import dataclasses

    most = _most_launches(one)
    if most > 1:
        others = "a single one" if _most_launches(other) else "none"
        why = f"several launches, and the other side has {others}"
    elif most:
        why = "a single launch a cell has no spread (--launches 5 in both runs gives one)"
    else:
        why = "no launch of any cell"
    return dataclasses.replace(one, why_no_launches=why)


def with_launches(one, found):
    """The side with every launch's median, or why there is none. Raises DamagedTable."""
    import dataclasses

    from switchyard.tables import opening
    from switchyard.tables.reading import MissingTable

    if found.folder is None:
        return one
    try:
        return dataclasses.replace(one, launches=opening.launch_medians(found.folder))
    except MissingTable:
        return dataclasses.replace(one, why_no_launches="the run's samples.parquet is missing")


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

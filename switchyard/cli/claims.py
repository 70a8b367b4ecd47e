"""``switchyard claims``: what the source document says of conversion, judged by tables."""

from __future__ import annotations

import argparse
import dataclasses
import json

from switchyard.cli import screen


def add(commands) -> None:
    parser = commands.add_parser(
        "claims",
        help="judge the source document's claims by tables of results",
        description="Judge each claim of the source document by the newest whole run of every "
        "version set under --results, or by the runs that are named. Nothing is judged that no "
        "table measured.",
        epilog="exit status: 0, and 2 where no table could be read",
    )
    parser.add_argument("tables", nargs="*", metavar="RUN",
                        help="a run's folder, a cells.csv, or a version set's name")  # fmt: skip
    parser.add_argument("--results", default="results", metavar="DIR",
                        help="where the runs lie (default: results)")  # fmt: skip
    parser.add_argument("--markdown", metavar="FILE",
                        help="write a Markdown table; - is standard output")  # fmt: skip
    parser.add_argument("--json", metavar="FILE",
                        help="write all, with every row it rests on; - is standard output")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare import claims
    from switchyard.tables.reading import TableError

    asked = {"--markdown": options.markdown, "--json": options.json}
    targets = [(option, name) for option, name in asked.items() if name]
    try:
        inputs, tables = _tables(options)
    except (TableError, OSError) as error:
        return screen.complain(str(error))
    if problem := screen.conflict(targets, inputs):
        return screen.complain(problem)
    judgements = claims.judge(tables)
    said = {claim.name: claim.said for claim in claims.CLAIMS}
    written = {"--markdown": _markdown, "--json": _json}
    try:
        for option, name in targets:
            screen.write(name, [written[option](judgements, said).encode()])
    except BrokenPipeError:
        screen.show([])
    except OSError as error:
        return screen.complain(f"the report cannot be written: {error}")
    if not any(name == "-" for _, name in targets):
        screen.show(_lines(judgements, said, screen.terminal()))
    return 0


def _tables(options: argparse.Namespace):
    """The places that are read, and version set -> rows. Raises TableError."""
    from switchyard.tables import opening, reading

    words = options.tables or reading.sets_with_whole_runs(options.results)
    if not words:
        raise reading.MissingTable(
            f"no whole run under {options.results}: run `pytest bench/` first, or name a run"
        )
    inputs, tables = [], {}
    for found in (opening.find(word, options.results) for word in words):
        inputs.append(found.folder or found.path)
        for row in reading.rows_of(found.cells()):
            tables.setdefault(row["version_set"], []).append(row)
    return inputs, tables


def _lines(judgements, said, terminal) -> list:
    styles = {"holds": "good", "does not hold": "bad", "not measured": "quiet"}
    lines, before = [], None
    for one in judgements:
        if one.claim != before:
            lines += ["", *terminal.wrap(said[one.claim], style="heading")]
        before = one.claim
        where = f"{one.version_set}: " if one.version_set else ""
        lines += terminal.wrap(where + one.verdict, "  ", styles.get(one.verdict, "wrong"))
        lines += terminal.wrap(one.figure, "    ")
    return lines[1:]


def _markdown(judgements, said) -> str:
    from switchyard.compare.as_markdown import table

    heads = ("the document says", "version set", "verdict", "measured")
    rows = [(said[j.claim], j.version_set or "-", j.verdict, j.figure) for j in judgements]
    title = "# What the source document says, judged\n\nWritten by `switchyard claims`.\n\n"
    return title + "\n".join(table(heads, rows, 0)) + "\n"


def _json(judgements, said) -> str:
    found = [{**dataclasses.asdict(one), "said": said[one.claim]} for one in judgements]
    return json.dumps(found, indent=1) + "\n"

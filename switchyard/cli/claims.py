"""``switchyard claims``: the source document's claims, judged by tables."""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import Any, Dict, List, Sequence


def add(commands) -> None:
    parser = commands.add_parser(
        "claims",
        help="judge the source document's claims by tables of results",
        description="Judge each claim of the source document by the newest whole run of every "
        "version set under --results, or by the runs that are named.",
        epilog="exit status: 0, or 2 where no table could be read",
    )
    parser.add_argument("tables", nargs="*", metavar="RUN", help="run folders or cells.csv files")
    parser.add_argument(
        "--results", default="results", type=pathlib.Path, help="default: %(default)s"
    )
    parser.add_argument("--markdown", metavar="FILE", help="write a Markdown table ('-': stdout)")
    parser.add_argument("--json", metavar="FILE", help="write all, with the rows ('-': stdout)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare import claims
    from switchyard.tables.reading import TableError

    try:
        tables = _tables(options)
    except TableError as error:
        print(error, file=sys.stderr)
        return 2
    judgements = claims.judge(tables)
    said = {claim.name: claim.said for claim in claims.CLAIMS}
    texts = {
        options.markdown: lambda: _markdown(judgements, said),
        options.json: lambda: json.dumps(
            [{**dataclasses.asdict(one), "said": said[one.claim]} for one in judgements], indent=1
        ) + "\n",
    }  # fmt: skip
    for file, text in texts.items():
        if file == "-":
            print(text(), end="")
        elif file:
            pathlib.Path(file).write_text(text(), "utf-8")
    if "-" not in texts:
        print("\n".join(_lines(judgements, said)))
    return 0


def _tables(options: argparse.Namespace) -> Dict[str, List[Dict[str, Any]]]:
    """Version set -> rows. Raises TableError."""
    from switchyard.tables import reading

    folders = [pathlib.Path(name) for name in options.tables] or [
        reading.newest_whole_run(options.results, name)
        for name in reading.sets_with_whole_runs(options.results)
    ]
    if not folders:
        raise reading.MissingTable(
            f"no whole run under {options.results}: run `pytest bench/` first, or name a run"
        )
    found: Dict[str, List[Dict[str, Any]]] = {}
    for folder in folders:
        for row in reading.rows_of(reading.read_cells(folder)):
            found.setdefault(row["version_set"], []).append(row)
    return found


def _lines(judgements: Sequence, said: Dict[str, str]) -> List[str]:
    from switchyard.compare.rendering import Terminal

    terminal = Terminal(width=100, unicode=False)
    lines: List[str] = []
    for place, one in enumerate(judgements):
        if not place or judgements[place - 1].claim != one.claim:
            lines += ["", *terminal.wrap(said[one.claim])]
        where = f"{one.version_set}: " if one.version_set else ""
        lines += terminal.wrap(f"{where}{one.verdict}. {one.figure}", "  ", later="  ")
    return lines[1:]


def _markdown(judgements: Sequence, said: Dict[str, str]) -> str:
    def cell(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;")

    lines = ["| the document says | version set | verdict | measured |"]
    lines.append("| --- | --- | --- | --- |")
    for one in judgements:
        parts = (said[one.claim], one.version_set or "-", one.verdict, one.figure)
        lines.append("| " + " | ".join(map(cell, parts)) + " |")
    return "\n".join(lines) + "\n"

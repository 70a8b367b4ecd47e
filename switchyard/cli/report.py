"""``switchyard report RUN``: matrix, rates and what differs from the expectations, from a table."""

from __future__ import annotations

import argparse
import functools

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
    parser.add_argument("--silent", metavar="FILE",
                        help="write what arrived wrong without a word, family by family, as "
                        "Markdown; - is standard output")  # fmt: skip
    parser.add_argument("--methods", metavar="FILE",
                        help="write the source document's four methods and every other road to "
                        "TensorFlow as measured, as Markdown; - is standard output")  # fmt: skip
    parser.add_argument("--mistakes", metavar="FILE",
                        help="write what each mistake made on purpose with the mode or with "
                        "BatchNorm costs, as Markdown; - is standard output")  # fmt: skip
    parser.add_argument("--preprocessing", metavar="FILE",
                        help="write how far the two ecosystems' own preprocessing of a picture "
                        "lies apart, as Markdown; - is standard output")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare import as_markdown, bands, rendering
    from switchyard.compare.document import methods, mistakes, preprocessing, silent
    from switchyard.runner import again
    from switchyard.tables import opening, reading

    asked = {
        "--markdown": options.markdown,
        "--silent": options.silent,
        "--methods": options.methods,
        "--mistakes": options.mistakes,
        "--preprocessing": options.preprocessing,
    }
    targets = [(option, name) for option, name in asked.items() if name]
    try:
        found = opening.find(options.table, options.results)
        place = found.folder or found.path
        if problem := screen.conflict(targets, [place]):
            return screen.complain(problem)
        rows = reading.rows_of(found.cells())
        given = (found.about() or {}).get("options") or {}
    except (reading.TableError, OSError) as error:
        return screen.complain(str(error))
    written = {
        "--markdown": lambda: as_markdown.run_lines(rows, str(place)),
        "--silent": lambda: as_markdown.by_set(rows, silent.markdown_lines),
        "--methods": lambda: as_markdown.by_set(rows, methods.markdown_lines),
        "--mistakes": lambda: as_markdown.by_set(rows, mistakes.markdown_lines),
        "--preprocessing": lambda: as_markdown.by_set(rows, preprocessing.markdown_lines),
    }
    try:
        for option, name in targets:
            lines = written[option]()
            screen.write(name, (line.encode("utf-8", "replace") + b"\n" for line in lines))
    except BrokenPipeError:
        screen.show([])
    except OSError as error:
        return screen.complain(f"the report cannot be written: {error}")
    if any(name == "-" for _, name in targets):
        return 0
    terminal = screen.terminal()
    lines = [*rendering.matrix(rows, terminal), "", *rendering.route_rates(rows, terminal)]
    lines += bands.band_notes(rows, terminal)
    alone = functools.partial(again.of_row, options=given)
    if differing := rendering.changes(rows, terminal, command=alone):
        lines += ["", *differing]
    lines += ["", rendering.totals(rows, terminal), terminal.paint(f"table: {place}", "heading")]
    screen.show(lines)
    return 0

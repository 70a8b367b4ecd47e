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
        "version set under --results (a smoke run only where there is no other), or by the runs "
        "that are named. Nothing is judged that no table measured.",
        epilog="exit status: 0, and 2 where no table could be read",
    )
    parser.add_argument("tables", nargs="*", metavar="RUN",
                        help="a run's folder, a cells.csv, or a version set's name")  # fmt: skip
    parser.add_argument("--results", default="results", metavar="DIR",
                        help="where the runs lie (default: results)")  # fmt: skip
    parser.add_argument("--markdown", metavar="FILE",
                        help="write a Markdown table; - is standard output")  # fmt: skip
    parser.add_argument("--json", metavar="FILE",
                        help="write all, with the rows it rests on (- is stdout)")  # fmt: skip
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    from switchyard.compare.document import claims
    from switchyard.tables.reading import TableError

    asked = {"--markdown": options.markdown, "--json": options.json}
    targets = [(option, name) for option, name in asked.items() if name]
    try:
        tables = _tables(options)
    except (TableError, OSError) as error:
        return screen.complain(str(error))
    if problem := screen.conflict(targets, tables.inputs):
        return screen.complain(problem)
    judgements = claims.judge(tables.rows, tables.abouts)
    said = {claim.name: claim.said for claim in claims.CLAIMS}
    written = {"--markdown": _markdown, "--json": _json}
    try:
        for option, name in targets:
            screen.write(name, [written[option](judgements, said, tables).encode()])
    except BrokenPipeError:
        screen.show([])
    except OSError as error:
        return screen.complain(f"the report cannot be written: {error}")
    if not any(name == "-" for _, name in targets):
        screen.show(_lines(judgements, said, tables, screen.terminal()))
    return 0


@dataclasses.dataclass(frozen=True)
class Tables:
    """What the claims are judged by: by version set its rows, what the run said of itself, and the
    run it is of. ``inputs``: the places that were read."""

    rows: dict[str, list]
    abouts: dict[str, dict]
    runs: dict[str, str]
    inputs: list

    def described(self, name: str) -> str:
        rows = self.rows[name]
        said = [f"{self.runs[name]}: {len(rows)} cells"]
        said += [f"{tier} tier" for tier in sorted({row["tier"] for row in rows} - {None})]
        said += sorted({row["device"] for row in rows})
        launches = max((row["launches"] or 0 for row in rows), default=0)
        if launches:
            said.append(f"{launches} launch" + ("es" if launches > 1 else ""))
        return ", ".join(said)


def _tables(options: argparse.Namespace) -> Tables:
    """Raises TableError, also where two tables are of one set: each model would count twice."""
    from switchyard.tables import opening, reading, whole_runs

    words = options.tables or whole_runs.sets_with_whole_runs(options.results)
    if not words:
        raise reading.MissingTable(
            f"no whole run under {options.results}: run `pytest bench/` first, or name a run"
        )
    tables = Tables({}, {}, {}, [])
    for word in words:
        found = opening.find(word, options.results, not_tier="smoke")
        about = found.about() or {}
        rows = reading.rows_of(found.cells())
        tables.inputs.append(found.folder or found.path)
        devices = sorted({row["device"] for row in rows})
        if len(devices) > 1:
            raise reading.TableError(
                f"{word} is of {' and '.join(devices)}, and each model would count once a device: "
                "judge runs of one device"
            )
        for name in dict.fromkeys(row["version_set"] for row in rows):
            if name in tables.rows:
                raise reading.TableError(
                    f"{word} and {tables.runs[name]} are both of {name}, and each model would "
                    "count twice: give one table a version set"
                )
            tables.rows[name] = [row for row in rows if row["version_set"] == name]
            tables.abouts[name] = about
            tables.runs[name] = (found.folder or found.path).resolve().name
    return tables


def _grouped(judgements) -> list:
    """Judgements with their version sets as one text: sets for which a claim was not measured for
    the same reason stand together, behind those for which it was."""
    found = {}
    for one in judgements:
        measured = one.verdict != "not measured"
        key = (one.claim, one.version_set if measured else one.figure)
        found.setdefault(key, []).append(one)
    lines = [
        dataclasses.replace(own[0], version_set=", ".join(one.version_set for one in own))
        for own in found.values()
    ]
    order = list(dict.fromkeys(one.claim for one in judgements))
    return sorted(lines, key=lambda j: (order.index(j.claim), j.verdict == "not measured"))


def _lines(judgements, said, tables, terminal) -> list:
    styles = {"holds": "good", "does not hold": "bad", "not measured": "quiet"}
    lines, before = [], None
    for name in tables.rows:
        lines += terminal.wrap(f"{name}: {tables.described(name)}")
    for one in _grouped(judgements):
        if one.claim != before:
            lines += ["", *terminal.wrap(said[one.claim], style="heading")]
        before = one.claim
        where = f"{one.version_set}: " if one.version_set else ""
        lines += terminal.wrap(where + one.verdict, "  ", styles.get(one.verdict, "wrong"))
        lines += terminal.wrap(one.figure, "    ")
    return lines


#: What "holds" means, of the claims where it is not plain from the figure.
_RULES = (
    "- A rate of success holds for a route where the document's lies in the route's 95%",
    "  interval (Wilson's, over its models: the fewer they are the wider it is); else `more` or",
    "  `less` says on which side of it the route is. A rate of 100% holds where nothing failed.",
    "  The zoo's models are chosen to find faults, not drawn from what people convert, and",
    "  manual recreation and weight transfer are asked of those alone that have a Keras twin: a",
    "  rate says no more than that.",
    "- What never works holds for the models, named one by one, that no export carries at every",
    "  size they declare.",
    "- ONNX Runtime is as fast as native where the middle half of a route's models takes 0.91",
    "  to 1.11 of torch eager's latency, which is 90 to 110% of its speed.",
    "- The hybrid takes twice the memory, and adds 2 to 5 ms to a request over a socket of the",
    "  same machine, where the middle half of its models lies in 1.5 to 2.5 times torch",
    "  eager's, and in 2 to 5 ms. Memory is the peak of all processes without the pages of",
    "  program files, which go by the page cache. The models are small, so that it is what the",
    "  frameworks hold; the CUDA build of torch holds more than the CPU's, and the same hybrid",
    "  is a smaller multiple of it.",
    "- An update breaks something where one cell that passed before does not after it; this",
    "  speaks of that update alone. What else differs between its two tables is named.",
    "- Accuracy is the least of what is answered two by two, one by one and in batches of 64.",
    "  What costs accuracy holds where one model shows it: more than a point is a loss, the",
    "  document's drops are 5, 20 and 25 points. Momentum is converted where running statistics",
    "  are one to 1e-4 after 100 steps.",
    "- BatchNorm is the cause where it is at fault (`channel-affine`, or unexplained in a model",
    "  that is little else) in half of the models or more, over conversions in which no mistake",
    "  was made on purpose.",
    "- Pairs of preprocessing are those that people have, and each is its own: how many have",
    "  which nobody counted.",
    "- An mse below 1e-5 is excellent where no model, one below 1e-3 acceptable where no more",
    "  than half of them has such a float32 conversion that does not pass by all else, as its",
    "  nmse or its rounding error. Mistakes made on purpose are among them, since to find such",
    "  is what a band is for.",
    "- Where a share of models decides, of a cause or a band, fewer than five of them measure",
    "  nothing: exports of one model are near copies of each other.",
)


def _markdown(judgements, said, tables) -> str:
    from switchyard.compare.as_markdown import code, table

    heads = ("the document says", "version set", "verdict", "measured")
    rows = [
        (said[j.claim], j.version_set or "-", j.verdict, j.figure) for j in _grouped(judgements)
    ]
    page = ["# What the source document says, judged", "",
            "Written by `switchyard claims`, from these tables:", ""]  # fmt: skip
    page += [f"- {code(name)}: {tables.described(name)}" for name in tables.rows]
    return "\n".join([*page, "", *_RULES, "", *table(heads, rows, 0)]) + "\n"


def _json(judgements, said, tables) -> str:
    runs = tables.runs
    found = [
        {**dataclasses.asdict(one), "said": said[one.claim], "run": runs.get(one.version_set)}
        for one in judgements
    ]
    return json.dumps(found, indent=1) + "\n"

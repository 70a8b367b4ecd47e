"""What a run prints at its end: matrix, rates, what differs from the expectations, the table."""

from __future__ import annotations

import functools
import os
import pathlib
import shlex
import sys
import textwrap
from typing import Dict, List, Optional

from switchyard import routes as routes_
from switchyard.runner import again
from switchyard.runner.options import BUILTIN, recorded
from switchyard.runner.plan import import_failures, union
from switchyard.runner.staging import shown

#: What the styles of ``rendering`` are in pytest's markup.
_STYLES = {
    "heading": {"bold": True},
    "good": {"green": True},
    "wrong": {"yellow": True, "bold": True},
    "bad": {"red": True},
    "new": {"red": True, "bold": True},
    "quiet": {"light": True},
}


#: Rows of expectations that are named where they can meet nothing.
STRAY_NAMED = 3


def _terminal(reporter):
    from switchyard.compare.rendering import Terminal

    encoding = (getattr(sys.stdout, "encoding", "") or "").lower()
    return Terminal(
        width=max(80, min(160, reporter._tw.fullwidth)),
        unicode="utf" in encoding,
        paint=lambda text, style: reporter._tw.markup(text, **_STYLES.get(style, {})),
    )


def _write_import_failures(reporter, zoos) -> None:
    for version_set, outcome, places in import_failures(zoos):
        if len(places) == 1:
            reporter.section("a zoo file could not be used", red=True)
            reporter.write_line(f"{places[0]} ({version_set}): {outcome.message}", red=True)
        else:
            reporter.section(f"{len(places)} zoo files could not be used", red=True)
            reporter.write_line(f"{outcome.message} ({version_set})", red=True)
            for line in textwrap.wrap(", ".join(places), 96, break_on_hyphens=False):
                reporter.write_line(line)
            reporter.write_line("the first of them:")
        for line in outcome.detail.strip().splitlines()[-3:]:
            reporter.write_line(f"    {line}")


def _write_unusable_sets(reporter, zoos) -> None:
    for version_set, zoo in zoos.items():
        if zoo.unusable is not None:
            reporter.section(f"{version_set} could not be used", red=True)
            reporter.write_line(f"{zoo.unusable.message}; all its cells are unavailable", red=True)


def _stray_expectations(run) -> Dict[pathlib.Path, List[str]]:
    """By table, the rows whose model or route there is not; none where not all of the built-in zoo
    is known, which they are about."""
    unknown = any(zoo.errors or zoo.unusable for zoo in run.zoos.values())
    if unknown or set(run.config.getoption("--zoo")) - {BUILTIN}:
        return {}
    models, routes = union(run.zoos), routes_.routes(run.hops, run.runtimes, every=True)
    found = {
        table.starts_from or table.path: table.stray(models, routes)
        for table in run.expectations.values()
    }
    return {path: rows for path, rows in found.items() if rows}


def write_summary(reporter, run, changes: Optional[List[str]]) -> None:
    from switchyard.compare import bands, crowding, rendering

    _write_import_failures(reporter, run.zoos)
    _write_unusable_sets(reporter, run.zoos)
    if run.folder is None:
        return
    rows, terminal = run.folder.rows(), _terminal(reporter)
    reporter.section("Switchyard")
    lines = [*rendering.matrix(rows, terminal), "", *rendering.route_rates(rows, terminal)]
    lines += bands.band_notes(rows, terminal)
    lines += bands.wrong_at_another_size(rows, terminal)
    for line in lines:
        reporter.write_line(line)
    alone = functools.partial(again.of_row, options=recorded(run.config))
    differing = rendering.changes(rows, terminal, command=alone)
    if differing:
        reporter.write_line("")
        for line in differing:
            reporter.write_line(line)
    if changes is not None:
        reporter.section("expectations taken over")
        for line in changes:
            reporter.write_line(line)
    reporter.write_line("")
    for version_set, expectations in run.expectations.items():
        if expectations.starts_from is not None:
            reporter.write_line(
                f"{version_set} has no table of its own: what is expected of it is what "
                f"{shown(str(expectations.starts_from))} says"
            )
    for path, stray in _stray_expectations(run).items():
        more = ", ..." if len(stray) > STRAY_NAMED else ""
        reporter.write_line(
            f"{shown(str(path))}: {len(stray)} row(s) name a model or route that does not exist, "
            f"so that no cell can ever match them: {', '.join(stray[:STRAY_NAMED])}{more}"
        )
    disturbed = crowding.crowded((row["device"], row["cores_busy"]) for row in rows)
    if disturbed:
        reporter.write_line(disturbed, yellow=True)
    reporter.write_line(rendering.totals(rows, terminal))
    table = os.path.relpath(run.folder.path / "cells.csv")
    reporter.write_line(f"table: {table if len(table) < 100 else shown(table)}", bold=True)
    if len(run.sets) == 2:
        place = shlex.quote(os.path.dirname(table))
        reporter.write_line(f"its two sets, one against the other: switchyard compare {place}")

"""How long does a whole tier take?

From a run's own ``run.json`` (``started`` is before collection, ``ended`` after the last
cell, both by the clock of the machine it ran on): the run folder that is named, or for each
tier the newest whole run under ``results/``. ``--run TIER`` runs the tier now instead, in the
caches as they are, and times the process from its start to its end.

Only a whole selection that ran through at one go is held to the goal: what ``--resume`` put
together, or a run of single models, has no wall time of the tier's.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, Optional, Sequence

import goals
import sessions

#: Minutes on two cores. The ``full`` tier has no goal.
GOAL_MINUTES = {"quick": 20.0}
TIERS = ("smoke", "quick", "full")


def read(folder: pathlib.Path) -> Dict[str, Any]:
    """What a run says of itself, with its folder's name and its wall time in minutes."""
    about = json.loads((folder / "run.json").read_text())
    about["name"] = folder.name
    with open(folder / "cells.csv", newline="") as lines:
        about["cells"] = sum(1 for _ in csv.DictReader(lines))
    about["minutes"] = None
    if about.get("ended"):
        began, ended = (datetime.datetime.fromisoformat(about[k]) for k in ("started", "ended"))
        about["minutes"] = (ended - began).total_seconds() / 60
    return about


def unfit(about: Dict[str, Any]) -> str:
    """Why a run's wall time is not its tier's; empty where it is."""
    if about["minutes"] is None or about.get("state") != "done":
        return "not finished"
    if about.get("resumed"):
        return "resumed"
    return "" if about.get("whole_selection") else "not the whole tier"


def newest(results: pathlib.Path) -> List[Dict[str, Any]]:
    """The newest fit run of each tier."""
    found: Dict[str, Dict[str, Any]] = {}
    for path in results.rglob("run.json"):
        about = read(path.parent)
        before = found.get(about["tier"])
        if not unfit(about) and (before is None or before["started"] < about["started"]):
            found[about["tier"]] = about
    return [found[tier] for tier in TIERS if tier in found]


def run_now(tier: str, arguments: Sequence[str]) -> Dict[str, Any]:
    """Run a tier, its output on the screen; the process's wall time stands for the run's."""
    with tempfile.TemporaryDirectory(prefix="switchyard-benchmark-") as folder:
        command = [sys.executable, "-m", "pytest", "bench/", "--tier", tier]
        command += ["--results", folder, *arguments]
        began = time.monotonic()
        code = subprocess.run(command, cwd=sessions.PROJECT).returncode
        seconds = time.monotonic() - began
        if code not in (0, 1):
            sys.exit(f"{' '.join(command)} ended with status {code}")
        (run,) = pathlib.Path(folder).glob("*/run.json")
        about = read(run.parent)
    about["minutes"] = seconds / 60
    return about


def show(runs: Sequence[Dict[str, Any]]) -> None:
    goals.table(
        ("run", "tier", "cells", "minutes", "cores", "jobs", "load at end", "fit"),
        [
            (
                about["name"],
                about["tier"],
                about["cells"],
                "-" if about["minutes"] is None else f"{about['minutes']:.1f}",
                about["machine"]["cores_usable"] if "machine" in about else "-",
                about["options"]["jobs"] if "options" in about else "-",
                about.get("machine", {}).get("load_average_1min", "-"),
                unfit(about) or "yes",
            )
            for about in runs
        ],
    )
    print()
    for about in runs:
        tier, goal = about["tier"], GOAL_MINUTES.get(about["tier"])
        if unfit(about):
            print(f"{about['name']}: {unfit(about)}, so it says nothing of the {tier} tier")
        elif goal is None:
            print(f"wall of the {tier} tier: {about['minutes']:.1f} min (no goal)")
        else:
            goals.at_most(f"wall of the {tier} tier", about["minutes"], goal, "min")


def main(arguments: Optional[Sequence[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="*", type=pathlib.Path, help="run folders to read")
    parser.add_argument("--run", choices=TIERS, help="run this tier now, and time it")
    options, others = parser.parse_known_args(arguments)
    if others and not options.run:
        parser.error(f"only --run takes options of pytest: {' '.join(others)}")
    if options.run:
        goals.conditions()
        show([run_now(options.run, others)])
        return
    runs = [read(folder) for folder in options.folder] or newest(sessions.PROJECT / "results")
    if not runs:
        sys.exit("no whole run under results/: name a run's folder, or say --run quick")
    show(runs)


if __name__ == "__main__":
    main()

"""Going on with an interrupted run: which one, whether it may be, and what of it stands.

A cell that was done stays as it is. One that was answered but not measured keeps its verdict
and what it rests on, and is measured anew; all others start over.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Collection,
    Dict,
    Iterable,
    Iterator,
    List,
    Mapping,
    Sequence,
    Tuple,
)

import pytest

from switchyard.runner import options
from switchyard.runner.staging import PROJECT
from switchyard.tables import provenance, schema
from switchyard.tables.journal import Figure, replay
from switchyard.tables.writing import PROVENANCE_NAME, RunFolder
from switchyard.vocabulary import PASSING, Cell

if TYPE_CHECKING:
    from switchyard.runner.environments import Environment


def of_launch(point: str, number: int) -> str:
    """The condition under which a figure of one launch is kept; no probe's name has a space."""
    return f"{point} {number}"


def _is_of_launch(condition: str) -> bool:
    return re.fullmatch(r"\w+ \d+", condition) is not None


@dataclasses.dataclass(frozen=True)
class Answered:
    """What a run had learnt of a cell before it was measured."""

    fields: Mapping[str, Any]
    figures: List[Figure]


def asked_for(config: pytest.Config, sets: Sequence[str]) -> Dict[str, Any]:
    """The options that decide which cells a run has and how each is measured, by name; two
    ways of typing the same are equal. As ``run.json`` holds them: without this machine's folders,
    since what lies in the files is compared by content."""
    option = config.getoption
    number = options.cuda_number(config)

    def files(name: str) -> List[str]:
        given = set(option(name)) - {options.BUILTIN}
        builtin = [options.BUILTIN] if options.BUILTIN in option(name) else []
        return sorted([*builtin, *(str(pathlib.Path(one).resolve()) for one in given)])

    found = {
        "tier": option("--tier"),
        "model": sorted(set(option("--model"))),
        "route": sorted(set(option("--route"))),
        "precision": sorted(set(option("--precision"))),
        "zoo": files("--zoo") or [options.BUILTIN],
        "hop": files("--hop"),
        "version-set": sorted(sets),
        "launches": option("--launches"),
        "threads": option("--threads"),
        "stage-timeout": option("--stage-timeout"),
        "memory-limit": option("--memory-limit"),
        "device": "cpu" if number is None else f"cuda:{number}",
        "tf32": option("--tf32"),
        "record-memory": option("--record-memory"),
    }
    return provenance.published_all(found, PROJECT)


def reopen(
    given: str,
    results: pathlib.Path,
    sources: Mapping[str, Any],
    asked: Mapping[str, Any],
    locks: Callable[[str, str], str],
) -> RunFolder:
    """The run that ``--resume`` names: its folder, its name, or ``newest``.

    Raises pytest.UsageError where there is none, and, leaving it as it is, where it was begun with
    other options than ``asked``, or its code, zoo or packages have changed since. ``locks`` says of
    a version set's environment what its lock is now, "" where that is not known.
    """
    if given == "newest":
        runs = sorted(path.parent for path in results.glob("*/journal.jsonl"))
        if not runs:
            raise pytest.UsageError(f"--resume: there is no run under {results}")
        path = runs[-1]
    else:
        path = pathlib.Path(given)
        path = path.absolute() if path.is_dir() else results / given
    try:
        if (path / PROVENANCE_NAME).is_file():  # else it is no run's folder: reopening says so
            about = json.loads((path / PROVENANCE_NAME).read_text("utf-8"))
            _refuse_other_options(path.name, about, asked)
            _refuse_other_sources(path.name, about, sources, locks)
        return RunFolder.reopen(path)
    except (OSError, ValueError, RuntimeError) as error:
        raise pytest.UsageError(f"--resume: {error}") from error


def _refuse_other_options(name: str, about: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    before = about.get("asked", {})  # none in a run of an earlier Switchyard
    differing = [
        f"--{option} {_typed(before[option])}, now {_typed(value)}"
        for option, value in asked.items()
        if option in before and before[option] != value
    ]
    if differing:
        raise pytest.UsageError(
            f"--resume: {name} was begun with other options ({'; '.join(differing)}): its finished "
            "cells and new ones would not belong together; give the same, or start a new run. It "
            f"was begun by: {about.get('command')}"
        )


def _typed(value: Any) -> str:
    """An option's value in a sentence."""
    if isinstance(value, bool) or value is None:
        return "given" if value else "not given"
    if isinstance(value, list):
        return " and ".join(value) or "none"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_other_sources(
    name: str,
    about: Mapping[str, Any],
    sources: Mapping[str, Any],
    locks: Callable[[str, str], str],
) -> None:
    before = about.get("sources") or {}
    differing = [part for key in sources for part in _changed(key, before.get(key), sources[key])]
    for set_name, environment, said in _environments(about):
        now = locks(set_name, environment)
        if now and said.get("lock") and now != said["lock"]:
            differing.append(f"the lock of {set_name}/{environment}")
    if differing:
        changed = ", ".join(differing)
        raise pytest.UsageError(
            f"--resume: {name} was made from other sources ({changed} changed since): "
            "its finished cells and new ones would not belong together; start a new run"
        )


def _changed(name: str, before: Any, now: Any) -> List[str]:
    """What differs between two of one name: of mappings each entry, else the whole."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = sorted({*before, *now})
        return [f"{name}: {key}" for key in keys if before.get(key) != now.get(key)]
    return [] if before == now else [name]


def record_beginning(
    folder: RunFolder,
    sources: Mapping[str, Any],
    asked: Mapping[str, Any],
    given: Mapping[str, Any],
    command: str,
    resumed: bool,
    whole: bool,
    measures: bool = True,
    ordered: bool = True,
) -> bool:
    """Keep, before anything runs, what a later ``--resume`` is held to, and the command. The
    commands that went on with a run stand beside the one that began it, in ``resumed_by``.

    Whether the run asks every question of every cell, which ``whole`` says of this sitting; one
    that ``measures`` nothing, since all that it selects is done, takes nothing from what was.
    """
    command = provenance.published(command, PROJECT)
    if resumed:
        earlier = folder.about.get("resumed_by", [])
        # What a narrower beginning left out of the cells that it did is not made up for.
        whole = (whole or not measures) and folder.about.get("every_question", True)
        parts = {"resumed_by": [*earlier, command]}
        if measures:
            parts["sets_in_turn"] = False
    else:
        given = provenance.published_all(given, PROJECT)
        # Where an option has undone the order (--failed-first) a cell's sets may be minutes apart.
        in_turn = len(asked["version-set"]) > 1 and asked["launches"] > 1 and ordered
        parts = {"options": given, "command": command, "sets_in_turn": in_turn}
    folder.record(sources=sources, asked=asked, every_question=whole, **parts)
    return whole


def _environments(about: Mapping[str, Any]) -> Iterator[Tuple[str, str, Dict[str, Any]]]:
    for set_name, said in about.get("sets", {}).items():
        for environment, one in said.get("environments", {}).items():
            yield set_name, environment, one


def environments(
    folder: RunFolder, sets: Sequence[str], known: Iterable[Environment]
) -> Dict[str, Dict[str, Any]]:
    """What the environments of a run hold, by set: those ``known`` in this sitting, and those that
    only an earlier one used."""
    found: Dict[str, Dict[str, Any]] = {name: {"environments": {}} for name in sets}
    for set_name, environment, said in _environments(folder.about):
        found.setdefault(set_name, {"environments": {}})["environments"][environment] = said
    for one in known:
        found[one.version_set]["environments"][one.name] = {
            "python": one.python_version,
            "lock": one.lock_hash,
            "fingerprint": one.fingerprint,
            "packages": one.packages,
        }
    return found


#: What stays in ``run.json`` as the run began, whoever ends it.
_OF_THE_BEGINNING = (
    "started", "command", "options", "machine", "gpus", "environment_variables",
)  # fmt: skip


def of_the_beginning(folder: RunFolder) -> Dict[str, Any]:
    """Those of ``_OF_THE_BEGINNING`` that an earlier sitting recorded; none in a new run."""
    return {name: folder.about[name] for name in _OF_THE_BEGINNING if name in folder.about}


def reopen_untimed(folder: RunFolder, unasked: Collection[Cell]) -> None:
    """Baselines that no item asks about are done with their answer: those that were not timed
    start that over, without the launches of theirs that an interruption left half of."""
    for cell in unasked & folder.done:
        row = folder.row(cell)
        if row["verdict"] in PASSING and row["latency_median_ms"] is None:
            folder.state(cell, "interrupted")


def answered(folder: RunFolder) -> Dict[Cell, Answered]:
    """The cells that have a verdict and are not done. To be asked before the run plans anew,
    which empties their rows."""
    figures = replay(folder.path).ledger.figures
    found = {}
    for row in folder.rows():
        if row["state"] == "done" or not row["verdict"]:
            continue
        cell = schema.cell_of(row)
        fields = {
            name: value
            for name, value in row.items()
            if value is not None and name not in (*schema.KEY, *schema.MEASURED, "schema", "state")
        }
        kept = [one for one in figures.get(cell, ()) if not _is_of_launch(one.probe_or_condition)]
        found[cell] = Answered(fields, kept)
    return found


def enter_again(folder: RunFolder, cell: Cell, known: Answered) -> None:
    """Put into the run's folder what was known of a cell."""
    folder.update(cell, **known.fields)
    for figure in known.figures:
        folder.figure(cell, **dataclasses.asdict(figure))

"""What differs around two tables, from what their runs said of themselves."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

About = Mapping[str, Any]

#: What decides how long the same code takes; only what both runs recorded is compared.
MACHINE = {
    "architecture": "architecture",
    "cpu": "CPU",
    "cores_logical": "logical cores",
    "cores_physical": "physical cores",
    "cores_usable": "usable cores",
    "cores_of_cgroup": "cores of the container",
    "cpu_max_mhz": "CPU clock limit in MHz",
    "governor": "CPU governor",
}


#: The variables that say how many threads a framework takes: ``OMP_NUM_THREADS`` and those of BLAS
#: libraries, TensorFlow's ``TF_NUM_INTRAOP_THREADS`` and its like.
_OF_THREADS = re.compile(r"_NUM_THREADS$|^TF_NUM_\w+_THREADS$")


def other_hardware(before: About | None, after: About | None, device: str) -> str:
    """Why timings on ``device`` cannot stand side by side; "" where the hardware is one, and so is
    the number of threads that was asked for.

    A GPU matters only for what ran on it. A table without its ``run.json`` says nothing of
    its hardware, which is not the same as saying that it was the same.
    """
    unknown = [
        side
        for side, about in (("before", before), ("after", after))
        if not ((about or {}).get("machine") or {}).get("cpu")
    ]
    if unknown:
        return f"the hardware of {' and '.join(unknown)} is not recorded"
    return known_other_hardware(before, after, device)


def known_other_hardware(before: About | None, after: About | None, device: str) -> str:
    """The same, but "" also where one of the two does not say."""
    old, new = (_machine(about) for about in (before, after))
    found = [
        f"{called} {old[name]} against {new[name]}"
        for name, called in MACHINE.items()
        if name in old and name in new and old[name] != new[name]
    ]
    if device != "cpu" and before and after:
        cards = [_cards(about) for about in (before, after)]
        if cards[0] != cards[1]:
            found.append(f"GPU {cards[0] or 'none'} against {cards[1] or 'none'}")
    hardware = "other hardware: " + ", ".join(found) if found else ""
    return "; ".join(filter(None, (hardware, _other_threads(before, after))))


def _machine(about: About | None) -> dict[str, Any]:
    """What is recorded of it. A container without a limit records none, which differs from every
    limit."""
    found = dict((about or {}).get("machine") or {})
    return {"cores_of_cgroup": "no limit", **found} if "cores_usable" in found else found


def _other_threads(before: About | None, after: About | None) -> str:
    """What both runs were told of ``--threads``, or by a variable like ``OMP_NUM_THREADS``, where
    it differs: that changes how long the same code takes, and what it holds, as other cores do. A
    run from before there was the option was told nothing."""
    if any((about or {}).get("options") is None for about in (before, after)):
        return ""
    found = []
    old, new = (_threads(about) for about in (before, after))
    for name in sorted({*old, *new}):
        was, now = (side.get(name, "each framework's own choice") for side in (old, new))
        if was != now:
            found.append(f"other threads: {was} against {now} ({name})")
    return ", ".join(found)


def _threads(about: About) -> dict[str, Any]:
    """What says how many there are, as far as anything does."""
    variables = about.get("environment_variables") or {}
    found = {name: said for name, said in variables.items() if _OF_THREADS.search(name)}
    given = about["options"].get("threads")
    return found if given is None else {**found, "--threads": given}


def in_turn(before: About | None, after: About | None) -> bool:
    """Whether both tables are of one run whose version sets took turns, launch by launch, in one
    sitting: whatever the machine did, it did to both."""
    return bool(before) and before == after and before.get("sets_in_turn") is True


def _cards(about: About) -> str:
    """The card that the run was on, or part of one; of a table that does not say, all there are."""
    cards = (about.get("gpus") or {}).get("cards") or []
    cards = [about["card"]] if about.get("card") else cards
    return ", ".join(f"{card.get('name')} {card.get('memory_mib')} MiB" for card in cards)


@dataclasses.dataclass(frozen=True)
class PackageChange:
    """One package (or ``python``) of one environment; "" where it is not installed."""

    environment: str
    package: str
    before: str
    after: str


def packages_that_differ(
    before: About | None, after: About | None, sets: Iterable[tuple[str, str]]
) -> list[PackageChange] | None:
    """What is installed otherwise, by environment, for each pair of version sets.

    None where a side recorded no packages: nothing is known, which is not "no difference".
    """
    sets = list(sets)
    if not sets:
        return None
    found: list[PackageChange] = []
    for old_set, new_set in sets:
        old, new = _environments(before, old_set), _environments(after, new_set)
        if not old or not new:
            return None
        for environment in dict.fromkeys([*old, *new]):
            one, other = old.get(environment, {}), new.get(environment, {})
            called = f"{new_set}/{environment}" if old_set == new_set else environment
            for package in sorted({*one, *other}):
                was, now = one.get(package, ""), other.get(package, "")
                if was != now:
                    found.append(PackageChange(called, package, was, now))
    return found


def _environments(about: About | None, set_name: str) -> dict[str, dict[str, str]]:
    said = (about or {}).get("sets", {}).get(set_name, {}).get("environments", {})
    return {
        name: {**environment.get("packages", {}), "python": environment.get("python", "")}
        for name, environment in said.items()
    }


def torch_build(about: About | None, set_name: str) -> str:
    """``CUDA`` or ``CPU``: which build of torch a set's core has; "" where none was recorded."""
    packages = _environments(about, set_name).get("core", {})
    if not packages:
        return ""
    return "CUDA" if any(name.startswith("nvidia-cublas") for name in packages) else "CPU"


def other_builds(
    before: About | None, after: About | None, sets: Iterable[tuple[str, str]]
) -> dict[str, str]:
    """The sets (as they are called after) where one side's torch is a CUDA build and the other's is
    not, each with a sentence: what importing it holds differs by more than most models do,
    whatever the versions."""
    found = {}
    for old_set, new_set in sets:
        builds = [torch_build(before, old_set), torch_build(after, new_set)]
        if all(builds) and builds[0] != builds[1]:
            words = ("before", "after") if builds[0] == "CUDA" else ("after", "before")
            where = f" in {new_set}" if old_set == new_set else ""
            found[new_set] = (
                f"torch{where} is a CUDA build {words[0]} and the CPU's {words[1]}, which by "
                "itself moves what its processes hold"
            )
    return found


def other_conditions(before: About | None, after: About | None) -> list[str]:
    """What else may explain a difference: sources, environment variables, the driver, and
    whether it was one start of one machine: two of the same make are not equally fast."""
    if not before or not after:
        return []
    found = []
    several = before == after and len(before.get("version_sets", ())) > 1
    if several and before.get("resumed_by") and not before.get("sets_in_turn"):
        found.append("the run was gone on with (--resume), so that its sets did not take turns")
    sources = [(about.get("sources") or {}) for about in (before, after)]
    for name, called in (("zoo", "models of the zoo"), ("hops", "converters from files")):
        if sources[0].get(name) != sources[1].get(name):
            found.append(f"the sources of the {called} differ")
    failures = [_zoo_failures(about) for about in (before, after)]
    for side, own, other in (("before", *failures), ("after", *reversed(failures))):
        found += [
            f"{side} could not use {file} of the zoo ({said})"
            for file, said in own.items()
            if file not in other
        ]
    options = [(about.get("options") or {}) for about in (before, after)]
    for name in ("stage-timeout", "memory-limit"):
        was, now = (side.get(name) for side in options)
        if None not in (was, now) and was != now:
            found.append(f"--{name} differs: {was:g} → {now:g}")
    commits = [_commit(about) for about in (before, after)]
    if commits[0] != commits[1]:
        found.append(f"Switchyard's commit differs: {commits[0]} → {commits[1]}")
    variables = [(about.get("environment_variables") or {}) for about in (before, after)]
    for name in sorted({*variables[0], *variables[1]}):
        was, now = (side.get(name, "unset") for side in variables)
        if was != now:
            found.append(f"{name} differs: {was} → {now}")
    boots = [(about.get("machine") or {}).get("boot") for about in (before, after)]
    if boots[0] != boots[1] and all(boots):
        found.append("the machine was started anew in between, or is another of the same make")
    for side, about in (("before", before), ("after", after)):
        if about.get("other_runs"):
            found.append(f"another run went on beside {side}, which disturbs what is timed")
    drivers = [(about.get("gpus") or {}).get("driver") for about in (before, after)]
    if drivers[0] != drivers[1] and all(drivers):
        found.append(f"the GPU driver differs: {drivers[0]} → {drivers[1]}")
    return found


def _zoo_failures(about: About) -> dict[str, str]:
    """Files of the zoo that some set of the run could not use, each with why."""
    each = (about.get("zoo_failures") or {}).values()
    return {file: said for files in each for file, said in files.items()}


def _commit(about: About) -> str:
    source = about.get("source") or {}
    text = str(source.get("commit") or "unknown")[:12]
    return text + (" with changes" if source.get("dirty") else "")

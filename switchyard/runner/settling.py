"""Locks that are made at a run: a derived set's once, by content; ``nightly``'s every time.

They lie in the cache, a folder for each environment, with all that a set's folder holds: copied
under ``version_sets/`` it is a set like any other. A run keeps a copy of those it used.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Callable, Iterable

from switchyard.runner import derived, locking
from switchyard.runner.installation import ProvisioningError
from switchyard.runner.version_sets import VersionSet

#: Of a run's folder: where its locks lie.
KEPT = "locks"


def settled(
    set_: VersionSet, environment: str, flavour: str, root: Path, say: Callable[[str], object]
) -> VersionSet:
    """The set with its folder where this environment's lock lies, resolved now if need be.

    Raises ProvisioningError, which names the package at fault, and UnknownName.
    """
    if set_.fixed and not set_.base:
        return set_
    lock = set_.lock(environment, flavour)
    if set_.base:
        _check(set_, environment, flavour)
    pinned = derived.replaced(set_, environment, flavour)
    if set_.fixed and not pinned:
        return dataclasses.replace(set_, name=set_.base, base="", pins={})  # it is the base's own
    if set_.fixed and not lock.exists():
        advice = f"switchyard lock {set_.base} --flavour {flavour}"
        raise _error(set_, environment, f"its base has no lock {lock}", advice)

    texts = _texts(set_, environment, flavour, pinned)
    near = [lock, *set_.constraints(environment, flavour)] if set_.fixed else []
    name = f"{set_.name}-{environment}-{flavour}"
    if set_.fixed:
        home = root / f"{name}-{_digest(texts, near)}"
        if home.exists():
            return dataclasses.replace(set_, folder=home)
    say(f"{set_.name}/{environment}: resolving what it holds")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix=".resolving-") as folder:
            making = Path(folder) / "set"
            making.mkdir()
            for path in near:
                shutil.copy(path, making)
            for file, text in texts.items():
                (making / file).write_text(text, "utf-8")
            there = dataclasses.replace(set_, folder=making)
            locking.relock(there, environment, flavour)
            if not set_.fixed:
                made = [there.lock(environment, flavour)]
                made += there.constraints(environment, flavour)
                home = root / f"{name}-{_digest(texts, made)}"
            try:
                os.rename(making, home)
            except OSError:  # another run has made the same
                if not home.exists():
                    raise
    except locking.LockingError as error:
        raise _unresolved(set_, environment, pinned, error) from error
    except OSError as error:
        advice = "mend that folder, or set SWITCHYARD_CACHE to another"
        raise _error(set_, environment, f"{root} cannot be used: {error}", advice) from error
    return dataclasses.replace(set_, folder=home)


def keep(environments: Iterable, run: Path) -> None:
    """Copy the locks of those environments whose sets have none committed into ``run``, a run's
    folder: ``locks/SET/``, a set's folder in itself."""
    for one in environments:
        if not one.made_in:
            continue
        target = run / KEPT / one.version_set
        for path in Path(one.made_in).iterdir():
            wanted = path.name == "set.toml" or path.name.startswith(f"{one.name}.")
            if wanted and not (target / path.name).exists():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target)


def _check(set_: VersionSet, environment: str, flavour: str) -> None:
    """Every pin must change some environment, or it is a slip."""
    for package in set_.pins:
        if derived.holders(set_, package, flavour):
            continue
        known = {name for one in set_.environments for name in derived.held(set_, one, flavour)}
        near = difflib.get_close_matches(package, sorted(known), n=3)
        what = f"{set_.base} holds no package {package!r} whose version could be replaced"
        advice = f"did you mean {' or '.join(near)}?" if near else "look into the set's locks"
        raise _error(set_, environment, what, advice, package)


def _texts(set_: VersionSet, environment: str, flavour: str, pinned) -> dict[str, str]:
    """What the new set's folder holds before it has a lock, by file name."""
    paths = set_.inputs(environment, flavour) + set_.overrides(environment, flavour)
    texts = {path.name: path.read_text("utf-8") for path in paths}
    if pinned:
        texts = derived.with_pins(texts, pinned, first=f"{environment}.in")
    about = (set_.folder / "set.toml").read_text("utf-8")
    # With a lock beside it, it is a set whose lock is committed.
    about = re.sub(r"^lock *= *[\"']each run[\"'].*\n", "", about, flags=re.M)
    return {"set.toml": about, **texts}


def _digest(texts: dict[str, str], beside: Iterable[Path]) -> str:
    said = [sorted(texts.items()), [(path.name, path.read_text("utf-8")) for path in beside]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]


def _unresolved(set_: VersionSet, environment: str, pinned, error) -> Exception:
    package, words, advice, kind = locking.blamed(error.words)
    wanted = " and ".join(f"{name}=={version}" for name, version in pinned.items())
    what = f"could not be resolved{' with ' * bool(wanted)}{wanted}: {' '.join(words.split())}"
    if "No solution found" in words:
        advice = (
            f"ask for a version that {package or 'the index'} has and that the set's other "
            "packages allow, or replace their pins as well: SET+name==version+name==version"
        )
    advice = f"{advice}\n{error.aside}" if error.aside else advice
    return _error(set_, environment, what, advice, package, kind)


def _error(set_: VersionSet, environment: str, what, advice, package="", kind="no-result"):
    return ProvisioningError(set_.name, environment, what, advice, package, kind=kind)

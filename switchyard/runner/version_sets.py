"""Version sets as they are declared: what stands in their folders, and their names.

A version set is a folder under ``version_sets/``: ``set.toml`` says why it exists, the
inputs say what it pins, the locks what is installed. ``current`` is built in: the
interpreter that runs pytest. ``SET+name==version`` is a set derived from one with a folder.
"""

from __future__ import annotations

import dataclasses
import platform
from pathlib import Path
from typing import Any, Mapping, Tuple

from switchyard.vocabulary import NotUsable, UnknownName, by_version

CURRENT = "current"
SETS = Path(__file__).resolve().parents[2] / "version_sets"
FLAVOURS = ("cpu", "cuda")


@dataclasses.dataclass(frozen=True)
class VersionSet:
    """What ``set.toml`` says. ``environments`` maps each one's name to why it exists.

    ``only``: the one flavour of an environment that needs no other, since it works on the CPU
    whatever the device. ``fixed``: whether the locks are committed; else they are made anew at
    every run. ``base`` and ``pins`` are a derived set's: whose inputs, and what replaces them.
    ``absent``: environments of other sets that this one cannot have, each with the reason.
    ``prevails``: environment -> packages whose libraries lie there where others bring the same.
    """

    name: str
    why: str
    python: str
    platform: str
    folder: Path | None
    environments: dict[str, str] = dataclasses.field(hash=False)
    only: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    fixed: bool = True
    base: str = ""
    pins: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    absent: Mapping[str, str] = dataclasses.field(default_factory=dict, hash=False)
    prevails: Mapping[str, Tuple[str, ...]] = dataclasses.field(default_factory=dict, hash=False)

    def lock(self, environment: str, flavour: str = "cpu") -> Path:
        """Where the lock of one environment lies; the other files stand beside it."""
        return self.folder / f"{environment}.{self.flavour_of(environment, flavour)}.lock"

    def inputs(self, environment: str, flavour: str = "cpu") -> list[Path]:
        """What a lock is made from: the requirements of every flavour, and of this one."""
        own = self.flavour_of(environment, flavour)
        return self._there(f"{environment}.in", f"{environment}.{own}.in")

    def overrides(self, environment: str, flavour: str = "cpu") -> list[Path]:
        """Requirements that replace what packages ask for, in the lock and the installation."""
        return self._there(f"{environment}.{self.flavour_of(environment, flavour)}.override")

    def constraints(self, environment: str, flavour: str = "cpu") -> list[Path]:
        """Pins of what only the index's own build of torch needs, and is installed only with it."""
        if self.flavour_of(environment, flavour) != "cpu":
            return []
        return self._there(f"{environment}.torch-cuda.constraints")

    def flavour_of(self, environment: str, flavour: str) -> str:
        """Whose lock an environment has: ``flavour``'s, but where it is of one alone."""
        if environment not in self.environments:
            raise UnknownName(f"environment of {self.name}", environment, self.environments)
        return self.only.get(environment, flavour)

    def _there(self, *names: str) -> list[Path]:
        return [path for path in (self.folder / name for name in names) if path.exists()]


class BadSet(NotUsable, ValueError):
    """A ``set.toml`` that is wrong, or no folder of sets at all; the message names it."""


def fits_here(target: str) -> bool:
    """Whether this machine's system and architecture are those of a platform as uv names it, so
    far as that names any."""
    system, machine = platform.system(), platform.machine().lower()
    named = {
        "linux": system == "Linux",
        "darwin": system == "Darwin",
        "macos": system == "Darwin",
        "windows": system == "Windows",
        "x86_64": machine in ("x86_64", "amd64"),
        "aarch64": machine in ("aarch64", "arm64"),
    }
    return all(fits for word, fits in named.items() if word in target)


def version_sets(folder: Path | None = None) -> dict[str, VersionSet]:
    """Every set of ``folder`` (SETS) by name, ``current`` first. Raises BadSet."""
    folder = folder or SETS
    if not folder.is_dir():
        raise BadSet(
            f"there is no folder {folder}: this Switchyard was installed without its checkout, "
            "where the version sets and the suites are; there, run: pip install -e ."
        )
    try:
        import tomllib
    except ModuleNotFoundError:  # Python 3.10
        import tomli as tomllib
    why = "the interpreter that runs pytest, with the packages it has"
    found = {CURRENT: VersionSet(CURRENT, why, platform.python_version(), "", None, {"core": why})}
    files = folder.glob("*/set.toml")
    for path in sorted(files, key=lambda path: by_version(path.parent.name)):
        try:
            found[path.parent.name] = _declared(path.parent, tomllib.loads(path.read_text("utf-8")))
        except KeyError as error:
            raise BadSet(f"{path}: {error} is missing") from error
        except (ValueError, TypeError, AttributeError) as error:  # TOML's own is a ValueError
            raise BadSet(f"{path}: {error}") from error
    return found


def _declared(folder: Path, said: Mapping[str, Any]) -> VersionSet:
    lock = said.get("lock", "committed")
    if lock not in ("committed", "each run"):
        raise ValueError(f"lock is 'committed' or 'each run', not {lock!r}")
    for name in ("why", "python", "platform"):
        if not isinstance(said[name], str):  # 3.10 without quotes is 3.1
            raise ValueError(f"{name} is a text in quotes, not {said[name]!r}")
    only = {name: s["only"] for name, s in said["environments"].items() if "only" in s}
    for environment, flavour in only.items():
        if flavour not in FLAVOURS:
            raise ValueError(f"only of {environment} is one of {FLAVOURS}, not {flavour!r}")
    return VersionSet(
        name=folder.name,
        why=said["why"].strip(),
        python=said["python"],
        platform=said["platform"],
        folder=folder,
        environments={name: s["why"].strip() for name, s in said["environments"].items()},
        only=only,
        fixed=lock == "committed",
        absent={name: why.strip() for name, why in said.get("absent", {}).items()},
        prevails={
            name: tuple(sorted(s["prevails"]))
            for name, s in said["environments"].items()
            if "prevails" in s
        },
    )


def find(name: str, folder: Path | None = None) -> VersionSet:
    """The set of that name, or derived as it says, under its canonical name. UnknownName offers
    the nearest; derived.BadPin says what is wrong with ``+name==version``; BadSet as
    ``version_sets``."""
    sets = version_sets(folder)
    if name in sets:
        return sets[name]
    if "+" in name:
        from switchyard.runner import derived

        return derived.derive(name, sets)
    raise UnknownName("version set", name, sets)

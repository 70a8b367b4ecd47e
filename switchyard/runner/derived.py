"""Sets derived by name: ``SET+name==version``, one or more pins, without a file of their own.

An environment changes where its inputs name the package, else where its lock holds it; what
changes is its inputs, and the lock is resolved from these, near the base's. Other environments
are the base's own.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Mapping

from switchyard.runner.locking import normalised, pins
from switchyard.runner.version_sets import CURRENT, VersionSet
from switchyard.vocabulary import NotUsable, UnknownName

_NEXT = re.compile(r"\+(?=[A-Za-z0-9][A-Za-z0-9._-]*==)")
_PIN = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([0-9][A-Za-z0-9.]*)\Z")
_LINE = re.compile(r"^([A-Za-z0-9][\w.-]*)(\[[^\]]*\])?[ \t]*(?:[=<>~!][^;#\n]*)?(?=;|#|$)", re.M)

#: Distributions that are one package by its project's name: which one is the flavour's affair.
VARIANTS = {
    "tensorflow": ("tensorflow-cpu",),
    "onnxruntime": ("onnxruntime-gpu",),
}


class BadPin(NotUsable, ValueError):
    """A derived set's name that is none; the message says what it should look like."""


def derive(name: str, sets: Mapping[str, VersionSet]) -> VersionSet:
    """The set that ``name`` asks for: pins by normalised name, in alphabetical order.

    Raises UnknownName for the base, BadPin for the rest.
    """
    base, *said = _NEXT.split(name)
    if "+" in base:
        raise BadPin(f"version set {name!r}: after a + comes name==version")
    if base not in sets:
        raise UnknownName("version set", base, sets)
    if base == CURRENT:
        raise BadPin(f"version set {name!r}: {CURRENT} has no lock that another could start from")
    pinned: dict[str, str] = {}
    for pin in said:
        found = _PIN.match(pin)
        if not found:
            raise BadPin(
                f"version set {name!r}: {pin!r} is not name==version, a version being one that "
                "the index knows, without a local part"
            )
        package = normalised(found[1])
        if package in pinned:
            raise BadPin(f"version set {name!r}: {package} is pinned twice")
        pinned[package] = found[2]
    pinned = dict(sorted(pinned.items()))
    return dataclasses.replace(
        sets[base],
        name=base + "".join(f"+{package}=={version}" for package, version in pinned.items()),
        base=base,
        pins=pinned,
    )


def replaced(set_: VersionSet, environment: str, flavour: str) -> dict[str, str]:
    """Of a derived set's pins those that change one environment."""
    return {
        package: version
        for package, version in set_.pins.items()
        if environment in holders(set_, package, flavour)
    }


def holders(set_: VersionSet, package: str, flavour: str) -> list[str]:
    """The environments that a pin of ``package`` changes; none where nobody knows it."""
    names = {package, *VARIANTS.get(package, ())}

    def by_inputs(environment: str) -> bool:
        texts = (path.read_text("utf-8") for path in set_.inputs(environment, flavour))
        return any(normalised(line[1]) in names for text in texts for line in _LINE.finditer(text))

    def by_lock(environment: str) -> bool:
        return bool(names & held(set_, environment, flavour))

    for holds in (by_inputs, by_lock):
        if found := [environment for environment in set_.environments if holds(environment)]:
            return found
    return []


def held(set_: VersionSet, environment: str, flavour: str) -> set[str]:
    """The packages of one environment's lock, those of its torch included; empty without one."""
    paths = [set_.lock(environment, flavour), *set_.constraints(environment, flavour)]
    return {name for path in paths if path.exists() for name in pins(path.read_text("utf-8"))}


def with_pins(texts: Mapping[str, str], pinned: Mapping[str, str], first: str) -> dict[str, str]:
    """Inputs and overrides, by file name, with pins replaced; one that no input names is added
    to the input called ``first``. A line keeps its extras, marker and variant."""
    left = set(pinned)
    version_of = {
        name: (package, version)
        for package, version in pinned.items()
        for name in (package, *VARIANTS.get(package, ()))
    }
    changed = {}
    for file, text in texts.items():

        def pin(line: re.Match) -> str:
            name = normalised(line[1])
            # An override with a marker says that a package is never there, not which version.
            dropped = file.endswith(".override") and line.string.startswith(";", line.end())
            if name not in version_of or dropped:
                return line[0]
            package, version = version_of[name]
            if file.endswith(".in"):
                left.discard(package)
            return f"{line[1]}{line[2] or ''}=={version}"

        changed[file] = _LINE.sub(pin, text)
    added = "".join(f"{package}=={pinned[package]}\n" for package in sorted(left))
    changed[first] = changed.get(first, "") + added
    return changed

"""Packages of one environment that bring the same library, each a build of its own.

pip and uv write both to one place: which of them lies there in the end, or which mixture, is a
matter of which was written last. torch's CUDA 13 and TensorFlow's CUDA 12 bring a cuDNN each in
this way. A version set says which of the two is to lie there; where none is said it is an error.
"""

from __future__ import annotations

import base64
import csv
import hashlib
from pathlib import Path
from typing import Collection, Dict, List, Mapping, Set

from switchyard.runner.locking import normalised

#: File, relative to site-packages -> package -> the digest that its RECORD has for it.
Clashes = Dict[str, Dict[str, str]]


class Clash(Exception):
    """Two packages bring one library, and nothing says whose is to lie there."""


def _libraries(packages: Path) -> Clashes:
    found: Clashes = {}
    for record in sorted(packages.glob("*.dist-info/RECORD")):
        name = normalised(record.parent.name.partition("-")[0])
        with open(record, newline="", encoding="utf-8") as file:
            for row in csv.reader(file):
                if len(row) > 1 and row[1] and ".so" in Path(row[0]).suffixes:
                    found.setdefault(row[0], {})[name] = row[1]
    return found


def clashes(packages: Path) -> Clashes:
    """The libraries in a site-packages folder that several packages bring, unlike each other, by
    the digests in their RECORD files
    (https://packaging.python.org/specifications/recording-installed-packages/)."""
    return {
        file: owners
        for file, owners in _libraries(packages).items()
        if len(set(owners.values())) > 1
    }


def prevailing(found: Clashes, prevails: Collection[str]) -> List[str]:
    """The packages whose files have to be written once more, sorted. Raises Clash where of one
    library not exactly one owner is in ``prevails``."""
    again: Set[str] = set()
    for file, owners in sorted(found.items()):
        chosen = [name for name in owners if name in prevails]
        if len(chosen) != 1:
            raise Clash(f"{' and '.join(sorted(owners))} bring {file}, each its own")
        again.update(chosen)
    return sorted(again)


def misplaced(packages: Path, found: Clashes, prevails: Collection[str]) -> List[str]:
    """Of the libraries in ``found`` those that are not their prevailing package's."""
    return [
        file
        for file, owners in sorted(found.items())
        if _digest(packages / file) not in _digests(owners, prevails)
    ]


def _digests(owners: Mapping[str, str], prevails: Collection[str]) -> Set[str]:
    return {digest for name, digest in owners.items() if name in prevails}


def _digest(path: Path) -> str:
    """As RECORD has it."""
    raw = hashlib.sha256(path.read_bytes()).digest()
    return "sha256=" + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

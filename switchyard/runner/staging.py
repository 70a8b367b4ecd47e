"""The path a worker runs on: only what it may import, as it stood when the run began.

Worker, hops, runtimes, vocabulary and zoo are copied to the cache under their content's
hash, so that a worker cannot reach the runner, and editing a file changes no run under way.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import pathlib
import shutil
import tempfile
from typing import Dict, Iterable

from switchyard.tables.replacing import replace_atomically

PROJECT = pathlib.Path(__file__).resolve().parents[2]

#: Of the package ``switchyard``: what a worker may import.
_WORKER_SIDE = (
    "__init__.py",
    "vocabulary.py",
    "wire.py",
    "manifest.py",
    "hops",
    "runtimes",
    "worker",
)

#: Worker modules that judge or time an artefact and have no part in making it.
_LOOKING = frozenset(
    f"switchyard/worker/{name}.py"
    for name in (
        "asking",
        "agreement",
        "capture",
        "diagnosis",
        "evidence",
        "keras_norms",
        "layers",
        "loading",
        "fragmentation",
        "measuring",
        "placement",
        "processor_time",
        "resident",
        "sharing",
        "stochastic",
        "torch_service",
        "trace_replay",
        "training",
    )
)


def _sources() -> Dict[str, pathlib.Path]:
    """Relative path -> file of everything that is staged."""
    roots = [PROJECT / "switchyard" / name for name in _WORKER_SIDE] + [PROJECT / "models_zoo"]
    found = {}
    for root in roots:
        for file in [root] if root.is_file() else sorted(root.rglob("*.py")):
            found[file.relative_to(PROJECT).as_posix()] = file
    return found


@dataclasses.dataclass(frozen=True)
class Staged:
    """A staged path. ``digests``: relative path -> sha256 of every file in it."""

    path: pathlib.Path
    digests: Dict[str, str]

    @functools.cached_property
    def machinery(self) -> str:
        """The hash of what has a hand in every artefact: Switchyard's worker side without the
        single hops and runtimes (a hop's own file is in its artefacts' keys) and without what
        only looks at artefacts afterwards."""
        own = {
            name: digest
            for name, digest in self.digests.items()
            if name.startswith("switchyard/")
            and name not in _LOOKING
            and (name.split("/")[1] not in ("hops", "runtimes") or name.endswith("__init__.py"))
        }
        return _digest(own)

    def file(self, relative: str) -> pathlib.Path:
        return self.path / relative

    def digest_of(self, files: Iterable[pathlib.Path]) -> str:
        """The hash of files: as they are staged, for that is what a worker runs, where they are
        built in, the user's otherwise."""
        found = hashlib.sha256()
        for file in files:
            if file.is_relative_to(PROJECT):
                inside = file.relative_to(PROJECT).as_posix()
                if inside in self.digests:
                    file = self.file(inside)
            found.update(file.read_bytes())
        return found.hexdigest()


def _digest(digests: Dict[str, str]) -> str:
    text = "\n".join(f"{name} {value}" for name, value in sorted(digests.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def stage(cache: pathlib.Path) -> Staged:
    """Copy the worker side into the cache, unless these very files are there already: as they are,
    not as their folder's name says, since whatever clears old files away takes single ones."""
    sources = _sources()
    contents = {name: file.read_bytes() for name, file in sources.items()}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    target = cache / "worker-path" / _digest(digests)[:16]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        building = pathlib.Path(tempfile.mkdtemp(dir=target.parent, prefix=".staging-"))
        for name, data in contents.items():
            (building / name).parent.mkdir(parents=True, exist_ok=True)
            (building / name).write_bytes(data)
        try:
            os.rename(building, target)
        except OSError:  # another run staged the same files first
            shutil.rmtree(building)
    for name, data in contents.items():
        file = target / name
        if not file.is_file() or file.read_bytes() != data:
            file.parent.mkdir(parents=True, exist_ok=True)
            replace_atomically(file, data)
    return Staged(target, digests)


def shown(path: str) -> str:
    """A staged or project file as people know it: relative to the project where it is in it."""
    for marker in ("/models_zoo/", "/switchyard/"):
        head, found, tail = path.partition(marker)
        if found and "worker-path" in head:
            return marker.strip("/") + "/" + tail
    try:
        return pathlib.Path(path).relative_to(PROJECT).as_posix()
    except ValueError:
        return path

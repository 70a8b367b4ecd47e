"""The store of what conversions made, keyed by what made it.

An entry is a folder: the artefact (or reference) and ``outcome.json``. Only successes and
refusals are kept; a crash, a timeout or an out-of-memory is tried again by the next run. An
entry also lists the project files its build turned out to import; it is stale once one of
them has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from typing import Any, Dict, Iterator, Mapping, Optional

from filelock import FileLock


def key_of(**parts: Any) -> str:
    """The key of an entry: a hash over everything that made it."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _unchanged(sources: Mapping[str, str], staged: Mapping[str, str]) -> bool:
    """Whether every project file still has the content it was built from; a staged file is
    named relative to the project, any other by its path."""
    for path, digest in sources.items():
        if not os.path.isabs(path):
            if staged.get(path) != digest:
                return False
            continue
        try:
            if hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest() != digest:
                return False
        except OSError:
            return False
    return True


class ArtefactStore:
    """Entries under ``root``, each made once at a time, also by two runs at once."""

    def __init__(self, root: pathlib.Path, staged: Mapping[str, str]):
        self._root = root
        self._staged = staged
        root.mkdir(parents=True, exist_ok=True)

    def folder(self, key: str) -> pathlib.Path:
        return self._root / key[:2] / key

    def find(self, key: str) -> Optional[Dict[str, Any]]:
        """What is recorded under ``key``, or None where it was never made or is stale."""
        try:
            record = json.loads((self.folder(key) / "outcome.json").read_text())
        except (OSError, ValueError):
            return None
        return record if _unchanged(record.get("sources", {}), self._staged) else None

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold ``key`` against every other run that would make it."""
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(folder) + ".lock"):
            yield

    def workplace(self, key: str) -> pathlib.Path:
        """A fresh folder on the same disk to make an entry in, for who is ``alone`` with its key;
        what a killed run left of an earlier one is removed."""
        folder = self.folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for left in folder.parent.glob(f"{key}.making-*"):
            shutil.rmtree(left, ignore_errors=True)
        return pathlib.Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{key}.making-"))

    def keep(self, key: str, made: pathlib.Path, record: Mapping[str, Any]) -> pathlib.Path:
        """Put what was made in its place; an older entry gives way."""
        (made / "outcome.json").write_text(json.dumps(record))
        folder = self.folder(key)
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(made, folder)
        return folder

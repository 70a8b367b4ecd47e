"""The store of what conversions made, keyed by what made it.

An entry is a folder: the artefact (or reference) and ``outcome.json``. Only successes and
refusals are kept; a crash, a timeout or an out-of-memory is tried again by the next run.

An entry lists the project files its build turned out to import, and is stale once one of them
has changed. So a key has an entry for each state that these were found in, and none takes another's
place, which a run may be using that began earlier. None is removed either: the cache grows until
somebody empties it between two runs.

An entry lists its own files as well: one that has lost some, to an interrupted removal or to
whatever clears old files away, is none, and made anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import threading
from typing import Any, Dict, Iterator, Mapping, NamedTuple, Optional

from filelock import FileLock, Timeout

from switchyard.runner.crew import Closed
from switchyard.runner.workers import LOOK_SECONDS

#: The file of an entry that says what is recorded of it, and its other files with their bytes.
_MARKER = "outcome.json"


def entry_key(**parts: Any) -> str:
    """The key of an entry: a hash over everything that made it."""
    return _hash_of(parts)[:32]


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Entry(NamedTuple):
    """Where it lies, and what was recorded of it."""

    folder: pathlib.Path
    record: Dict[str, Any]


def _unchanged(sources: Mapping[str, str], staged: Mapping[str, str]) -> bool:
    """Whether every project file still has the content it was built from; a staged file is
    named relative to the project, any other by its path."""
    return all(
        (_digest(path) if os.path.isabs(path) else staged.get(path)) == digest
        for path, digest in sources.items()
    )


def _digest(path: str) -> Optional[str]:
    try:
        now = os.stat(path)
        return _digest_as_of(path, now.st_mtime_ns, now.st_size, now.st_ino)
    except OSError:
        return None


@functools.lru_cache(maxsize=None)
def _digest_as_of(path: str, *state: int) -> str:
    """Asked for once an entry, and it may be gigabytes of weights."""
    found = hashlib.sha256()
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            found.update(part)
    return found.hexdigest()


def _sizes(folder: pathlib.Path) -> Dict[str, int]:
    """What was made, file by file, with its bytes."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _read(folder: pathlib.Path) -> Optional[Entry]:
    """The entry in ``folder``, or None where it is not whole."""
    try:
        said = json.loads((folder / _MARKER).read_text())
        whole = all((folder / name).stat().st_size == size for name, size in said["files"].items())
    except (OSError, ValueError):
        return None
    return Entry(folder, said["record"]) if whole else None


class ArtefactStore:
    """Entries under ``root``, each made once at a time, also by two runs at once; ``ended`` is set
    when this run has, and nobody needs what it still waits for."""

    def __init__(
        self,
        root: pathlib.Path,
        staged: Mapping[str, str],
        ended: Optional[threading.Event] = None,
    ):
        self._root = root
        self._staged = staged
        self._ended = ended or threading.Event()
        root.mkdir(parents=True, exist_ok=True)

    def _beside(self, key: str) -> pathlib.Path:
        """The folder in which all lies that is named by ``key``."""
        folder = self._root / key[:2]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, key: str) -> Optional[Entry]:
        """The entry of ``key``, or None where it was never made, is stale or not whole."""
        for folder in sorted(self._beside(key).glob(f"{key}-*")):
            entry = _read(folder)
            if entry and _unchanged(entry.record.get("sources", {}), self._staged):
                return entry
        return None

    @contextlib.contextmanager
    def alone(self, key: str) -> Iterator[None]:
        """Hold ``key`` against every other run that would make it. Raises Closed where this run
        ends while it waits for another: a thread that waits keeps the interpreter from ending."""
        lock = FileLock(self._beside(key) / f"{key}.lock")
        while not lock.is_locked:
            try:
                lock.acquire(timeout=LOOK_SECONDS)
            except Timeout:
                if self._ended.is_set():
                    raise Closed("the run has ended") from None
        try:
            yield
        finally:
            lock.release()

    def workplace(self, key: str) -> pathlib.Path:
        """A fresh folder on the same disk to make an entry in, for who is ``alone`` with its key;
        what a killed run left of an earlier one is removed."""
        beside = self._beside(key)
        for left in beside.glob(f"{key}.making-*"):
            shutil.rmtree(left, ignore_errors=True)
        return pathlib.Path(tempfile.mkdtemp(dir=beside, prefix=f"{key}.making-"))

    def keep(self, key: str, made: pathlib.Path, record: Mapping[str, Any]) -> pathlib.Path:
        """Put what was made in its place, and return that. Only one that is not whole gives way:
        where the same sources made one already, that stays."""
        (made / _MARKER).write_text(json.dumps({"record": record, "files": _sizes(made)}))
        folder = self._beside(key) / f"{key}-{_hash_of(record.get('sources', {}))[:12]}"
        if _read(folder) is not None:
            shutil.rmtree(made, ignore_errors=True)
            return folder
        if folder.exists():
            shutil.rmtree(folder)
        os.rename(made, folder)
        return folder

"""The environments provisioned from version sets' locks.

An environment lives in the user's cache, in a folder named by the hash of all that decides
what it holds, and counts only once its marker file stands.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import Callable

from switchyard.runner.installation import (
    INSTALL_OPTIONS,
    Installation,
    ProvisioningError,
    changed_ns,
    dated,
    mark,
    marked,
    prevailing_in,
)
from switchyard.runner.locking import normalised
from switchyard.runner.settling import settled
from switchyard.runner.version_sets import CURRENT, VersionSet, find, fits_here

TIMEOUT_S = 30 * 60
#: In the cache: the locks made at a run, for sets that have none of their own.
SETTLED = "version_sets"


class NotDeclared(ProvisioningError):
    """The version set has no environment of that name: what it would host is not for this set."""

    def __init__(self, set_: VersionSet, environment: str):
        super().__init__(
            set_.name,
            environment,
            " ".join(set_.absent[environment].split()) if environment in set_.absent else
            f"the set has none of that name, but {' and '.join(set_.environments)}",
            f"run with a set that has it, or add {environment}.in and what set.toml says of it",
            kind="missing-dependency",
        )


@dataclasses.dataclass(frozen=True)
class Environment:
    """An interpreter and the packages installed for it: as they are, not as they were asked for."""

    version_set: str
    name: str
    python: str
    python_version: str
    packages: dict[str, str] = dataclasses.field(hash=False)
    lock_hash: str
    bin: str
    #: The folder of a lock that is not committed, since it was made at a run; else "".
    made_in: str = ""

    @property
    def fingerprint(self) -> str:
        """16 hex digits over the packages, local versions included, and Python's version."""
        said = json.dumps([self.python_version, sorted(self.packages.items())])
        return hashlib.sha256(said.encode()).hexdigest()[:16]


def cache_root() -> Path:
    """$SWITCHYARD_CACHE, else the user's cache folder; not created here."""
    if own := os.environ.get("SWITCHYARD_CACHE"):
        return Path(own).expanduser().absolute()
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser().absolute() / "switchyard"


def provision(
    version_set: VersionSet | str,
    environment: str = "core",
    say: Callable[[str], object] = print,
    flavour: str = "cpu",
    timeout_s: float = TIMEOUT_S,
    ended: threading.Event | None = None,
) -> Environment:
    """The environment, installed first if it is not there yet; ``say`` is told what goes on.
    Once ``ended`` is set an installation is given up; the resolution of a lock that is made at a
    run is not, and has bounds of its own.

    What decides is the lock and all that stands beside it, not the shell's settings: where a
    package has several builds, the one found at first use stays until the folder is removed.
    Raises ProvisioningError, UnknownName for a set that is not there, and BadSet.
    """
    asked = find(version_set) if isinstance(version_set, str) else version_set
    if asked.folder is None:
        return _current(environment)
    if environment not in asked.environments:
        raise NotDeclared(asked, environment)
    if not fits_here(asked.platform):
        what = f"it is for {asked.platform}, and this is {platform.system()} on "
        what += platform.machine()
        raise ProvisioningError(asked.name, environment, what, "run it on such a machine")
    set_ = settled(asked, environment, flavour, cache_root() / SETTLED, say)
    lock = set_.lock(environment, flavour)
    if not lock.exists():
        advice = f"switchyard lock {set_.name} --flavour {flavour}"
        raise ProvisioningError(set_.name, environment, f"there is no lock {lock}", advice)
    home, lock_hash = home_of(set_, environment, flavour)
    ended = ended or threading.Event()
    log = cache_root() / "logs" / f"{home.name}.log"
    deadline = time.monotonic() + timeout_s
    making = Installation(set_, environment, flavour, home, log, deadline, say, ended)
    try:
        if not (said := marked(home)):
            home.parent.mkdir(parents=True, exist_ok=True)
            with making.alone():
                said = marked(home) or making.run()  # another run may have been quicker
        if said["changed_ns"] != changed_ns(home):
            say(
                f"{making.label}: changed by hand since it was installed; going on with what it has"
            )
            said = mark(home)
        dated(home)
    except (OSError, subprocess.SubprocessError) as error:
        advice = "remove or mend that folder, or set SWITCHYARD_CACHE to another"
        raise making.error(f"{home} cannot be used: {error}", advice) from error
    return Environment(
        version_set=asked.name,
        name=environment,
        python=str(home / "bin" / "python"),
        python_version=said["python_version"],
        packages=said["packages"],
        lock_hash=lock_hash,
        bin=str(home / "bin"),
        made_in="" if asked.fixed and not asked.base else str(set_.folder),
    )


def home_of(set_: VersionSet, environment: str, flavour: str = "cpu") -> tuple[Path, str]:
    """Where an environment lies, there or not, and the 12 hex digits that name what it holds:
    of all that decides it, comments left out. A derived set's lies with its base's."""
    digest = hashlib.sha256(json.dumps([set_.python, INSTALL_OPTIONS]).encode())
    beside = set_.overrides(environment, flavour) + set_.constraints(environment, flavour)
    for path in (set_.lock(environment, flavour), *beside):
        text = re.sub(r"^\s*#.*\n", "", path.read_text("utf-8"), flags=re.M)
        digest.update(f"\n== {path.name}\n{text}".encode())
    if prevails := prevailing_in(set_, environment, flavour):
        digest.update(f"\n== prevails\n{' '.join(prevails)}".encode())
    lock_hash = digest.hexdigest()[:12]
    name = f"{set_.base or set_.name}-{environment}-{lock_hash}"
    return cache_root() / "environments" / name, lock_hash


def _current(environment: str) -> Environment:
    import importlib.metadata

    # Of two of one name the first on the path is imported, so it is written last.
    found = reversed(list(importlib.metadata.distributions()))
    return Environment(
        version_set=CURRENT,
        name=environment,
        python=sys.executable,
        python_version=platform.python_version(),
        packages={normalised(one.metadata["Name"] or ""): one.version for one in found},
        lock_hash="",
        bin=sysconfig.get_path("scripts"),
    )

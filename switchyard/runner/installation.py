"""One environment being made: from an empty folder to its marker file, by uv, bounded in time.

A folder without its marker counts as none: a failure, and Ctrl-C, leave nothing but the log.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import IO, Callable, Iterator

from switchyard.runner import clashes, locking
from switchyard.runner.version_sets import CURRENT, VersionSet
from switchyard.tables.replacing import replace_atomically

#: Seconds between two words of how far it is, and between two looks at it.
HEARTBEAT_S = 20
LOOK_SECONDS = 0.5

#: The file in an environment's folder that says that it is whole, and what it holds.
MARKER = "switchyard.json"

#: Bytecode is written by whoever imports a module first, the fork server mostly: compiled here it
#: was nine tenths of an installation, most of it for modules that nothing imports.
INSTALL_OPTIONS = ("--no-compile-bytecode",)

#: What the environment's own interpreter answers about itself (``-I``: nothing of the shell's).
_DESCRIBE = r"""
import importlib.metadata, json, platform, re
found = [(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()]
# a half-removed distribution has no name
packages = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found if name}
print(json.dumps({"packages": packages, "python_version": platform.python_version()}))
"""


class ProvisioningError(Exception):
    """An environment could not be made; the message says why, and what to do about it.

    ``package`` is empty where the fault is no package's, ``log`` where nothing was run. ``kind`` is
    that of the cells which need it: of the packages only where uv says that they cannot be had
    together, else of this time and machine, which is nothing to be expected the next time.
    """

    def __init__(
        self,
        version_set: str,
        environment: str,
        what: str,
        advice: str,
        package: str = "",
        log: str = "",
        kind: str = "no-result",
    ):
        lines = [f"version set {version_set}, environment {environment}: {what}"]
        lines += [f"log: {log}"] if log else []
        super().__init__("\n".join([*lines, f"what to do: {advice}"]))
        self.version_set = version_set
        self.environment = environment
        self.package = package
        self.log = log
        self.kind = kind


def prevailing_in(set_: VersionSet, environment: str, flavour: str) -> list[str]:
    """Of the packages that the set says prevail those in this lock."""
    held = locking.pins(set_.lock(environment, flavour).read_text("utf-8"))
    return [name for name in set_.prevails.get(environment, ()) if name in held]


def marked(home: Path) -> dict | None:
    """What the marker says, or None unless an installation came to its end and still starts."""
    try:
        said = json.loads((home / MARKER).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return said if (home / "bin" / "python").exists() else None


def dated(home: Path) -> None:
    """Note in the marker's time that the environment is used now, for ``last_used``."""
    with contextlib.suppress(OSError):  # a cache for many may be read-only
        os.utime(home / MARKER)


def last_used(home: Path) -> float:
    """When, in seconds since 1970; where nothing says it, when something was last put there."""
    marker = home / MARKER
    return (marker if marker.exists() else home).stat().st_mtime


def remove_unheld(home: Path, since: float) -> bool:
    """Remove an environment, unless it is being installed or was used after ``since``, seconds
    since 1970. Whether it was removed; OSError where it could not be."""
    with open(f"{home}.lock", "a+") as file:  # which stays: another run may be waiting for it
        if not _locked(file) or last_used(home) > since:
            return False
        _remove(home)
    if home.exists():
        raise OSError(f"{home} could not be removed")
    return True


def _remove(home: Path) -> None:
    (home / MARKER).unlink(missing_ok=True)  # first, so that half a removal never looks complete
    shutil.rmtree(home, ignore_errors=True)


def mark(home: Path) -> dict:
    """Ask the environment's interpreter what it has, and write the marker in one step."""
    command = [str(home / "bin" / "python"), "-I", "-c", _DESCRIBE]
    asked = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if asked.returncode:
        raise OSError(f"its interpreter does not start: {asked.stderr.strip()[-500:]}")
    said = json.loads(asked.stdout)
    said["changed_ns"] = changed_ns(home)
    replace_atomically(home / MARKER, json.dumps(said, indent=1, sort_keys=True).encode())
    return said


def changed_ns(home: Path) -> int:
    """When a package last came into the environment or left it: its folder's mtime."""
    return max(path.stat().st_mtime_ns for path in home.glob("lib/python*/site-packages"))


def _locked(file: IO) -> bool:
    """Whether this process holds the lock now; flock, since its hold is inherited with the file."""
    import fcntl  # on Unix alone, and elsewhere a run is to end with its reason

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@dataclasses.dataclass
class Installation:
    """One environment being made in ``home``; ``deadline`` by ``time.monotonic``, seconds. Its
    methods raise ProvisioningError, OSError and subprocess.SubprocessError."""

    set_: VersionSet
    environment: str
    flavour: str
    home: Path
    log: Path
    deadline: float
    say: Callable[[str], object]
    ended: threading.Event
    held: int = -1

    @property
    def label(self) -> str:
        return f"{self.set_.name}/{self.environment}"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the environment's lock file. uv inherits its descriptor, so that an installation
        whose runner was killed keeps others out until uv has ended too."""
        path = Path(f"{self.home}.lock")
        with open(path, "a+") as file:
            if not _locked(file):
                self.say(f"{self.label}: another run is installing it; waiting for that")
            while not _locked(file):  # to lock what one holds is no harm
                if time.monotonic() > self.deadline:
                    advice = f"end the process that holds {path}, and run again"
                    raise self.error("another run is still installing it", advice, kind="timeout")
                if self.ended.wait(0.1):
                    raise self._given_up()
            self.held = file.fileno()
            yield

    def run(self) -> dict:
        """Make it and return what its marker says; a failure leaves nothing but the log."""
        lock = self.set_.lock(self.environment, self.flavour)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        if self.home.exists():
            self.say(f"{self.label}: what lies in {self.home} is not complete; making it anew")
            _remove(self.home)
        count = len(re.findall(r"^[\w.-]+==", lock.read_text("utf-8"), re.M))
        started = time.monotonic()
        self.say(
            f"{self.label}: installing {count} packages for Python {self.set_.python} into "
            f"{self.home} (once, until its lock changes); log: {self.log}"
        )
        try:
            said = self._make(lock)
        except BaseException:  # Ctrl-C too: what is left is of no use, and may be gigabytes
            _remove(self.home)
            raise
        self.say(f"{self.label}: installed in {time.monotonic() - started:.0f} s")
        return said

    def _make(self, lock: Path) -> dict:
        wanted = self.set_.python
        python = locking.interpreter_for(wanted)
        if self._uv("venv", "--no-project", "--python", python, str(self.home)):
            words, advice = locking.blamed(self.log.read_text("utf-8", "replace"))[1:3]
            if "nterpreter" not in words and "python-build-standalone" not in words:
                raise self.error(f"could not make a virtual environment: {words}", advice)
            what = f"it needs Python {wanted}, which is not here and could not be fetched"
            advice = f"install Python {wanted}, or run with --version-set {CURRENT}"
            raise self.error(what, advice, "python")
        which = (self.environment, self.flavour)
        beside = [f"--override={path}" for path in self.set_.overrides(*which)]
        beside += [f"--constraints={path}" for path in self.set_.constraints(*which)]
        install = ("pip", "install", "--python", str(self.home / "bin" / "python"))
        wanted = [*install, *INSTALL_OPTIONS, "-r", str(lock), *beside]
        self._install(wanted)
        for packages in self.home.glob("lib/python*/site-packages"):
            self._settle(packages, wanted)
            (packages / "__pycache__").mkdir(exist_ok=True)  # later it would look like a change
        return mark(self.home)

    def _install(self, wanted: list[str]) -> None:
        if self._uv(*wanted):
            blame = locking.blamed(self.log.read_text("utf-8", "replace"))
            what = f"could not install {blame.package or 'it'}: {blame.words}"
            advice = blame.advice
            if self._index_alone and (aside := locking.set_aside(os.environ)):
                advice += f"\n{aside}"
            raise self.error(what, advice, blame.package, blame.kind)

    @property
    def _index_alone(self) -> bool:
        return self.set_.flavour_of(self.environment, self.flavour) == "cuda"

    def _settle(self, packages: Path, wanted: list[str]) -> None:
        """Of a library that several packages bring, the one that the set says is to lie there."""
        prevails = prevailing_in(self.set_, self.environment, self.flavour)
        found = clashes.clashes(packages)
        try:
            again = clashes.prevailing(found, prevails)
        except clashes.Clash as clash:
            advice = (
                f"say in {self.set_.folder / 'set.toml'} which prevails "
                f"([environments.{self.environment}.prevails]), or leave one of them out"
            )
            raise self.error(str(clash), advice) from clash
        if again:
            self.say(f"{self.label}: the libraries of {' and '.join(again)} prevail")
            self._install([*wanted, *(f"--reinstall-package={name}" for name in again)])
        if left := clashes.misplaced(packages, found, prevails):
            raise self.error(f"{left[0]} is not that of {' or '.join(again)}", "run again")

    def _uv(self, *arguments: str) -> int:
        """Run uv into the log and return its exit status; killed when time is up or we are."""
        uv = locking.uv_binary()
        if uv is None:
            what = "uv, which installs version sets, is not here"
            raise self.error(what, "python3 -m pip install uv", "uv")
        variables = locking.uv_variables(os.environ)
        if self._index_alone:
            variables = locking.index_alone(variables)
        with open(self.log, "ab") as sink:
            sink.write(f"$ uv {shlex.join(arguments)}\n".encode())
            sink.flush()
            process = subprocess.Popen(
                [uv, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=variables,
                start_new_session=True,  # so that what it builds is killed with it
                pass_fds=(self.held,),
            )
        started = told = time.monotonic()
        try:
            while True:
                left = self.deadline - time.monotonic()
                try:
                    return process.wait(max(0.0, min(LOOK_SECONDS, left)))
                except subprocess.TimeoutExpired:
                    if self.ended.is_set():
                        raise self._given_up() from None
                    if left <= LOOK_SECONDS:
                        advice = "run again: what was fetched is kept"
                        what = "it took too long and was stopped"
                        raise self.error(what, advice, kind="timeout") from None
                if time.monotonic() - told < HEARTBEAT_S:
                    continue
                told = time.monotonic()
                last = self.log.read_text("utf-8", "replace").rstrip().rpartition("\n")[2].strip()
                self.say(f"{self.label}: {time.monotonic() - started:.0f} s, {last}")
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _given_up(self) -> ProvisioningError:
        return self.error("the run ended before it was installed", "run again")

    def error(
        self, what: str, advice: str, package: str = "", kind: str = "no-result"
    ) -> ProvisioningError:
        log = str(self.log) if os.path.exists(self.log) else ""
        return ProvisioningError(self.set_.name, self.environment, what, advice, package, log, kind)

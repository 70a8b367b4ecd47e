"""What uv is asked to do: the settings it runs with, whom its failures blame, the locks it makes.

A lock has to hold for everybody, so it is resolved against the index alone, without this
machine's find-links, extra indexes and configuration.

PyPI's torch and the CPU builds of it are different artefacts of one version: in a lock for the
CPU its line has neither a hash nor a local version, and takes the CPU build where one is offered.
What only PyPI's build needs (CUDA) is pinned in a constraints file beside the lock, installed with
that build alone. A lock for CUDA means PyPI's build, and has its hash.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Mapping, NamedTuple

from switchyard.tables.replacing import replace_atomically

if TYPE_CHECKING:
    from switchyard.runner.version_sets import VersionSet

TIMEOUT_S = 10 * 60

#: uv reads none of pip's settings: pip's variable, uv's, and whether its blanks become commas.
FROM_PIP = (
    ("PIP_FIND_LINKS", "UV_FIND_LINKS", True),
    ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", False),
    ("PIP_EXTRA_INDEX_URL", "UV_INDEX", False),
    ("PIP_CERT", "SSL_CERT_FILE", False),
    ("PIP_DEFAULT_TIMEOUT", "UV_HTTP_TIMEOUT", False),
)

#: Settings of the shell that would change which packages a lock means, or where they go.
FOREIGN = (
    "PYTHONPATH",
    "PYTHONHOME",
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_REQUIRE_HASHES",
    "UV_CONSTRAINT",
    "UV_OVERRIDE",
    "UV_EXCLUDE",
    "UV_EXCLUDE_NEWER",
    "UV_RESOLUTION",
    "UV_PRERELEASE",
    "UV_PROJECT_ENVIRONMENT",
    "UV_VENV_SEED",
)

#: Settings that offer builds which not everybody has.
OFFERS = (
    "UV_FIND_LINKS",
    "UV_INDEX",
    "UV_EXTRA_INDEX_URL",
    "UV_TORCH_BACKEND",
    "UV_INDEX_STRATEGY",
)

#: What has a build for the CPU beside the index's own, under one version.
BUILDS = ("torch", "torchvision")

#: What only the index's own build of torch needs: by name, and what these alone pull in.
CUDA = re.compile(r"(?:nvidia|cuda)-|(?:pytorch-)?triton\Z")

_PACKAGE = r"([A-Za-z0-9][\w.-]*?)"
_BLAMES = (  # the surest first
    re.compile(rf"Hash mismatch for `{_PACKAGE}(?:==|`| @)"),
    re.compile(rf"Failed to (?:download and build|download|build|unpack) `{_PACKAGE}(?:==|`| @)"),
    re.compile(rf"Failed to fetch:? `?\S+/simple/{_PACKAGE}/"),
    re.compile(rf"Failed to (?:fetch|download):? `?\S+/{_PACKAGE}-\d[^/]*?\.(?:whl|tar\.gz|zip)"),
    re.compile(rf"(?:there is no version of|Because) {_PACKAGE}(?:==| was not found| has no)"),
    re.compile(rf"you require {_PACKAGE}(?:[=<>~!,]| )"),
)

_UNREACHABLE = (
    "the index cannot be reached, or refuses: look at the network, or set UV_DEFAULT_INDEX "
    "(or pip's own PIP_INDEX_URL) to an index that answers"
)
_ADVICE = (
    (
        "Hash mismatch",
        "the index serves another file than the one locked: use another, or lock the set again",
    ),
    (
        "No space left",
        "free some space on the disk that holds the cache, or set SWITCHYARD_CACHE to another",
    ),
    ("error sending request", _UNREACHABLE),
    ("Failed to fetch", _UNREACHABLE),
    (
        "No solution found",
        "the index does not offer what the lock asks for: set UV_DEFAULT_INDEX to one that does, "
        "or lock the set again (switchyard lock SET)",
    ),
    (
        "parse requirement",
        "the lock is damaged: restore it, or lock the set again (switchyard lock SET)",
    ),
)


#: What uv calls unsolvable too, where it could not ask: offline, or turned away by an index.
_NOT_ASKED = re.compile(r"network was disabled|could not be queried|returned a \d{3} ")


class Blame(NamedTuple):
    """What a failed uv said: the package at fault or "", its own words, what to do about it, and
    the kind of what needs the environment: ``no-result`` unless the packages are at fault."""

    package: str
    words: str
    advice: str
    kind: str


class LockingError(Exception):
    """A lock could not be made; the message holds uv's own ``words``, and ``aside``, a sentence
    about what of the shell uv was not told (``set_aside``), "" where nothing follows from that."""

    def __init__(self, words: str, aside: str = ""):
        super().__init__(f"{words}\n{aside}" if aside else words)
        self.words = words
        self.aside = aside


def normalised(name: str) -> str:
    """A distribution's name as PyPI compares it: ``Foo_Bar.baz`` -> ``foo-bar-baz``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def uv_binary() -> str | None:
    """uv as its own package knows it, else as PATH does, else None."""
    try:
        from uv import find_uv_bin

        return str(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return shutil.which("uv")


def uv_variables(base: Mapping[str, str]) -> dict[str, str]:
    """The variables uv is run with: pip's settings handed on where uv's own are not set, and
    without those that would change what a lock means."""
    variables = {name: value for name, value in base.items() if name not in FOREIGN}
    # a workflow that sets one for some of its jobs leaves it empty in the others, which uv refuses
    variables = {name: value for name, value in variables.items() if value or name[:3] != "UV_"}
    for pips, uvs, commas in FROM_PIP:
        if base.get(pips) and not base.get(uvs):
            variables[uvs] = ",".join(base[pips].split()) if commas else base[pips]
            if uvs == "UV_INDEX":
                # pip takes the best of all indexes. Every pin but torch's has a hash, so that
                # an index of somebody else's cannot slip another file in.
                variables.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    variables["NO_COLOR"] = "1"
    return variables


def index_alone(variables: Mapping[str, str]) -> dict[str, str]:
    """uv's variables without what offers builds that not everybody has: a lock has to hold for
    all, and an environment for CUDA must not take a CPU build of the same version."""
    return {name: value for name, value in variables.items() if name not in OFFERS}


def set_aside(base: Mapping[str, str]) -> str:
    """A sentence that names the shell's variables which ``index_alone`` leaves out, as they are set
    there: by pip's name where it is pip's. "" where there are none."""
    pips = [pip for pip, uvs, _ in FROM_PIP if uvs in OFFERS and not base.get(uvs)]
    names = [name for name in (*OFFERS, *pips) if base.get(name)]
    if not names:
        return ""
    return (
        f"not looked at here: {', '.join(names)}; a lock, and an environment for CUDA, take the "
        "index alone: UV_DEFAULT_INDEX may name another, which has to hold everything"
    )


def interpreter_for(python: str) -> str:
    """The runner's own interpreter where it is the one asked for, since it surely works; else
    the version, which uv looks for and, where it may, fetches."""
    own = getattr(sys, "_base_executable", None) or sys.executable
    cpython = sys.implementation.name == "cpython"
    same = cpython and platform.python_version().startswith(f"{python}.")
    return own if same and os.path.exists(own) else python


def blamed(output: str) -> Blame:
    """Whom and what a failed uv blames, from its output."""
    starts = [found.start() for found in re.finditer(r"^(?:error:|\s*× )", output, re.M)]
    words = output[starts[-1] :].strip() if starts else output.strip()[-1000:]
    packages = (normalised(found[1]) for blame in _BLAMES if (found := blame.search(words)))
    advice = (advice for sign, advice in _ADVICE if sign in words)
    unsolvable = "No solution found" in words and not _NOT_ASKED.search(words)
    kind = "unsatisfiable-pins" if unsolvable else "no-result"
    return Blame(next(packages, ""), words[:1500], next(advice, "read the log"), kind)


class Pin(NamedTuple):
    """One package of a lock: its version, its text with hashes, and what asked for it."""

    version: str
    text: str
    via: frozenset[str]


def pins(lock: str) -> dict[str, Pin]:
    """The packages of a lock's text, by name."""
    found = {}
    for text in re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.M):
        if head := re.match(r"([\w.-]+)==([^\s;\\]+)", text):
            comments = re.findall(r"^\s+#\s+(?:via\b)? *(.*)$", text, re.M)
            via = frozenset(normalised(by) for by in comments if by)  # an input is "-r core.in"
            found[normalised(head[1])] = Pin(head[2], text.rstrip() + "\n", via)
    return found


def unpinned(lock: str) -> list[str]:
    """The lines of a lock's text that ask for something otherwise than by ``name==version``."""
    heads = re.findall(r"^[^\s#].*", lock, re.M)
    return [head.rstrip(" \\") for head in heads if not re.match(r"[\w.-]+==", head)]


def cuda_only(locked: Mapping[str, Pin]) -> set[str]:
    """The packages of a lock that only the index's own build of torch needs."""
    names = {name for name in locked if CUDA.match(name)}
    while True:
        more = {name for name, pin in locked.items() if pin.via and pin.via <= names} - names
        if not more:
            return names
        names |= more


def moved(before: Mapping[str, Pin], after: Mapping[str, Pin]) -> list[str]:
    """One line for every package that came, went or changed its version."""
    lines = []
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old is None:
            lines.append(f"+ {name} {new.version}")
        elif new is None:
            lines.append(f"- {name} {old.version}")
        elif old.version != new.version:
            lines.append(f"  {name} {old.version} -> {new.version}")
    return lines


def relock(
    set_: VersionSet, environment: str, flavour: str = "cpu", upgrade: bool = False
) -> list[str]:
    """Make one lock from its inputs and say what moved. Packages whose pins the inputs do not
    touch stay where they are, unless ``upgrade``. Raises LockingError and leaves the lock alone."""
    lock = set_.lock(environment, flavour)
    cuda = lock.with_name(f"{environment}.torch-cuda.constraints")
    cpu = flavour == "cpu" or set_.only.get(environment) == "cpu"
    paths = (lock, cuda) if cpu else (lock,)
    old = "".join(path.read_text("utf-8") for path in paths if path.exists())
    # A first lock for another flavour stays near the CPU's: what differs is then the device.
    beside = (set_.lock(environment), *set_.constraints(environment))
    near = old or "".join(path.read_text("utf-8") for path in beside if path.exists())
    resolved = _resolve(set_, environment, flavour, "" if upgrade else near)
    if others := unpinned(resolved):
        raise LockingError(
            f"{environment} asks for {' and '.join(others)}: a lock holds name==version alone, "
            "which everybody's index has to offer, and nothing by URL or path"
        )
    after = pins(resolved)
    apart = cuda_only(after) if cpu and "torch" in after else set()
    for name in BUILDS if cpu else ():
        if name in after:
            text = re.sub(r" \\\n\s+--hash=\S+", "", after[name].text)
            after[name] = after[name]._replace(text=text)

    head = f"# Made on {datetime.date.today()} by: switchyard lock {set_.name}\n"
    if apart:  # written first: where a lock is, what stands beside it is as well
        note = "# Needed by the index's own build of torch, and installed only with it.\n"
        pinned = "".join(after[name].text for name in sorted(apart))
        replace_atomically(cuda, (head + note + pinned).encode())
    elif cpu:
        cuda.unlink(missing_ok=True)
    pinned = "".join(pin.text for name, pin in after.items() if name not in apart)
    replace_atomically(lock, (head + pinned).encode())
    return moved(pins(old), after)


def _resolve(set_: VersionSet, environment: str, flavour: str, preferred: str) -> str:
    """The lock's text as uv resolves it; ``preferred`` is a lock to stay near to."""
    uv = uv_binary()
    if uv is None:
        raise LockingError("uv, which makes locks, is missing: python3 -m pip install uv")
    variables = index_alone(uv_variables(os.environ))
    with tempfile.TemporaryDirectory(prefix="switchyard-lock-") as folder:
        output = Path(folder) / "resolved"
        output.write_text(preferred, "utf-8")
        command = [uv, "pip", "compile", "--quiet", "--no-config", "--no-header"]
        command += [
            "--generate-hashes",
            "--python-version",
            set_.python,
            "--python-platform",
            set_.platform,
        ]
        command += [f"--override={path.name}" for path in set_.overrides(environment, flavour)]
        command += ["-o", str(output), *(path.name for path in set_.inputs(environment, flavour))]
        try:
            # In the set's folder, so that no comment in the lock holds a path of this machine.
            done = subprocess.run(
                command,
                cwd=set_.folder,
                env=variables,
                capture_output=True,
                text=True,
                timeout=TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise LockingError(f"uv did not resolve it within {TIMEOUT_S} s") from error
        if done.returncode:
            words = done.stderr.strip() or f"uv ended with status {done.returncode}"
            raise LockingError(words, set_aside(os.environ))
        return output.read_text("utf-8")

"""A uv that needs no network: it resolves from a small index of its own, and installs names.

``FAKE_UV_INDEX`` is a JSON file ``{package: [versions, oldest first]}``, ``FAKE_UV_LOG`` a file
that takes a line a call. With ``FAKE_UV_FAILS`` it says that and fails, but for virtual
environments. A dependency is ``{package: {"versions": [...], "needs": [...]}}``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import sys
from pathlib import Path


def place(folder: Path, monkeypatch, index: dict) -> Path:
    """Make uv_binary() find it, and return the file that its calls are written to."""
    from switchyard.runner import locking

    script, log = folder / "uv", folder / "uv.log"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} "$@"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    log.write_text("")
    monkeypatch.setattr(locking, "uv_binary", lambda: str(script))
    monkeypatch.setenv("FAKE_UV_LOG", str(log))
    offer(folder, monkeypatch, index)
    return log


def offer(folder: Path, monkeypatch, index: dict) -> None:
    (folder / "index.json").write_text(json.dumps(index))
    monkeypatch.setenv("FAKE_UV_INDEX", str(folder / "index.json"))


def resolved(log: Path) -> int:
    """How often something was resolved."""
    return sum(line.startswith("pip compile") for line in log.read_text().splitlines())


def compile_(arguments: list[str]) -> int:
    index = json.loads(Path(os.environ["FAKE_UV_INDEX"]).read_text())
    output = Path(arguments[arguments.index("-o") + 1])
    near = dict(re.findall(r"^([\w.-]+)==([^\s\\]+)", output.read_text(), re.M))
    wanted: dict[str, tuple[str, str]] = {}
    for file in (one for one in arguments if one.endswith(".in")):
        for line in Path(file).read_text().split():
            name, _, version = re.sub(r"\[.*\]", "", line).partition("==")
            wanted[name] = (version, f"-r {file}")
    lines = []
    while wanted:
        name = min(wanted)
        version, via = wanted.pop(name)
        about = index.get(name)
        if about is None:
            words = f"Because {name} was not found in the package registry and you require {name}"
            print(f"error: No solution found\n  cause: {words}", file=sys.stderr)
            return 1
        versions = about["versions"] if isinstance(about, dict) else about
        version = version or (near[name] if near.get(name) in versions else versions[-1])
        if version not in versions:
            words = f"Because there is no version of {name}=={version} and you require it"
            print(f"error: No solution found\n  cause: {words}", file=sys.stderr)
            return 1
        digest = hashlib.sha256(f"{name}=={version}".encode()).hexdigest()
        lines.append(f"{name}=={version} \\\n    --hash=sha256:{digest}\n    # via {via}\n")
        for need in about["needs"] if isinstance(about, dict) else ():
            wanted.setdefault(need, ("", name))
    output.write_text("".join(sorted(lines)))
    return 0


def venv(arguments: list[str]) -> int:
    home = Path(arguments[-1])
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    (home / "lib" / version / "site-packages").mkdir(parents=True)
    (home / "bin").mkdir()
    (home / "bin" / "python").symlink_to(sys.executable)
    (home / "pyvenv.cfg").write_text(
        f"home = {Path(sys.executable).resolve().parent}\ninclude-system-site-packages = false\n"
    )
    return 0


def install(arguments: list[str]) -> int:
    home = Path(arguments[arguments.index("--python") + 1]).parents[1]
    (packages,) = home.glob("lib/python*/site-packages")
    lock = Path(arguments[arguments.index("-r") + 1]).read_text()
    for name, version in re.findall(r"^([\w.-]+)==([^\s\\]+)", lock, re.M):
        about = packages / f"{name}-{version}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    return 0


def main(arguments: list[str]) -> int:
    with open(os.environ["FAKE_UV_LOG"], "a") as log:
        offered = os.environ.get("UV_FIND_LINKS", "")
        log.write(" ".join([*arguments, f"UV_FIND_LINKS={offered}"]) + "\n")
    if arguments[0] == "venv":
        return venv(arguments)
    if words := os.environ.get("FAKE_UV_FAILS"):
        print(words, file=sys.stderr)
        return 2
    return {"compile": compile_, "install": install}[arguments[1]](arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Locks: that they hold for everybody, what they are made from, and whose builds they take."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from test_environments import DEFAULT, locked  # noqa: F401  the two tiny packages locked there

from switchyard.runner import environments, locking, version_sets


def test_pips_settings_are_handed_on_where_uvs_are_not_set():
    given = {"PIP_FIND_LINKS": "one two", "PYTHONPATH": "x", "HOME": "h", "UV_REQUIRE_HASHES": "1"}
    handed = locking.uv_variables(given)
    assert handed["UV_FIND_LINKS"] == "one,two" and handed["HOME"] == "h"
    assert not {"PYTHONPATH", "UV_REQUIRE_HASHES"} & handed.keys()
    assert "UV_TORCH_BACKEND" not in locking.uv_variables({"UV_TORCH_BACKEND": ""})
    own = locking.uv_variables({"PIP_FIND_LINKS": "one", "UV_FIND_LINKS": "mine"})
    assert own["UV_FIND_LINKS"] == "mine"


# The locks that are committed.


def locks():
    sets = version_sets.version_sets().values()
    return [path for s in sets if s.folder for path in sorted(s.folder.glob("*.lock"))]


@pytest.mark.parametrize("lock", locks(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_lock_holds_for_everybody(lock):
    texts = [lock.read_text()]
    texts += [path.read_text() for path in lock.parent.glob("*.constraints")]
    for text in texts:
        assert "+cpu" not in text and "file:" not in text and not re.search(r"(?:^|\s)/\w", text)
        for name, pin in locking.pins(text).items():
            several = name in locking.BUILDS and not lock.name.endswith(".cuda.lock")
            assert ("--hash=sha256:" in pin.text) != several, name


def packed(path: Path, name: str, version: str) -> None:
    """A wheel that holds nothing."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


def dry_run(folder: Path, name: str = DEFAULT, **settings: str) -> dict[str, str]:
    """What a set's core would install into an empty environment."""
    default = environments.find(name)
    variables = {**locking.index_alone(locking.uv_variables(os.environ)), **settings}
    uv = locking.uv_binary()
    own = sys.executable
    command = [uv, "pip", "install", "--dry-run", "--python", own, "--target", str(folder)]
    command += ["--python-version", default.python, "--python-platform", default.platform]
    command += ["-r", str(default.lock("core"))]
    command += [f"--constraints={path}" for path in default.constraints("core")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(re.findall(r"^ \+ (\S+)==(\S+)$", done.stderr, re.M))


@pytest.mark.parametrize("name", sorted({path.parent.name for path in locks()}))
def test_the_indexs_own_torch_comes_with_exactly_its_constraints(tmp_path, name):
    default = environments.find(name)
    files = [default.lock("core"), *default.constraints("core")]
    pinned = {n: p.version for path in files for n, p in locking.pins(path.read_text()).items()}
    assert dry_run(tmp_path / "none", name) == pinned
    assert any(name.startswith("nvidia-") for name in pinned)


def test_a_cpu_build_is_taken_where_it_is_offered(tmp_path):
    packed(tmp_path / "torch-2.13.0+cpu-py3-none-any.whl", "torch", "2.13.0+cpu")
    taken = dry_run(tmp_path / "none", UV_FIND_LINKS=str(tmp_path))
    assert taken["torch"] == "2.13.0+cpu"
    assert not [name for name in taken if locking.CUDA.match(name)]


def test_locking_moves_only_what_the_inputs_move(locked, tmp_path):
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "core.cpu.lock").write_text(locked.lock("core").read_text())
    (folder / "core.in").write_text("six<1.17\niniconfig\n")
    moved = dataclasses.replace(locked, folder=folder)
    assert locking.relock(moved, "core") == ["  six 1.17.0 -> 1.16.0"]
    assert locking.relock(moved, "core") == []
    before = moved.lock("core").read_text()
    (folder / "core.in").write_text("six==99.0\n")
    with pytest.raises(locking.LockingError, match="six==99.0"):
        locking.relock(moved, "core")
    assert moved.lock("core").read_text() == before


WHEEL = "acme-1.0-py3-none-any.whl"


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (f"./{WHEEL}", f"./{WHEEL}"),
        (f"acme @ file://FOLDER/{WHEEL}", "acme @ file://"),
        ("-e ./project", "-e ./project"),
    ],
)
def test_what_is_asked_for_by_path_or_url_is_refused_and_not_dropped(
    locked, tmp_path, asked, named
):
    folder = tmp_path / "tiny"
    (folder / "project").mkdir(parents=True)
    (folder / "project" / "pyproject.toml").write_text(
        '[project]\nname = "acme"\nversion = "1.0"\n'
    )
    packed(folder / WHEEL, "acme", "1.0")
    (folder / "core.in").write_text(f"six\n{asked}\n".replace("FOLDER", str(folder)))
    lock = locked.lock("core").read_text()
    (folder / "core.cpu.lock").write_text(lock)
    with pytest.raises(locking.LockingError, match="by URL or path") as caught:
        locking.relock(dataclasses.replace(locked, folder=folder), "core")
    assert named in str(caught.value)
    assert (folder / "core.cpu.lock").read_text() == lock

"""Two packages that bring one library: whose lies there is said, and seen to."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import threading
import time
from pathlib import Path

import pytest

from switchyard.runner import clashes, environments, locking, version_sets
from switchyard.runner.installation import Installation, ProvisioningError

CUDNN = "nvidia/cudnn/lib/libcudnn.so.9"
HEADER = "nvidia/cudnn/include/cudnn.h"


def record(packages: Path, name: str, files: dict) -> None:
    """Install ``files`` as a package of that name: what it writes, and what its RECORD says."""
    folder = packages / f"{name}-1.0.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f"{folder.name}/RECORD,,"]
    for file, text in files.items():
        (packages / file).parent.mkdir(parents=True, exist_ok=True)
        (packages / file).write_text(text)
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=")
        lines.append(f"{file},sha256={digest.decode()},{len(text)}")
    (folder / "RECORD").write_text("\n".join(lines) + "\n")


@pytest.fixture
def packages(tmp_path):
    """As uv left them: torch's was written first and TensorFlow's over it."""
    folder = tmp_path / "home" / "lib" / "python3.11" / "site-packages"
    record(folder, "nvidia_cudnn_cu13", {CUDNN: "for CUDA 13", HEADER: "13"})
    record(folder, "nvidia_cudnn_cu12", {CUDNN: "for CUDA 12", HEADER: "12"})
    record(folder, "alike", {"alike/one.so": "the same"})
    record(folder, "alike_again", {"alike/one.so": "the same"})
    return folder


def test_only_libraries_that_differ_clash(packages):
    found = clashes.clashes(packages)
    assert {file: sorted(owners) for file, owners in found.items()} == {
        CUDNN: ["nvidia-cudnn-cu12", "nvidia-cudnn-cu13"]
    }
    assert clashes.prevailing(found, ["nvidia-cudnn-cu13", "other"]) == ["nvidia-cudnn-cu13"]
    assert clashes.misplaced(packages, found, ["nvidia-cudnn-cu13"]) == [CUDNN]
    assert clashes.misplaced(packages, found, ["nvidia-cudnn-cu12"]) == []
    for said in ([], ["nvidia-cudnn-cu12", "nvidia-cudnn-cu13"]):
        with pytest.raises(clashes.Clash, match="nvidia-cudnn-cu12 and nvidia-cudnn-cu13 bring"):
            clashes.prevailing(found, said)


def being_made(tmp_path, prevails):
    lock = "nvidia-cudnn-cu12==1.0\nnvidia-cudnn-cu13==1.0\n"
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "core.cuda.lock").write_text(lock)
    set_ = dataclasses.replace(
        version_sets.find("torch2.13-tf2.21"), folder=folder, prevails={"core": prevails}
    )
    return Installation(
        set_, "core", "cuda", tmp_path / "home", tmp_path / "log", time.monotonic() + 60,
        lambda said: None, threading.Event(),
    )


def test_the_one_that_prevails_is_written_once_more(packages, tmp_path, monkeypatch):
    making = being_made(tmp_path, ("nvidia-cudnn-cu13",))
    ran = []

    def uv(*arguments):
        ran.append(arguments)
        record(packages, "nvidia_cudnn_cu13", {CUDNN: "for CUDA 13", HEADER: "13"})
        return 0

    monkeypatch.setattr(making, "_uv", uv)
    making._settle(packages, ["pip", "install"])
    assert ran == [("pip", "install", "--reinstall-package=nvidia-cudnn-cu13")]
    assert (packages / CUDNN).read_text() == "for CUDA 13"
    monkeypatch.setattr(making, "_uv", lambda *arguments: 0)  # one that writes the other again
    record(packages, "nvidia_cudnn_cu12", {CUDNN: "for CUDA 12"})
    with pytest.raises(ProvisioningError, match=r"libcudnn\.so\.9 is not that of"):
        making._settle(packages, ["pip", "install"])


def test_where_nothing_is_said_it_is_an_error_that_says_what_to_say(packages, tmp_path):
    making = being_made(tmp_path, ())
    with pytest.raises(ProvisioningError) as raised:
        making._settle(packages, ["pip", "install"])
    assert "each its own" in str(raised.value)
    assert "[environments.core.prevails]" in str(raised.value)


def test_what_prevails_is_part_of_an_environments_name_where_it_is_in_the_lock():
    default = version_sets.find("torch2.13-tf2.21")
    silent = dataclasses.replace(default, prevails={})
    for flavour, same in (("cpu", True), ("cuda", False)):
        homes = {environments.home_of(one, "core", flavour)[0] for one in (default, silent)}
        assert (len(homes) == 1) is same


@pytest.mark.parametrize("name", list(version_sets.version_sets()))
def test_what_a_set_says_prevails_is_in_one_of_its_locks(name):
    set_ = version_sets.find(name)
    for environment, prevails in set_.prevails.items():
        lock = set_.lock(environment, "cuda")
        if set_.fixed:
            assert set(prevails) <= set(locking.pins(lock.read_text("utf-8")))

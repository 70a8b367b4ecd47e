"""What a run says of the machine, the packages and the sources it came from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import types
from pathlib import Path

import pytest
from run_folders import STARTED, run  # noqa: F401

from switchyard.tables import provenance

# provenance


@pytest.fixture
def collected(tmp_path, monkeypatch) -> dict:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("TF_XLA_FLAGS", "--dump_to=/scratch/somebody/xla")
    monkeypatch.setenv("TORCH_API_TOKEN", "hunter2")
    monkeypatch.setenv("TF_VAR_pass", "private, of Terraform")
    monkeypatch.setenv("SOMEBODYS_OWN", "private")
    monkeypatch.setenv("TRITON_CACHE_DIR", "private, and no cell is given it")
    monkeypatch.setenv("TORCHINDUCTOR_MAX_AUTOTUNE", "1")
    monkeypatch.setattr(provenance.platform, "node", lambda: "somebodys-box")
    return provenance.collect(
        root=tmp_path,
        command=["pytest", f"{tmp_path}/bench", "--zoo", "/home/somebody/z/zoo.py"],
        options={"zoo": Path("/home/somebody/z/zoo.py"), "jobs": 2, "model": ("b", "a")},
        version_sets={
            "s": {
                "lock": "ab12",
                "packages": {"torch": "2.13.0+cpu"},
                "found": "file:///home/somebody/wheels/t.whl on somebodys-box",
            }
        },
        whole_selection=True,
        started=STARTED,
    )


def test_provenance_is_plain_and_says_what_matters(collected):
    assert json.loads(json.dumps(collected)) == collected
    assert collected["started"] == "2026-11-22T20:45:00+00:00"
    assert collected["whole_selection"] is True and "ended" not in collected
    assert collected["machine"]["cores_usable"] >= 1 and collected["machine"]["ram_mib"] > 100
    assert len(collected["machine"]["boot"]) == 12
    assert collected["runner"]["packages"]["pytest"] == pytest.__version__
    assert collected["sets"]["s"]["packages"] == {"torch": "2.13.0+cpu"}
    assert collected["options"]["model"] == ["b", "a"]
    assert collected["environment_variables"]["TORCHINDUCTOR_MAX_AUTOTUNE"] == "1"


def test_provenance_names_neither_host_nor_folders_nor_secrets(collected, tmp_path):
    text = json.dumps(collected)
    for private in ("somebody", "hunter2", "private", str(tmp_path), os.sep + "scratch"):
        assert private not in text, private
    assert collected["command"].startswith("pytest ./bench --zoo ")
    assert collected["environment_variables"]["OMP_NUM_THREADS"] == "2"
    assert collected["environment_variables"]["TF_XLA_FLAGS"] == "--dump_to=<path>/xla"


@pytest.mark.parametrize("given, said", [
    ("GPU-8f2e1c7a-0b1d-4a53-9d6b-6b2f5a7c1e90", "GPU-<uuid>"),
    ("GPU-8f2e,1", "GPU-<uuid>,1"),
    ("MIG-GPU-8f2e1c7a-0b1d-4a53/1/0", "MIG-GPU-<uuid>"),
    ("MIG-8f2e1c7a-0b1d-4a53", "MIG-<uuid>"),
    ("0,1", "0,1"),
])  # fmt: skip
def test_a_card_is_not_named_by_what_no_other_machine_has(given, said):
    assert provenance.environment_variables({"CUDA_VISIBLE_DEVICES": given}) == {
        "CUDA_VISIBLE_DEVICES": said
    }


def test_published_leaves_what_is_no_path():
    text = "pytest bench/ -k a/b 2/3 https://pypi.org/simple/x torch==2.13.0+cpu"
    assert provenance.published(text) == text


def test_source_says_commit_and_whether_dirty(tmp_path):
    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments],
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    assert provenance.source(tmp_path) is None
    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "x")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "cells.csv").write_text("the run's own")
    assert provenance.source(tmp_path) == {"commit": git("rev-parse", "HEAD"), "dirty": False}
    (tmp_path / "new.py").write_text("")
    assert provenance.source(tmp_path)["dirty"] is True


def test_a_git_that_hangs_is_left(tmp_path, monkeypatch):
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\nexec sleep 30\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(provenance, "GIT_TIMEOUT_S", 0.2)
    began = time.monotonic()
    assert provenance.source(tmp_path) is None
    assert time.monotonic() - began < 5


def test_a_card_says_what_it_can_and_never_its_serial_number(monkeypatch):
    """A fake NVML, made up: no recording of a real card stands behind it."""

    class NVMLError(Exception):
        pass

    def not_supported(*arguments):
        raise NVMLError("not supported")

    answers = {
        "nvmlSystemGetCudaDriverVersion_v2": 13020,
        "nvmlSystemGetDriverVersion": b"590.1",
        "nvmlDeviceGetCount": 1,
        "nvmlDeviceGetName": "Some Card",
        "nvmlInit": None,
        "nvmlDeviceGetMemoryInfo": types.SimpleNamespace(total=80 * 2**30),
        "nvmlDeviceGetMaxClockInfo": 1980,
        "nvmlDeviceGetHandleByIndex": 0,
        "nvmlShutdown": None,
    }
    fake = types.SimpleNamespace(
        NVMLError=NVMLError,
        NVML_CLOCK_SM=1,
        NVML_CLOCK_MEM=2,
        nvmlDeviceGetEnforcedPowerLimit=not_supported,
        **{name: (lambda *_, answer=answer: answer) for name, answer in answers.items()},
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    assert provenance.gpus() == {
        "driver": "590.1",
        "cuda_of_driver": "13.2",
        "cards": [
            {
                "name": "Some Card",
                "memory_mib": 81920,
                "sm_clock_max_mhz": 1980,
                "memory_clock_max_mhz": 1980,
            }
        ],
    }
    fake.nvmlInit = not_supported
    assert provenance.gpus() is None
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert provenance.gpus() is None

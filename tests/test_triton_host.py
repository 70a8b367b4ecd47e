"""Triton's compiler and headers on the host: named before anything is converted for a card."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import sysconfig
import types

import pytest

from switchyard.runtimes import Target, torch_native, triton_host
from switchyard.worker.blame import kind_of, outcome_of


@pytest.fixture
def host(tmp_path, monkeypatch):
    """A host with all that Triton needs, as it has them; ``host(without)`` lacks one."""

    def host(without=""):
        there = None if without == "triton" else object()
        find = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: there if name == "triton" else find(name)
        )
        for name in ("gcc", "Python.h", "ldconfig"):
            if name != without:
                (tmp_path / name).write_text("")
                (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        for name in ("CC", triton_host.LIBCUDA):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(triton_host, "LDCONFIG", str(tmp_path / "ldconfig"))
        monkeypatch.setattr(sysconfig, "get_paths", lambda scheme: {"include": str(tmp_path)})
        return tmp_path

    return host


@pytest.mark.parametrize("without, words", [
    ("triton", "no module named 'triton'"),
    ("gcc", "no C compiler (gcc or clang)"),
    ("Python.h", "no Python.h"),
    ("ldconfig", "no /"),
])  # fmt: skip
def test_what_is_missing_and_what_to_install_is_said(host, without, words):
    host(without)
    said = triton_host.lacks()
    assert said.startswith(words) and ": install " in said


def test_nothing_is_missing_where_all_is_there_or_cc_names_a_compiler(host, monkeypatch):
    folder = host()
    assert triton_host.lacks() == ""
    (folder / "gcc").rename(folder / "my-cc")
    monkeypatch.setenv("CC", str(folder / "my-cc"))
    assert triton_host.lacks() == ""
    monkeypatch.setenv("CC", "none-such")
    assert triton_host.lacks().startswith("no C compiler CC='none-such'")


def test_without_ldconfig_the_folder_of_libcuda_may_be_named(host, monkeypatch):
    host("ldconfig")
    assert "ldconfig, with which Triton finds" in triton_host.lacks()
    monkeypatch.setenv(triton_host.LIBCUDA, "/usr/lib")
    assert triton_host.lacks() == ""


def test_a_compiled_model_is_unavailable_on_a_card_and_an_eager_one_is_not(host, monkeypatch):
    """On the CPU nothing is asked of a runtime: there a C++ compiler is called in its place."""
    torch = types.SimpleNamespace(version=types.SimpleNamespace(cuda="13.0"), __version__="2.13.0")
    monkeypatch.setitem(sys.modules, "torch", torch)
    host("gcc")
    eager, compiled = torch_native.RUNTIMES
    assert eager.lacks(Target("cuda")) == ""
    assert compiled.lacks(Target("cuda")).startswith("no C compiler")
    torch.version.cuda = None
    assert "built without CUDA" in compiled.lacks(Target("cuda"))


#: As triton 3.1 and 3.7 call it, 2.1 and in torch's words of what it caught.
COMMANDS = (
    "['/usr/bin/gcc', '/tmp/tmpab12/cuda_utils.c', '-O3', '-shared', '-fPIC', '-o', 'a.so']",
    "['/usr/bin/clang', '/tmp/tmpab12/main.c', '-O3', '-I/a', '-I/b', '-shared', '-o', 'a.so']",
)


@pytest.mark.parametrize("error", [
    *(subprocess.CalledProcessError(1, command) for command in COMMANDS),
    RuntimeError("backend='inductor' raised:\nCalledProcessError: "
                 f"Command '{COMMANDS[0]}' returned non-zero exit status 1."),
    RuntimeError("Failed to find C compiler. Please specify via CC environment variable."),
    RuntimeError("backend='inductor' raised:\nTritonMissing: Cannot find a working triton "
                 "installation. Either the package is not installed or it is too old."),
])  # fmt: skip
def test_where_it_is_met_only_when_a_kernel_is_called_it_has_that_kind_as_well(error):
    assert outcome_of(error, "run").kind == "missing-dependency"


def test_a_kernel_for_the_cpu_that_does_not_compile_is_no_such_thing():
    command = ["g++", "/tmp/tmpab12/kernel.cpp", "-O3", "-shared", "-fPIC", "-o", "a.so"]
    assert kind_of(subprocess.CalledProcessError(1, command), "run") == "unexplained"

"""The zoo's kernels where what builds them is not there: said, and no compiler's error."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from switchyard.runner import environments
from switchyard.runner.options import DEFAULT_SET

SCRIPT = """
import os, sys
from torch.utils import cpp_extension
from models_zoo import gpu_kernels
cpp_extension.CUDA_HOME = sys.argv[1] or None
cpp_extension.is_ninja_available = lambda: False
try:
    gpu_kernels._extension()
except ModuleNotFoundError as error:
    print(error)
"""


LAUNCHED = """
import subprocess, types
import torch
from models_zoo import gpu_kernels

def failing(error):
    def launch(*given, **options):
        raise error
    return {(1,): launch}

gpu_kernels.triton = types.SimpleNamespace(cdiv=lambda count, block: 1)
command = ["/usr/bin/gcc", "/tmp/tmpab12/main.c", "-O3", "-l:libcuda.so.1"]
for error in (RuntimeError("Failed to find C compiler."), FileNotFoundError("my-cc"),
              subprocess.CalledProcessError(1, command),
              FileNotFoundError(2, "No such file or directory", "/sbin/ldconfig"),
              AssertionError("libcuda.so cannot found!"),
              RuntimeError("CUDA error: of a kernel")):
    gpu_kernels._kernel = failing(error)
    try:
        gpu_kernels._on_the_card(torch.ones(3))
    except Exception as error:
        print(getattr(error, "stage", None), getattr(error, "kind", None), error)
"""

TWICE = """
import sys
from torch.utils import cpp_extension
from models_zoo import gpu_kernels
cpp_extension.is_ninja_available = lambda: True
cpp_extension.load_inline = lambda name, extra_ldflags, **given: print(*extra_ldflags)
gpu_kernels._extension()
"""


@pytest.fixture(scope="module")
def python():
    return environments.provision(DEFAULT_SET, "core", lambda line: None).python


@pytest.mark.parametrize("toolkit, nvcc, lacks", [
    ("", False, "CUDA toolkit with nvcc"),
    ("there", False, "CUDA toolkit with nvcc"),  # as /usr/local is taken for one
    ("there", True, "ninja"),
])  # fmt: skip
def test_what_is_missing_is_named(python, tmp_path, toolkit, nvcc, lacks):
    home = tmp_path / toolkit if toolkit else None
    if nvcc:
        (home / "bin").mkdir(parents=True)
        (home / "bin" / "nvcc").write_text("")
    root = Path(__file__).resolve().parents[1]
    said = subprocess.run(
        [python, "-c", SCRIPT, str(home or "")], check=True, capture_output=True, text=True,
        timeout=120, env={**os.environ, "PYTHONPATH": str(root)},
    ).stdout  # fmt: skip
    assert said.startswith(f"no {lacks}") and "this operator's kernel is built" in said


def test_two_processes_link_by_the_same_command_so_that_the_second_builds_nothing(
    python, tmp_path
):
    home = tmp_path / "toolkit"
    for file in (home / "bin" / "nvcc", home / "lib" / "libcudart.so.13"):
        file.parent.mkdir(parents=True)
        file.write_text("")
    root = Path(__file__).resolve().parents[1]
    own = {"PYTHONPATH": str(root), "CUDA_HOME": str(home),
           "TORCH_EXTENSIONS_DIR": str(tmp_path / "extensions")}  # fmt: skip
    said = [
        subprocess.run([python, "-c", TWICE], check=True, capture_output=True, text=True,
                       timeout=120, env={**os.environ, **own}).stdout.strip()
        for _ in range(2)
    ]  # fmt: skip
    assert said[0] == said[1] and said[0].startswith(f"-L{tmp_path / 'extensions'}")
    (kept,) = Path(said[0][2:]).iterdir()
    assert kept.name == "libcudart.so" and kept.resolve() == home / "lib" / "libcudart.so.13"


def test_what_triton_needs_of_the_host_is_named_and_an_error_of_cudas_is_its_own(python):
    root = Path(__file__).resolve().parents[1]
    *lacking, own = subprocess.run(
        [python, "-c", LAUNCHED], check=True, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(root)},
    ).stdout.splitlines()  # fmt: skip
    assert len(lacking) == 5 and own == "None None CUDA error: of a kernel"
    for said in lacking[:3]:
        assert said.startswith("import missing-dependency no C compiler (gcc, or CC)")
    for said in lacking[3:]:
        assert said.startswith("import missing-dependency no libcuda.so.1 where ldconfig")

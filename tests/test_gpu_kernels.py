"""The zoo's CUDA extension where what builds it is not there: said, and no compiler's error."""

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

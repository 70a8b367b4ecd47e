"""What must be imported before what in one process, with packages that end it as the real do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: As Triton 3.7 behind TensorFlow 2.21, and torch that brings it in.
TRITON = "import os, sys\nif 'tensorflow' in sys.modules: os._exit(139)\n"
TORCH = "import triton\n"


def ended(folder, code, **packages):
    """Exit status and output of a process in which these packages are installed."""
    for name, text in packages.items():
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(text)
    path = os.pathsep.join(map(str, (folder, ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    return done.returncode, done.stdout.split()


PRELOADED = (
    "import sys; from switchyard.worker.server import preload\n"
    "found = preload(['tensorflow', 'torch'])\n"
    "print(*(name for name in ('triton', 'tensorflow', 'torch') if name in sys.modules), found)"
)


def test_triton_comes_before_tensorflow(tmp_path):
    status, said = ended(tmp_path, PRELOADED, triton=TRITON, tensorflow="", torch=TORCH)
    assert status == 0 and said[:3] == ["triton", "tensorflow", "torch"]
    assert said[3:] == ["{'tensorflow':", "{},", "'torch':", "{}}"]


def test_without_tensorflow_nobody_pays_for_triton(tmp_path):
    status, said = ended(tmp_path, PRELOADED, triton=TRITON, torch="")
    assert status == 0 and said[0] == "torch"


def test_a_triton_that_does_not_import_is_its_users_affair(tmp_path):
    broken = "raise OSError('libcuda.so.1')\n"
    status, said = ended(tmp_path, PRELOADED, triton=broken, tensorflow="", torch=TORCH)
    assert status == 0 and said[:1] == ["tensorflow"] and "libcuda.so.1" in " ".join(said)


@pytest.mark.parametrize("module", ["spawned", "sharing"])
def test_the_other_processes_that_hold_both_keep_the_order_too(tmp_path, module):
    """A job of a device in a process of its own, and the frameworks that share a card."""
    does = {
        "spawned": "from switchyard.worker import server, spawned\n"
                   "server.run_child = lambda *given: print('triton' in sys.modules)\n"
                   "spawned.wire.receive = lambda descriptor: {}\n"
                   "reads = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]\n"
                   "sys.argv[1:] = map(str, (*reads, os.getpid()))\n"
                   "spawned.main()\n",
        "sharing": "from switchyard.worker.sharing import Tenants\n"
                   "Tenants().enter({'tenants': {}})\n"
                   "print('triton' in sys.modules)\n",
    }  # fmt: skip
    code = f"import os, sys\n{does[module]}"
    assert ended(tmp_path, code, triton=TRITON, tensorflow="") == (0, ["True"])

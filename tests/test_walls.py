"""The walls between the rooms: who may import what, and on how old a Python."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from switchyard.runner import staging
from switchyard.runner.locking import uv_binary

ROOT = Path(__file__).resolve().parents[1]
FRAMEWORKS = {"torch", "torchvision", "tensorflow", "keras", "tf_keras", "onnx", "onnxruntime",
              "onnxscript", "onnxslim", "onnxsim", "onnx2tf", "tf2onnx", "ai_edge_litert",
              "tflite_runtime", "jax", "transformers"}  # fmt: skip


def imports_of(path, everywhere=True):
    """The modules that a file imports, whole names; also inside functions if ``everywhere``."""
    tree = ast.parse(path.read_text(), str(path))
    nodes = ast.walk(tree) if everywhere else at_import(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def at_import(node):
    """What is run as a module is imported: not the bodies of functions, nor what is there for a
    type checker alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from at_import(child)


def within(names, packages):
    return {n for n in names if any(n == p or n.startswith(f"{p}.") for p in packages)}


def files(*folders):
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    assert found
    return found


@pytest.mark.parametrize("folder", ["runner", "tables", "compare", "cli"])
def test_the_runners_side_imports_no_framework_anywhere(folder):
    for path in files(f"switchyard/{folder}"):
        assert not within(imports_of(path), FRAMEWORKS), path


def test_the_workers_side_imports_nothing_of_the_runner_nor_pytest_nor_pandas():
    forbidden = {"pytest", "pandas", "pyarrow", "psutil", "filelock", "switchyard.runner",
                 "switchyard.tables", "switchyard.compare"}  # fmt: skip
    shared = [ROOT / "switchyard" / f"{name}.py" for name in ("vocabulary", "wire", "manifest")]
    for path in [*files("switchyard/worker", "switchyard/hops", "switchyard/runtimes"), *shared]:
        assert not within(imports_of(path), forbidden), path


def test_the_vocabulary_imports_only_the_standard_library():
    for name in ("vocabulary", "routes"):
        names = {n.partition(".")[0] for n in imports_of(ROOT / "switchyard" / f"{name}.py")}
        assert names <= set(sys.stdlib_module_names) | {"switchyard"}


def test_frameworks_are_imported_lazily_by_hops_runtimes_and_worker():
    for path in files("switchyard/worker", "switchyard/hops", "switchyard/runtimes"):
        assert not within(imports_of(path, everywhere=False), FRAMEWORKS), path


def test_the_bench_holds_no_machinery():
    for path in files("bench"):
        names = {name.partition(".")[0] for name in imports_of(path)}
        assert names <= {"__future__", "pytest"}, path


def test_the_zoo_measures_nothing_and_knows_no_converter():
    forbidden = {"switchyard", "pytest", "pandas", "onnx", "onnxruntime", "onnxscript", "time",
                 "timeit", "tracemalloc", "psutil"}  # fmt: skip
    for path in files("models_zoo"):
        keras = set() if "twins" in path.parts else {"tensorflow", "keras"}
        assert not within(imports_of(path), forbidden | keras), path


def _python_3_10(uv):
    """An interpreter of Python 3.10: uv's, or one of pyenv's that its shims do not show."""
    found = subprocess.run([uv, "python", "find", "3.10"], capture_output=True, text=True)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")).glob(
        "versions/3.10.*/bin/python3.10"
    )
    return found.stdout.strip() or next(map(str, pyenv), None)


@pytest.fixture(scope="module")
def old_python(tmp_path_factory):
    """An environment of Python 3.10 and numpy 1.24, and nothing else."""
    uv = uv_binary()
    python = _python_3_10(uv)
    if python is None:
        pytest.skip("there is no Python 3.10 on this machine")
    folder = tmp_path_factory.mktemp("python3.10")
    subprocess.run([uv, "venv", "--quiet", "--python", python, folder], check=True)
    own = folder / "bin" / "python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", own, "numpy==1.24.4"], check=True)
    return own


IMPORT_ALL = """
import importlib, json, pathlib, pkgutil, sys
import switchyard, models_zoo
names = ["models_zoo.entry"]
for package in (switchyard,):
    names += [info.name for info in pkgutil.walk_packages(package.__path__, "switchyard.")]
# Importing this one is what it is for, and it says at once what is missing.
names.remove("switchyard.worker.nobuco_ground")
for name in names:
    importlib.import_module(name)
try:
    importlib.import_module("switchyard.worker.nobuco_ground")
except ModuleNotFoundError as error:
    assert error.name == "nobuco", error
print(json.dumps({"python": sys.version_info[:2], "numpy": sys.modules["numpy"].__version__,
                  "names": names, "path": switchyard.__file__,
                  "loaded": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


def test_the_workers_side_imports_on_python_3_10_with_numpy_1_24(old_python, tmp_path):
    staged = staging.stage(tmp_path)
    kept = {n: v for n, v in os.environ.items() if not n.startswith("PYTHON")}
    done = subprocess.run([old_python, "-c", IMPORT_ALL], capture_output=True, text=True,
                          cwd=tmp_path, env={**kept, "PYTHONPATH": str(staged.path)})  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["python"] == [3, 10] and said["numpy"].startswith("1.24")
    assert said["path"].startswith(str(staged.path))
    theirs = {"worker.server", "worker.asking", "hops.torch_onnx", "runtimes.onnxruntime_cpu"}
    assert {f"switchyard.{name}" for name in (*theirs, "manifest")} <= set(said["names"])
    assert not any(name.startswith("switchyard.runner") for name in said["names"])
    assert not set(said["loaded"]) & FRAMEWORKS


SPY = """
import json, sys

def pytest_sessionfinish(session):
    names = sorted({name.partition(".")[0] for name in sys.modules})
    with open(%r, "w") as out:
        json.dump({"loaded": names, "items": len(session.items)}, out)
"""


def test_collection_imports_neither_a_framework_nor_pandas(bench, tmp_path):
    """Also where they are installed beside the runner: here as modules that any import would
    load."""
    for name in sorted(FRAMEWORKS):
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / "spy.py").write_text(SPY % str(tmp_path / "spied.json"))
    ended = bench("--zoo", ROOT / "tests" / "planted" / "tiny.py", "--collect-only", "-q", "-p",
                  "spy", files=["bench/"], PYTHONPATH=str(tmp_path))  # fmt: skip
    assert ended.status == 0, ended.output
    spied = json.loads((tmp_path / "spied.json").read_text())
    assert spied["items"] > 20
    assert "switchyard" in spied["loaded"]
    assert not set(spied["loaded"]) & (FRAMEWORKS | {"pandas", "pyarrow"})

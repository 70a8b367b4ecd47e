"""The command that is printed to run one cell alone: it must mean the same cell, judged alike."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
from compared_runs import BAD, GOOD, A, B, a_run, said  # noqa: F401

from switchyard.runner import again, asked, options
from switchyard.runner.plan import Planned
from switchyard.tables import schema
from switchyard.vocabulary import Cell

CUDA = {"version_set": "s", "device": "cuda", "precision": "float32", "model": "one",
        "route": "dynamo-ort"}  # fmt: skip
GIVEN = {"zoo": ["builtin", "my zoo.py"], "hop": ["hop's.py"], "expectations": "exp"}
CARRIED = "--zoo builtin --zoo 'my zoo.py' --hop 'hop'\"'\"'s.py' --expectations exp"


@pytest.mark.parametrize("row, given, words", [
    ({}, GIVEN, f"--gpu --version-set s {CARRIED}"),
    ({}, {"device": "cuda:1", "gpu": False}, "--device cuda:1 --version-set s"),
    ({}, {"gpu": True, "device": None}, "--gpu --version-set s"),
    ({"precision": "tf32"}, {"gpu": True}, "--gpu --tf32 --version-set s"),
    ({"device": "cpu"}, {"device": "cpu", "zoo": []}, "--version-set s"),
    ({"device": "cpu", "version_set": "t+onnx==1.2"}, {}, "--version-set t+onnx==1.2"),
    ({"device": "cpu", "version_set": options.DEFAULT_SET}, {"zoo": None}, ""),
    ({"device": "cpu", "precision": "float16"}, {}, "--precision float16 --version-set s"),
    ({"device": "cpu"}, {"stage-timeout": 900.0, "memory-limit": 1048576.0},
     "--version-set s --stage-timeout 900 --memory-limit 1048576"),
    ({"device": "cpu"}, {"threads": 1, "launches": 3}, "--version-set s --threads 1 --launches 3"),
    ({"device": "cpu"}, {"threads": None, "launches": 1}, "--version-set s"),
    ({"device": "cpu"}, {"stage-timeout": 0.5, "memory-limit": None},
     "--version-set s --stage-timeout 0.5"),
])  # fmt: skip
def test_it_carries_what_its_run_was_given(row, given, words):
    expected = f"pytest bench/ --model one --route dynamo-ort {words}".strip()
    row = {**CUDA, **row}
    assert again.of_row(row, given) == again.command(schema.cell_of(row), given) == expected


@pytest.mark.parametrize("kept", ["~/<path>/zoo.py", "<path>/zoo.py", "~/zoo.py"])
def test_a_folder_that_a_table_does_not_keep_is_asked_for(kept):
    said = again.of_row({**CUDA, "device": "cpu"}, {"zoo": [kept]})
    assert said.endswith(f"--zoo '{kept}'  # tables keep no folders: put yours in")


def test_limits_that_nobody_gave_are_not_said(pytestconfig):
    given = {**options.recorded(pytestconfig), "expectations": None}
    assert (given["stage-timeout"], given["memory-limit"]) == (300.0, 8192.0)
    assert again.of_row({**CUDA, "device": "cpu"}, given).endswith("--version-set s")


def test_who_only_prints_it_needs_nothing_of_pytest():
    code = "import sys; from switchyard.runner import again; print(*sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"pytest", "psutil", "switchyard.runner.plan"} & set(said.stdout.split())


def test_a_failing_item_says_it_with_what_its_own_run_was_given():
    names = {"--zoo": ["z.py"], "--device": "cuda:1"}
    run = types.SimpleNamespace(config=types.SimpleNamespace(getoption=names.get))
    planned = Planned(Cell(**CUDA), None, {"precision": "float32"})
    with pytest.raises(pytest.fail.Exception, match="--device cuda:1 --version-set s --zoo z.py"):
        asked.CellUnderTest(run, planned)._fail("it broke")


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_table_that_is_read_says_it_with_what_its_run_was_given(said, tmp_path, command):  # noqa: F811
    about = {"options": {**GIVEN, "device": None}}
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: {**BAD, "expected": "new"}, B: GOOD}, hours=1, provenance=about)
    _, out, _ = said(command, *([before] if command == "compare" else []), after)
    assert f"pytest bench/ --model a --route dynamo-ort {CARRIED}\n" in out

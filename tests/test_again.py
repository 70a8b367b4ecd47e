"""The command that is printed to run one cell alone: it must mean the same cell, judged alike."""

from __future__ import annotations

import types

import pytest
from compared_runs import BAD, GOOD, A, B, a_run, said  # noqa: F401

from switchyard.runner import asked, options, summary
from switchyard.runner.plan import Planned
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
])  # fmt: skip
def test_it_carries_what_its_run_was_given(row, given, words):
    expected = f"pytest bench/ --model one --route dynamo-ort {words}".strip()
    row = {**CUDA, **row}
    assert summary.run_again(row, given) == expected
    planned = Planned(Cell(**row), None, {"precision": "float32"})
    assert asked.run_again(planned, options.DEFAULT_SET, given) == expected


def test_a_failing_item_says_it_with_what_its_own_run_was_given():
    names = {"--zoo": ["z.py"], "--device": "cuda:1"}
    run = types.SimpleNamespace(config=types.SimpleNamespace(getoption=names.get))
    planned = Planned(Cell(**CUDA), None, {"precision": "float32"})
    with pytest.raises(pytest.fail.Exception, match="--device cuda:1 --version-set s --zoo z.py"):
        asked.CellUnderTest(run, planned, "accuracy")._fail("it broke")


@pytest.mark.parametrize("command", ["report", "compare"])
def test_a_table_that_is_read_says_it_with_what_its_run_was_given(said, tmp_path, command):  # noqa: F811
    about = {"options": {**GIVEN, "device": None}}
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: {**BAD, "expected": "new"}, B: GOOD}, hours=1, provenance=about)
    _, out, _ = said(command, *([before] if command == "compare" else []), after)
    assert f"pytest bench/ --model a --route dynamo-ort {CARRIED}\n" in out

"""What a hop of the user's may do wrong, and what is said of it."""

from __future__ import annotations

import re

import pytest

from switchyard import hops
from switchyard.hops import Refusal
from switchyard.vocabulary import KINDS
from switchyard.worker.blame import outcome_of


def test_a_refusal_of_an_unknown_kind_is_an_error_with_the_nearest():
    with pytest.raises(ValueError, match="unknown kind 'unsupported-op'.*unsupported-operator"):
        Refusal("unsupported-op", "no flash attention")
    for wrong in (7, ["shape"], None, ""):
        with pytest.raises(ValueError, match="unknown kind"):
            Refusal(wrong, "no flash attention")
    assert {Refusal(kind, "no").kind for kind in KINDS} == set(KINDS)


def test_a_refusal_of_an_unknown_kind_is_a_failed_cell_that_says_so():
    try:
        try:
            raise NotImplementedError("flash attention")
        except NotImplementedError as error:
            raise Refusal("unsupported-op", "no flash attention") from error
    except ValueError as error:
        found = outcome_of(error, "convert:mine")
    assert (found.stage, found.verdict, found.kind) == ("convert:mine", "failed", "unexplained")
    assert found.message.startswith("UnknownName: unknown kind 'unsupported-op'; did you mean")


@pytest.mark.parametrize("kind", ["unsupported-op", 7, ["shape"], None, ""])
def test_an_attribute_of_that_name_that_is_no_kind_is_not_taken_for_one(kind):
    error = MemoryError("too large")
    error.kind, error.operator = kind, len
    found = outcome_of(error, "convert:mine")
    assert (found.kind, found.operator) == ("host-oom", "")
    error.kind = "timeout"
    assert outcome_of(error, "convert:mine").kind == "timeout"


GOOD = """\
from switchyard.hops import Hop
from switchyard.manifest import Manifest


class Mine(Hop):
    name, source, targets, after = "mine", "onnx", ("onnx",), ("dynamo",)

    def convert(self, job):
        return Manifest(files={}, inputs=(), outputs=())


HOPS = [Mine()]
"""

WRONG = [  # what is written instead of what, and what is said of it, behind FILE:LINE
    ("HOPS = [Mine()]", "HOPS = [Mine]",
     ":5: HOPS holds the class Mine and no object: write Mine()"),
    ("HOPS = [Mine()]", "HOPS = Mine()",
     ": HOPS is an object of Mine and not a list of hops: write HOPS = [Mine()]"),
    ("HOPS = [Mine()]", "HOPS = (Mine() for _ in 'x')",
     ": HOPS is an object of generator and not a list of hops: write HOPS = [Mine()]"),
    ("HOPS = [Mine()]", "HOPS = []", ": HOPS is empty: write HOPS = [Mine()]"),
    ("HOPS = [Mine()]", "HOP = [Mine()]",
     ": the file has no HOPS, the list of its hops: write HOPS = [Mine()]"),
    ("HOPS = [Mine()]", "HOPS = ['mine']",
     ": HOPS holds 'mine', which is no switchyard.hops.Hop"),
    ("HOPS = [Mine()]", "HOPS = [object()]",
     ": HOPS holds an object of object, which is no switchyard.hops.Hop"),
    ('("dynamo",)', '"torchscript"',
     ":5: hop 'mine', after: 'torchscript' is one text and not several: "
     'write after = ("torchscript",)'),
    ('("dynamo",)', '("dynmo",)',
     ":5: hop 'mine', after: unknown hop 'dynmo'; did you mean dynamo"),
    ('("dynamo",)', "(7,)", ":5: hop 'mine', after: (7,) are no texts: write after = (\"...\",)"),
    ('("onnx",)', '"onnx"',
     ":5: hop 'mine', targets: 'onnx' is one text and not several: write targets = (\"onnx\",)"),
    ('("onnx",)', '("onx",)',
     ":5: hop 'mine', targets: unknown format 'onx'; did you mean onnx?"),
    ('("onnx",)', "()", ":5: hop 'mine', targets: names no format"),
    ('"mine", "onnx"', '"mine", "onxx"',
     ":5: hop 'mine', source: unknown format 'onxx'; did you mean onnx?"),
    ('"mine", "onnx"', '"mine", ("onnx",)',
     ":5: hop 'mine', source: write one text, source = \"...\""),
    ('"mine"', '"My hop"',
     ":5: hop 'My hop' has no legal name: use only a-z, 0-9, _ and single hyphens, as in 'my_hop'"),
    ("name, source", "nome, source", ':5: Mine has no name: write name = "my_hop"'),
    ("targets, after", "target, after", ":5: hop 'mine', targets: is missing: write"),
    ("source, targets", "sourc, targets", ":5: hop 'mine', source: write one text"),
    ("    def convert", "    tier = 'fulll'\n\n    def convert",
     ":5: hop 'mine', tier: unknown tier 'fulll'; did you mean full"),
    ("    def convert", "    refusals = [('', 'no', 'unsupported-op')]\n\n    def convert",
     ":5: hop 'mine', refusals: unknown kind 'unsupported-op'; did you mean unsupported-"),
    ("    def convert", "    refusals = [('', 'no')]\n\n    def convert",
     ":5: hop 'mine', refusals: ('', 'no') is not (exception type, text, kind)"),
    ("def convert", "def convrt", ":5: hop 'mine' has no method convert"),
]  # fmt: skip


def said(file) -> str:
    """What the run says of a hop file that it cannot use, less the file's own name."""
    from switchyard.runner import hop_files

    with pytest.raises(hop_files.BadHopFile) as raised:
        hop_files.known([file])
    text = str(raised.value)
    assert text.startswith(f"--hop {file}")
    assert not re.search("0x[0-9a-f]{6}|hop_file_[0-9a-f]{8}", text)
    return text[len(f"--hop {file}") :]


def test_a_tool_that_is_imported_with_the_file_is_said_to_belong_inside_convert(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import no_such_framework\n" + GOOD)
    text = said(file)
    assert text.startswith(":1: ModuleNotFoundError: No module named 'no_such_framework'")
    assert "import its tool inside convert" in text


def test_a_good_hop_file_is_registered_and_twice_is_once(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(GOOD)
    found = hops.known([file, file])
    assert found["mine"].targets == ("onnx",) and len(found) == len(hops.builtin()) + 1


@pytest.mark.parametrize(("right", "wrong", "message"), WRONG)
def test_a_mistake_in_a_hop_file_is_said_in_a_sentence(tmp_path, right, wrong, message):
    file = tmp_path / "mine.py"
    assert GOOD.count(right) == 1
    file.write_text(GOOD.replace(right, wrong))
    assert said(file).startswith(message)


def test_two_hops_of_one_name_are_told_by_their_classes_and_places(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(GOOD.replace('"mine"', '"onnxslim"'))
    text = said(file)
    assert text.startswith(":5: two hops are called 'onnxslim': OnnxSlim of ")
    assert re.search(r"hops/onnxslim\.py:\d+ and Mine here; give one another name$", text)


def test_a_hop_of_anothers_class_is_told_by_the_users_file(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from switchyard.hops.onnxslim import OnnxSlim\n\nHOPS = [OnnxSlim()]\n")
    assert said(file).startswith(": two hops are called 'onnxslim'")


def test_a_file_that_does_not_import_says_so_each_time(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("import json\n\nHOPS = [json.nothing]\n")
    assert said(file) == said(file) != ""
    assert said(file).startswith(":3: AttributeError")
    other = tmp_path / "mine.txt"
    other.write_text(GOOD)
    assert said(other) == ": no file of Python, whose names end in .py"


def test_a_hop_file_that_only_its_environment_cannot_import_is_told_by_its_own_error(tmp_path):
    from switchyard.worker import jobs

    file = tmp_path / "absent.py"
    file.write_text("import not_in_this_environment\n")
    job = {"do": "convert", "hop": "mine", "hop_files": [str(file)], "precision": "float32"}
    said = jobs.run(job)
    assert not said["ok"] and said["outcome"]["kind"] == "missing-dependency"
    assert "not_in_this_environment" in said["outcome"]["message"]

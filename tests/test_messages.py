"""What tools said, as it goes into a table that is published: no path of anybody's machine."""

from __future__ import annotations

import pytest
from run_folders import cell, run  # noqa: F401

from switchyard.tables import schema

MESSAGES = ("message", "dynamic_message", "placement_message", "gpu_message", "measure_message")


@pytest.mark.parametrize("name", MESSAGES)
@pytest.mark.parametrize("said, kept", [
    ("Load /some/where/model.onnx failed", "Load model.onnx failed"),
    ("node '/layers/layers.0/Gemm': no", "node 'Gemm': no"),  # called like a path
    ("no file:///home/somebody/t.whl", "no t.whl"),
    ("not in /usr/lib:/home/somebody/lib", "not in lib:lib"),
    ("see https://example.org/some/where and a/b, 2/3", None),
])  # fmt: skip
def test_of_a_path_in_a_message_only_the_last_part_goes_into_a_table(run, name, said, kept):  # noqa: F811
    run.update(cell("a"), **{name: said})
    assert run.row(cell("a"))[name] == (kept or said)


def test_every_column_of_messages_is_one():
    assert tuple(column.name for column in schema.COLUMNS if column.message) == MESSAGES
    named = {name for name in schema.NAMES if name.endswith("message")}
    assert named == set(MESSAGES)


def test_a_message_is_cut_behind_its_paths():
    """A path that is cut in the middle would end in a folder's name, as somebody's is."""
    before = "x" * (schema.MESSAGE_LENGTH - len(" /home/somebody"))
    kept = schema.checked("gpu_message", f"{before} /home/somebody/file.py and more")
    assert kept == f"{before} file.py and more"[: schema.MESSAGE_LENGTH]

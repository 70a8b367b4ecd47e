"""The hop onnx2tf tries an open batch, then a fixed one; what is said of a format that neither
gave. One call of onnx2tf, and onnx, are played by fakes."""

from __future__ import annotations

import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

from switchyard.hops import Conversion, onnx2tf
from switchyard.hops.onnx2tf_call import ConversionFailed, Written
from switchyard.manifest import Artefact, Manifest, TensorNote

DECLARED = {"inputs": [("x", "float32", ("batch", 3))], "outputs": [("y", "float32", ("batch", 3))]}
SHAPES = {"y": (2, 3)}


@pytest.fixture
def converted(tmp_path, monkeypatch):
    """The manifest after attempts that each raise, or leave files and reasons for others."""
    (tmp_path / "model.onnx").write_text("")
    notes = (TensorNote("x", "x", "float32"),), (TensorNote("output", "y", "float32"),)
    source = Artefact(tmp_path, Manifest({"onnx": "model.onnx"}, *notes))
    target = tmp_path / "target"
    target.mkdir()
    monkeypatch.setitem(sys.modules, "onnx", MagicMock())
    monkeypatch.setattr(onnx2tf, "declared", lambda model: DECLARED)
    monkeypatch.setattr(onnx2tf, "rename_tensors", lambda model, legal: {})
    monkeypatch.setattr(onnx2tf, "fix_dims", lambda model, fixed, shapes: None)
    monkeypatch.setattr(onnx2tf, "_onnx_shapes", lambda path, feeds: SHAPES)
    monkeypatch.setattr(onnx2tf, "_shapes_when_called", lambda model, declares, feeds: SHAPES)
    for format in onnx2tf.FILES:
        monkeypatch.setitem(onnx2tf.READERS, format, lambda path: DECLARED)

    def convert(*attempts):
        left = iter(attempts)

        def call(folder):
            attempt = next(left)
            if isinstance(attempt, Exception):
                raise attempt
            files, reasons = attempt
            (folder / "out").mkdir()
            for name, text in files.items():
                (folder / "out" / name).write_text(text)
            return Written(None, "ok", reasons)

        monkeypatch.setattr(onnx2tf.onnx2tf_call, "call", call)
        example = {"x": np.zeros((2, 3), np.float32)}
        job = Conversion(target, "m", example, {"x": ("batch", 3)}, source=source)
        return onnx2tf.HOPS[0].convert(job)

    return convert


def test_the_error_of_the_fixed_batch_is_told_of_a_format_that_needed_one(converted):
    said = converted(({"saved_model": "", "model.tflite": "Flex"}, {}), ConversionFailed("no Erf"))
    assert set(said.files) == {"saved_model"}
    assert said.facts["not_written"] == {"tflite": "no Erf"}


@pytest.mark.parametrize("written, missing", [("saved_model", "tflite"),
                                              ("model.tflite", "saved_model")])  # fmt: skip
def test_of_a_format_that_neither_attempt_wrote_both_errors_are_told(converted, written, missing):
    said = converted(({written: ""}, {missing: "too large"}), ConversionFailed("no Erf"))
    assert said.facts["not_written"] == {missing: "too large; with a fixed batch: no Erf"}


def test_what_a_fixed_batch_gave_is_taken(converted):
    said = converted(ConversionFailed("no Erf"), ({"saved_model": "", "model.tflite": ""}, {}))
    assert set(said.files) == {"saved_model", "tflite"} and "not_written" not in said.facts
    assert said.facts["dynamic"] == "specialised"
    assert said.facts["dynamic_reason"] == "fixed for onnx2tf: batch: no Erf"


def test_where_both_attempts_fail_the_last_error_is_raised(converted):
    with pytest.raises(ConversionFailed, match="no Gelu"):
        converted(ConversionFailed("no Erf"), ConversionFailed("no Gelu"))

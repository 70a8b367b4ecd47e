"""The hop onnx2tf asks a second time where the first time left no SavedModel that can be called,
with releases' ways of saying so played by a fake."""

from __future__ import annotations

import contextlib
import pathlib
import sys
import types

import pytest

from switchyard.hops import onnx2tf_call

UNSIGNED, SIGNED, NONE = "unsigned", "signed", None


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Convert with a fake onnx2tf whose calls write these SavedModels, one each; the options of
    the calls, and what the hop made of them."""

    def ask(*saved, lite=True, says=""):
        calls = []

        def convert(output_folder_path, output_signaturedefs=False, **_):
            folder = pathlib.Path(output_folder_path)
            folder.mkdir(parents=True)
            if lite:
                (folder / "model_float32.tflite").write_text(f"of call {len(calls)}")
            print(says)
            written = saved[len(calls)]
            if written is not None:
                (folder / "saved_model.pb").write_text(written)
            calls.append(output_signaturedefs)

        def read_signature(folder):
            if (folder / "saved_model.pb").read_text() == UNSIGNED:
                raise KeyError("serving_default")

        monkeypatch.setitem(sys.modules, "onnx2tf", types.SimpleNamespace(convert=convert))
        monkeypatch.setattr(onnx2tf_call, "_surroundings", lambda folder: contextlib.nullcontext())
        monkeypatch.setattr(onnx2tf_call.tensorflow_saved_model, "read_signature", read_signature)
        for name in ("before.onnx", "model.onnx"):
            (tmp_path / name).write_text("")
        return calls, onnx2tf_call.call(tmp_path), tmp_path / "out"

    return ask


def test_a_signed_model_is_not_made_twice(asked):
    calls, written, _ = asked(SIGNED)
    assert calls == [False] and not written.reasons


@pytest.mark.parametrize("first", [UNSIGNED, NONE])
def test_what_cannot_be_called_is_made_once_more_with_signatures(asked, first):
    calls, written, out = asked(first, SIGNED)
    assert calls == [False, True] and not written.reasons
    assert (out / "saved_model" / "saved_model.pb").read_text() == SIGNED
    assert (out / "model.tflite").read_text() == "of call 1"


def test_what_was_written_the_second_time_is_kept_without_a_saved_model(asked):
    calls, written, out = asked(NONE, NONE)
    assert calls == [False, True]
    assert written.reasons == {"saved_model": "onnx2tf wrote no SavedModel and said nothing"}
    assert (out / "model.tflite").exists()


@pytest.mark.parametrize("says, reason", [
    ("ERROR: a size that TFLite cannot hold\nERROR: Read this and deal with it.",
     "a size that TFLite cannot hold"),
    ("", "onnx2tf wrote no TFLite file and said nothing"),
])  # fmt: skip
def test_a_tflite_file_that_is_missing_without_an_error_has_a_reason(asked, says, reason):
    _, written, out = asked(SIGNED, lite=False, says=says)
    assert written.reasons == {"tflite": reason}
    assert not (out / "model.tflite").exists()

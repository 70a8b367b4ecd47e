"""One call of onnx2tf: what has to lie around it, what it leaves, and why it gave up."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
import re
import shutil
import sys
from typing import Any, Dict, Iterator, NamedTuple, Optional

from switchyard.hops import ConversionFailed, Refusal
from switchyard.hops.printed import uncoloured
from switchyard.runtimes import tensorflow_saved_model

#: The file ``download_test_image_data`` looks for, and its shape.
CALIBRATION_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"
CALIBRATION_SHAPE = (20, 128, 128, 3)

_WRAPPED = re.compile(r"^\s*(\w+(?:Error|Exception): .+)$", re.MULTILINE)
_NODE = re.compile(r"(?:onnx_op_name|graph_node\.name): *(\S+)")


class Written(NamedTuple):
    """What one call of onnx2tf left: the Keras model, whether onnxsim ran, and for each
    format that is not there the reason."""

    model: Any
    simplified: str
    reasons: Dict[str, str]


def call(folder: pathlib.Path) -> Written:
    """Convert ``folder/model.onnx`` into ``folder/out``, in ``folder`` as working directory."""
    out = folder / "out"
    printed = io.StringIO()
    with _surroundings(folder), contextlib.redirect_stdout(printed):
        import onnx2tf

        failure: Optional[BaseException] = None
        model = None
        # Releases for Keras 2 leave the SavedModel without a signature, or leave it out where
        # writing it so fails (they then speak of a grouped convolution), unless told otherwise.
        told = {"output_signaturedefs": True}
        for options in ({}, told):
            try:
                model = onnx2tf.convert(
                    input_onnx_file_path="model.onnx",
                    output_folder_path=str(out / "saved_model"),
                    # "warn", not non_verbose: it alone says that onnxsim failed.
                    verbosity="warn",
                    **options,
                )
            except (Exception, SystemExit) as error:
                failure = error
            if failure is not None or options is told or _signed(out / "saved_model"):
                break
            shutil.rmtree(out, ignore_errors=True)
            shutil.copy(folder / "before.onnx", folder / "model.onnx")
    said = uncoloured(printed.getvalue())
    lite = out / "saved_model" / "model_float32.tflite"
    if lite.exists():
        shutil.move(str(lite), str(out / "model.tflite"))
    for other in (out / "saved_model").glob("*.tflite"):
        other.unlink()  # float16, which onnx2tf cannot be told to leave out
    there = (out / "saved_model" / "saved_model.pb").exists()
    if not there:
        shutil.rmtree(out / "saved_model", ignore_errors=True)
    lite_there = (out / "model.tflite").exists()
    if failure is not None and not (there and _after_saving(failure)):
        raise _explained(failure, said, folder) from failure
    if not there and not lite_there:
        raise ConversionFailed(_reason(said) or "onnx2tf wrote neither format, without an error")
    reasons = {}
    if not there:
        reasons["saved_model"] = _reason(said) or "onnx2tf wrote no SavedModel and said nothing"
    if not lite_there:
        said_so = f"{type(failure).__name__}: {failure}" if failure is not None else _reason(said)
        reasons["tflite"] = said_so or "onnx2tf wrote no TFLite file and said nothing"
    simplified = "failed" if "Failed to optimize the onnx file" in said else "ok"
    return Written(model, simplified, reasons)


def _signed(folder: pathlib.Path) -> bool:
    """Whether a SavedModel is there that can be called by a signature."""
    if not (folder / "saved_model.pb").exists():
        return False
    try:
        tensorflow_saved_model.read_signature(folder)
    except KeyError:
        return False
    return True


@contextlib.contextmanager
def _surroundings(folder: pathlib.Path) -> Iterator[None]:
    """The interpreter's bin folder first on PATH, and ``folder`` as working directory with
    a calibration file in it. Raises Refusal where ``onnxsim`` is still not to be found."""
    import numpy as np

    path, here = os.environ.get("PATH", ""), os.getcwd()
    os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), path])
    try:
        if shutil.which("onnxsim") is None:
            raise Refusal("missing-dependency", "onnx2tf needs the onnxsim command")
        images = np.random.default_rng(0).random(CALIBRATION_SHAPE, dtype=np.float32)
        np.save(folder / CALIBRATION_FILE, images)
        os.chdir(folder)
        yield
    finally:
        os.chdir(here)
        os.environ["PATH"] = path


def _after_saving(failure: BaseException) -> bool:
    """Whether it comes from writing TFLite, after the SavedModel was written."""
    return not isinstance(failure, SystemExit) and not hasattr(failure, "onnx_op_name")


def _reason(said: str) -> str:
    """The errors that onnx2tf printed, without its advice."""
    lines = [line[6:].strip() for line in said.splitlines() if line.startswith("ERROR:")]
    advice = ("Read this", "Alternatively", "If the input OP", "Also, for", "The trace log",
              "input_onnx_file_path", "onnx_op_name", "Please convert again")  # fmt: skip
    return "; ".join(line for line in lines if line and not line.startswith(advice))[:500]


def _explained(failure: BaseException, said: str, folder: pathlib.Path) -> Exception:
    """The failure with the ONNX operator's type, the node's name and the reason."""
    node = getattr(failure, "onnx_op_name", None)
    if not node and _NODE.search(said):
        node = _NODE.findall(said)[-1]
    operator = _operator_of(node, folder) if node else ""
    if isinstance(failure, ModuleNotFoundError) and (failure.name or "").startswith("onnx2tf.ops."):
        operator = failure.name.rpartition(".")[2]
        return Refusal("unsupported-operator", f"{operator} OP is not yet implemented.", operator)
    if isinstance(failure, SystemExit):
        reason = _reason(said) or f"exit with {failure.code} and no reason"
    else:
        # TensorFlow and Keras wrap the error in the user's code and the call's arguments.
        wrapped = _WRAPPED.findall(str(failure))
        reason = wrapped[-1] if wrapped else f"{type(failure).__name__}: {failure}"
    where = f"{operator or 'operator'} {node}: " if node else ""
    return ConversionFailed(f"{where}{reason}", operator)


def _operator_of(node: str, folder: pathlib.Path) -> str:
    """The type of the node that onnx2tf names ``node``, or "": it names nodes in its copy
    of the file, and replaces ``:`` there by ``__``."""
    import onnx

    for name in ("model.onnx", "before.onnx"):
        for entry in onnx.load(str(folder / name), load_external_data=False).graph.node:
            if entry.name.replace(":", "__") == node:
                return entry.op_type
    return ""

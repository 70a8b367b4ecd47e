"""tf2onnx: a SavedModel back to ONNX, by what ``python -m tf2onnx.convert`` runs.

https://github.com/onnx/tensorflow-onnx. The opset is the tool's own default, the way most
people run it, or a given one; ``facts["opset"]`` says what was written.
"""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional, Sequence, Tuple
from unittest import mock

from switchyard.hops import Conversion, Hop
from switchyard.hops.onnx_io import carried
from switchyard.manifest import Manifest


class Tf2Onnx(Hop):
    """Tensors are named after the signature, with or without a ``:0``; layouts stay."""

    source = "saved_model"
    targets = ("onnx",)
    tier = "full"
    requires = ("tensorflow", "tf2onnx", "onnx")
    preloads = ("tf2onnx.convert",)

    def __init__(self, opset: Optional[int] = None, after: Tuple[str, ...] = ()):
        self.opset = opset
        self.after = after
        self.name = "tf2onnx" if opset is None else f"tf2onnx{opset}"

    @property
    def options(self) -> Dict[str, Any]:
        return {"opset": self.opset}

    def convert(self, job: Conversion) -> Manifest:
        """Raises what tf2onnx raises; RuntimeError where it exits or writes nothing."""
        from tf2onnx import convert

        path = job.target / "model.onnx"
        # tf2onnx's one road from a SavedModel is the entry point of its command line, which
        # reads sys.argv: its functions for Python start from Keras, a function or a GraphDef.
        arguments = ["tf2onnx", "--saved-model", str(job.source.file("saved_model"))]
        if self.opset is not None:
            arguments += ["--opset", str(self.opset)]
        with mock.patch.object(sys, "argv", arguments + ["--output", str(path)]):
            try:
                convert.main()
            except SystemExit as leaving:
                raise RuntimeError(f"tf2onnx exited with {leaving.code}") from leaving
        if not path.exists():
            raise RuntimeError("tf2onnx returned without an error and wrote no file")
        return carried(job.source.manifest.for_format("saved_model"), path, _written)


def _written(name: str) -> Sequence[str]:
    """The names a signature's tensor may have in the file: plain as a rule (1.17.0), or as
    TensorFlow's graph has it."""
    return (name, f"{name}:0")


HOPS = (
    Tf2Onnx(after=("onnx2tf", "manual")),
    # The opsets that the source document calls safe and breaking.
    Tf2Onnx(11, after=("manual",)),
    Tf2Onnx(16, after=("manual",)),
)

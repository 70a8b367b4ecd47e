"""onnx-tf: an ONNX file to a SavedModel, layouts as they are.

https://github.com/onnx/onnx-tensorflow, given up by its authors; what is said of it here was read
in its 1.10.0:

* every tensor keeps its axes: convolutions are transposed around, within the graph;
* ``export_graph`` saves ``tf_module.__call__`` with the ONNX inputs as keywords, and its outputs
  as a dict by their ONNX names; dynamic dimensions are None;
* it knows operators up to opset 15 and imports tensorflow-addons, which ended with TensorFlow 2.15;
* it traces with AutoGraph, whose errors begin with ``in user code:`` and end with the cause;
* pooling of odd kinds (``ceil_mode``) is done in numpy, which a SavedModel does not hold.
"""

from __future__ import annotations

import re
from typing import Any, List, Mapping, Sequence, Tuple

from switchyard.hops import Conversion, ConversionFailed, Hop
from switchyard.hops.channels_last import matched
from switchyard.hops.onnx_io import Declared, carry, declared
from switchyard.hops.open_sizes import inherited
from switchyard.manifest import Manifest, TensorNote
from switchyard.runtimes.tensorflow_saved_model import read_signature

SAVED_MODEL = "saved_model"

_WRAPPED = re.compile(r"^\s+(\w+): (.+)$", re.MULTILINE)
_OPERATOR = re.compile(r"(\w+) (?:version \d+ )?is not implemented")


class OnnxTf(Hop):
    """Behind the TorchScript exporter alone, which writes an opset that it knows."""

    name = "onnxtf"
    source = "onnx"
    targets = ("saved_model",)
    tier = "full-only"
    after = ("torchscript",)
    requires = ("onnx", "tensorflow", "onnx_tf.backend")
    refusals = (
        # Before what it says of operators in the same words.
        ("", "Please set auto_cast to True", "unsupported-dtype"),
        ("", "is not supported in Tensorflow", "unsupported-operator"),
        ("", "pooling is not supported", "unsupported-operator"),
        ("", "is not implemented", "unsupported-operator"),
    )

    def convert(self, job: Conversion) -> Manifest:
        """Raises ConversionFailed, and what onnx-tf, onnx's checker and TensorFlow raise."""
        import onnx
        from onnx_tf.backend import prepare

        model = onnx.load(str(job.source.file("onnx")))
        declares = declared(model)
        path = job.target / SAVED_MODEL
        try:
            prepare(model, logging_level="WARNING").export_graph(str(path))
        except Exception as error:
            if not str(error).startswith("in user code:"):
                raise
            raise explained(str(error)) from None  # else the first line would be that alone
        return manifest(job.source.manifest.for_format("onnx"), declares, read_signature(path))


def explained(said: str) -> ConversionFailed:
    """The cause that AutoGraph's message ends with, and the operator where it names one."""
    causes = _WRAPPED.findall(said)
    message = ": ".join(causes[-1]) if causes else " ".join(said.split())[:300]
    operator = _OPERATOR.search(message)
    return ConversionFailed(message, operator[1] if operator else "")


def manifest(
    source: Manifest, declares: Mapping[str, Any], signature: Mapping[str, List[Declared]]
) -> Manifest:
    """The source's notes under the names of the signature, layouts untouched."""
    facts = inherited(source)
    inputs, dropped = _carried(source.inputs, declares["inputs"], signature["inputs"])
    outputs, missing = _carried(source.outputs, declares["outputs"], signature["outputs"])
    if dropped:
        facts["dropped_inputs"] = dropped
    if missing:
        facts["missing_outputs"] = missing
    return Manifest({"saved_model": SAVED_MODEL}, inputs, outputs, facts)


def _carried(
    notes: Sequence[TensorNote], before: Sequence[Declared], after: Sequence[Declared]
) -> Tuple[Tuple[TensorNote, ...], List[str]]:
    """The notes that are found in a signature, and the paths of those that are not: an input that
    nothing uses is nobody's to feed, an output that is gone the comparison will miss."""
    names = matched([name for name, _, _ in before], [name for name, _, _ in after])
    return carry(notes, after, lambda name: [names[name]] if name in names else [])


HOPS = (OnnxTf(),)

"""Keras's own export to ONNX: ``keras.Model.export(format="onnx")`` of a ``.keras`` file.

https://keras.io/api/models/model_saving_apis/export/. Behind it, for a TensorFlow backend, is
tf2onnx at an opset that Keras chooses; ``facts["opset"]`` says what was written.
"""

from __future__ import annotations

from typing import Any, Sequence

from switchyard.hops import Conversion, Hop
from switchyard.hops.onnx_io import carried
from switchyard.manifest import Manifest


class KerasOnnx(Hop):
    """Inputs keep their names, as do the outputs of a dict. Others, ``output_0`` and on in a
    SavedModel, are called ``Identity:0``, ``Identity_1:0`` and on here (Keras 3.15)."""

    name = "keras-onnx"
    source = "keras"
    targets = ("onnx",)
    tier = "full"
    after = ("manual",)
    requires = ("tensorflow", "keras.ops", "tf2onnx", "onnx")
    preloads = ("keras", "tf2onnx.convert")

    def convert(self, job: Conversion) -> Manifest:
        """Raises what Keras and tf2onnx raise."""
        model = loaded(job)
        path = job.target / "model.onnx"
        model.export(str(path), format="onnx", verbose=False)
        return carried(job.source.manifest.for_format("keras"), path, _written)


def loaded(job: Conversion) -> Any:
    """The twin of a ``.keras`` file, called once for inference. Raises what Keras raises."""
    import keras

    from models_zoo.twins.layers import custom_layers

    model = keras.saving.load_model(
        job.source.file("keras"), custom_objects=custom_layers(), compile=False
    )
    # Keras exports no model that was never called, and a model just loaded was not.
    feeds = job.source.manifest.for_format("keras").feeds(job.example)
    called = [feeds[tensor.name] for tensor in model.inputs]
    model(called if len(called) > 1 else called[0], training=False)
    return model


def _written(name: str) -> Sequence[str]:
    """The names that a tensor of the SavedModel may have in the file."""
    stem, _, number = name.rpartition("_")
    if stem != "output" or not number.isdigit():
        return (name, f"{name}:0")
    return (name, "Identity:0" if number == "0" else f"Identity_{number}:0")


HOPS = (KerasOnnx(),)

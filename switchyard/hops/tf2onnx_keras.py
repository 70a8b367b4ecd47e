"""tf2onnx from a Keras model in memory: ``from_keras`` on a Functional or a Sequential model, and
``from_function`` on its call.

https://github.com/onnx/tensorflow-onnx#python-api-reference. All at the tool's own default opset;
``facts["opset"]`` says what was written.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping

from switchyard.hops import Conversion, Hop
from switchyard.hops.keras_onnx import loaded
from switchyard.hops.onnx_io import carried, read_back
from switchyard.manifest import Manifest


class LostOutputs(ValueError):
    """tf2onnx wrote another number of outputs than the model has."""

    kind = "output-structure"


class Tf2OnnxKeras(Hop):
    """The file's outputs stand in the order of the model's, a dict's in that of its sorted keys,
    under names of layers or ``Identity:0`` and on: they are told apart by their place."""

    source = "keras"
    targets = ("onnx",)
    tier = "full-only"
    after = ("manual",)
    requires = ("tensorflow", "keras.ops", "tf2onnx", "onnx")
    preloads = ("keras", "tf2onnx.convert")

    def proto(self, model: Any) -> Any:
        """The ModelProto of a loaded Keras model. Raises what tf2onnx raises."""
        raise TypeError(f"{type(self).__name__} has no proto")

    def convert(self, job: Conversion) -> Manifest:
        """Raises LostOutputs, and what Keras and tf2onnx raise."""
        import onnx

        model = loaded(job)
        path = job.target / "model.onnx"
        onnx.save(self.proto(model), str(path))
        written = [name for name, _, _ in read_back(path)["outputs"]]
        names = names_by_place(model.output, written)
        return carried(
            job.source.manifest.for_format("keras"), path, lambda name: (names.get(name, name),)
        )


def exported_names(structure: Any) -> List[str]:
    """What an exported SavedModel calls the tensors of a model's output, in the order in which
    TensorFlow flattens them."""
    if isinstance(structure, Mapping):
        return sorted(structure)
    count = len(structure) if isinstance(structure, (list, tuple)) else 1
    return [f"output_{place}" for place in range(count)]


def names_by_place(structure: Any, written: List[str]) -> Dict[str, str]:
    """The file's name of each output of a SavedModel. Raises LostOutputs where it has another
    number of them, since none could be told by its place."""
    exported = exported_names(structure)
    if len(exported) != len(written):
        raise LostOutputs(
            f"the model gives {len(exported)} outputs and the file {len(written)} "
            f"({', '.join(written)}): told apart by their place, they cannot be named"
        )
    return dict(zip(exported, written))


class Functional(Tf2OnnxKeras):
    name = "tf2onnx-functional"

    def proto(self, model: Any) -> Any:
        from tf2onnx import convert

        return convert.from_keras(model)[0]


class Sequential(Tf2OnnxKeras):
    """The same layers in a ``keras.Sequential``, for twins that are a chain of layers."""

    name = "tf2onnx-sequential"

    def takes(self, model: Mapping[str, Any]) -> bool:
        from models_zoo.twins import is_chain

        return is_chain(model)

    def proto(self, model: Any) -> Any:
        from tf2onnx import convert

        return convert.from_keras(as_sequential(model))[0]


def as_sequential(model: Any) -> Any:
    """The layers of a Functional model as a ``keras.Sequential``, weights shared.

    Raises ValueError where they are no chain: a Sequential would answer otherwise.
    """
    import keras

    (tensor,) = model.inputs
    layers = [each for each in model.operations if not isinstance(each, keras.layers.InputLayer)]
    for layer in layers:
        calls = layer._inbound_nodes
        once = len(calls) == 1 and len(calls[0].parent_nodes) == 1
        if not once or not isinstance(layer, keras.Layer):
            raise ValueError(f"{layer.name!r} is no layer with one input, used once: no chain")
    first = keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)
    return keras.Sequential([first, *layers])


class Function(Tf2OnnxKeras):
    """``from_function`` on a ``tf.function`` that calls the model for inference."""

    name = "tf2onnx-function"

    def proto(self, model: Any) -> Any:
        import tensorflow as tf
        from tf2onnx import convert

        signature = [
            tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in model.inputs
        ]

        @tf.function(input_signature=signature)
        def infer(*tensors: Any) -> Any:
            return model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)

        return convert.from_function(infer, input_signature=signature)[0]


HOPS = (Functional(), Sequential(), Function())

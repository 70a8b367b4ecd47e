"""Converters with one fault each, behind what a manifest undoes or declares: a twin's channels
last, sizes that may vary, weights that another framework keeps in another order.
"""

from __future__ import annotations

import dataclasses

from switchyard.hops import Hop
from switchyard.hops.manual import Manual
from switchyard.hops.torch_onnx import TorchScript


class SpoiltTwin(Manual):
    """The twin of ``manual``; ``spoil(model, table)`` returns both with one thing changed."""

    targets, tier = ("saved_model",), "full"

    def __init__(self, spoil):
        self.name, self._spoil = spoil.__name__, spoil

    def _convert(self, job, twin):
        spoilt = dataclasses.replace(twin, build=lambda: self._spoil(*twin.build()))
        return super()._convert(job, spoilt)


def turned_output(model, table):
    """Height and width exchanged, while the manifest says that only the channels moved."""
    import keras

    return keras.Model(model.input, keras.ops.transpose(model.output, (0, 2, 1, 3))), table


def kernel_as_it_was(model, table):
    """Every matrix (out, in), as torch keeps it, where Keras's layer wants (in, out)."""
    from models_zoo.twins.weights import same

    moved = [
        dataclasses.replace(
            row, moves=tuple(dataclasses.replace(move, turn=same) for move in row.moves)
        )
        for row in table
    ]
    return model, moved


class Exported(Hop):
    """TorchScript's honest export of what ``change(job)`` returns, all sizes declared dynamic."""

    source, targets, tier, requires = "torch", ("onnx",), "full", ("torch", "onnx")

    def __init__(self, change):
        self.name, self._change = change.__name__, change

    def convert(self, job):
        return TorchScript().convert(self._change(job))


def fixed_sizes(job):
    """No ``dynamic_axes``, though the model has them and the manifest says so."""
    dims = {path: array.shape for path, array in job.example.items()}
    return dataclasses.replace(job, dims=dims)


def baked_length(job):
    """The example's length is a number in the graph: what is longer loses its end."""
    import torch

    class Cut(torch.nn.Module):
        def __init__(self, inner, length):
            super().__init__()
            self.inner, self.length = inner, length

        def forward(self, sequence):
            return self.inner(sequence[:, : self.length])

    (sequence,) = job.example.values()
    cut = Cut(job.model.module, sequence.shape[1])
    return dataclasses.replace(job, model=dataclasses.replace(job.model, module=cut))


class GatesUnchanged(Hop):
    """torch's gates i, f, g, o lie in the file as torch has them, where ONNX's are i, o, f, g."""

    name, source, targets, tier = "gates_unchanged", "torch", ("onnx",), "full"
    requires = ("torch", "onnx")

    def convert(self, job):
        import numpy
        import onnx
        from onnx import numpy_helper

        manifest = TorchScript().convert(job)
        path = job.target / manifest.files["onnx"]
        model = onnx.load(path)
        (node,) = (node for node in model.graph.node if node.op_type == "LSTM")
        weights = {tensor.name: tensor for tensor in model.graph.initializer}
        for place, halves in ((1, 1), (2, 1), (3, 2)):  # W, R, and both biases in one
            tensor = weights[node.input[place]]
            array = numpy_helper.to_array(tensor)
            gates = array.reshape(1, halves, 4, -1)[:, :, [0, 2, 3, 1]].reshape(array.shape)
            tensor.CopyFrom(numpy_helper.from_array(numpy.ascontiguousarray(gates), tensor.name))
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, path)
        return manifest


HOPS = (
    SpoiltTwin(turned_output),
    SpoiltTwin(kernel_as_it_was),
    Exported(fixed_sizes),
    Exported(baked_length),
    GatesUnchanged(),
)

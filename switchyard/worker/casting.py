"""A float32 model in another precision: its module, its inputs and its labelled examples.

Everything is drawn as for the model's own precision and then rounded, so that a cell in float16
is the model that a user gets who writes ``model.half()``.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping

import numpy as np

from switchyard.wire import dtype_named
from switchyard.worker.drawing import stream


class NotInThisDtype(Exception):
    """Torch itself does not run a model in the dtype it was cast to: counted against nobody."""

    kind = "unsupported-dtype"
    stage = "reference"


def cast_entry(entry, dtype: str):
    """The entry with float32 inputs (and those of its labelled examples) of ``dtype``; as it is
    where that is empty. Raises NotInThisDtype for complex inputs, which have no such dtype."""
    if not dtype:
        return entry
    inputs = {}
    for name, spec in entry.inputs.items():
        if spec.dtype.startswith("complex"):
            raise NotInThisDtype(f"input {name!r} of {entry.name} is {spec.dtype}")
        if spec.dtype == "float32":
            spec = type(spec)(*spec.dims, dtype=dtype, range=spec.range)
        inputs[name] = spec
    task = entry.task
    if task is not None:
        examples = task.examples
        task = dataclasses.replace(task, examples=lambda: _cast_examples(examples(), inputs))
    return dataclasses.replace(entry, inputs=inputs, precision=dtype, task=task)


def _cast_examples(examples, inputs: Mapping[str, Any]):
    given, labels = examples
    return {
        name: np.asarray(array).astype(dtype_named(inputs[name].dtype))
        for name, array in given.items()
    }, labels


def cast_module(module: Any, name: str, dtype: str) -> None:
    """``module.to(dtype)`` in place.

    float64: a weight that was float32 has 29 bits that are zero, so that one which is stored as
    float32 on the way would lose nothing, and nobody see it. These bits are drawn: each parameter
    and running statistic moves by at most half a float32's rounding, 2**-25 of itself.
    """
    import torch

    module.to(getattr(torch, dtype))
    if dtype != "float64":
        return
    learnt = dict(module.named_parameters())
    learnt.update(
        (path, tensor)
        for path, tensor in module.named_buffers()
        if path.rpartition(".")[2] in ("running_mean", "running_var")
    )
    with torch.no_grad():
        for path, tensor in learnt.items():
            if tensor.dtype == torch.float64:
                bits = stream(name, "float64", path).uniform(-1, 1, tuple(tensor.shape))
                tensor.mul_(1 + torch.from_numpy(np.asarray(bits)) * 2.0**-25)

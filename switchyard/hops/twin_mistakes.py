"""Mistakes with BatchNorm in a Keras twin, made on purpose, so that what each costs is a figure.

The twin and its weights are those of ``manual``; one thing is then done to its BatchNorms. torch's
defaults are epsilon 1e-5 and momentum 0.1 (the new value's share), Keras's epsilon 1e-3 and
momentum 0.99 (the old value's share). https://keras.io/api/layers/normalization_layers/
"""

from __future__ import annotations

import inspect
from typing import Any, Callable, Mapping

from switchyard.hops import Conversion
from switchyard.hops.export_mistakes import is_for_mode
from switchyard.hops.manual import Manual

#: ``spoil(layer, norm)``: the Keras layer, and torch's BatchNorm that it stands for.
Spoil = Callable[[Any, Any], None]


class TwinMistake(Manual):
    targets = ("saved_model",)

    def __init__(self, name: str, spoil: Spoil):
        self.name = name
        self.spoil = spoil
        # What does something to momentum does it to nothing but training.
        self.trains = ("tf",) if "momentum" in name else ()

    def takes(self, model: Mapping[str, Any]) -> bool:
        return is_for_mode(model) and super().takes(model)

    def weigh(self, job: Conversion, keras_model: Any, table: list) -> None:
        from models_zoo.twins.weights import batch_norms

        super().weigh(job, keras_model, table)
        for source, name in batch_norms(table):
            self.spoil(keras_model.get_layer(name), job.model.module.get_submodule(source))


def default_of(layer: Any, argument: str) -> Any:
    """What a Keras layer's argument is where nobody says it."""
    return inspect.signature(type(layer).__init__).parameters[argument].default


def default_eps(layer: Any, norm: Any) -> None:
    layer.epsilon = default_of(layer, "epsilon")


def default_momentum(layer: Any, norm: Any) -> None:
    layer.momentum = default_of(layer, "momentum")


def copied_momentum(layer: Any, norm: Any) -> None:
    """torch's number in Keras's place: the two mean opposite shares."""
    layer.momentum = norm.momentum


def statistics_forgotten(layer: Any, norm: Any) -> None:
    """The weights moved, and what is no weight left as a new layer has it."""
    layer.moving_mean.assign(layer.moving_mean * 0)
    layer.moving_variance.assign(layer.moving_variance * 0 + 1)


def statistics_swapped(layer: Any, norm: Any) -> None:
    mean, variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    layer.moving_mean.assign(variance)
    layer.moving_variance.assign(mean)


HOPS = tuple(
    TwinMistake(f"manual_{spoil.__name__}", spoil)
    for spoil in (
        default_eps,
        default_momentum,
        copied_momentum,
        statistics_forgotten,
        statistics_swapped,
    )
)

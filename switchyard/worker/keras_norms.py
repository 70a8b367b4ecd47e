"""What a Keras model's BatchNorms say otherwise than torch's: read off its own layers."""

from __future__ import annotations

import pathlib
from typing import Any, Dict, List, Mapping

import numpy as np

from switchyard.worker.elements import as_float64
from switchyard.worker.evidence import Evidence
from switchyard.worker.layers import initialiser_fault


def explain(ours: Mapping[str, Mapping[str, Any]], path: pathlib.Path) -> Evidence:
    """``ours``: torch's BatchNorms by name; ``path``: a ``.keras`` file. Falsy where all of them
    are as torch has them, or none could be told. Raises what Keras raises at loading."""
    theirs = norms_of(path)
    faults = {name: initialiser_fault(norm, theirs) for name, norm in ours.items()}
    faults = {name: fault for name, fault in faults.items() if fault}
    if not faults:
        return Evidence("", f"none of {len(ours)} BatchNorms is seen to differ in Keras")
    name = next(iter(faults))
    said = f"BatchNorm {name!r} in Keras: {faults[name]}"
    if len(faults) > 1:
        said += f" ({len(faults)} of {len(ours)} differ)"
    return Evidence("channel-affine", said)


def norms_of(path: pathlib.Path) -> List[Dict[str, Any]]:
    """``mean, variance, gamma, beta, epsilon`` of every BatchNormalization, however deep."""
    import keras

    from models_zoo.twins.layers import custom_layers

    model = keras.models.load_model(path, custom_objects=custom_layers(), compile=False)
    layers = [each for each in model._flatten_layers(include_self=False)]
    return [_values(each) for each in layers if isinstance(each, keras.layers.BatchNormalization)]


def _values(layer: Any) -> Dict[str, Any]:
    mean, variance = (as_float64(np.asarray(each)) for each in
                      (layer.moving_mean, layer.moving_variance))  # fmt: skip
    gamma = np.ones_like(mean) if layer.gamma is None else as_float64(np.asarray(layer.gamma))
    beta = np.zeros_like(mean) if layer.beta is None else as_float64(np.asarray(layer.beta))
    return dict(mean=mean, variance=variance, gamma=gamma, beta=beta, epsilon=layer.epsilon)

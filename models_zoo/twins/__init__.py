"""Keras twins: the models of the zoo as a Keras person would write them, with their weights.

>>> from models_zoo.twins import twin
>>> from models_zoo.twins.weights import batch_norm, conv2d
>>> @twin("tiny_net", channels_last=("image", "output"))
... def tiny_net():
...     import keras
...     from keras import layers
...     image = keras.Input((24, 24, 3), name="image")
...     x = layers.Conv2D(8, 3, use_bias=False, name="conv")(image)
...     x = layers.BatchNormalization(epsilon=1e-5, name="norm")(x)
...     return keras.Model(image, x), [conv2d("0", "conv"), batch_norm("1", "norm")]

A twin of ``models_zoo/convnets.py`` stands in ``models_zoo/twins/convnets.py``; one of a model in
a file of your own stands in that file. Keras is imported inside the functions only, since the
zoo is also described where there is none.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import pathlib
import pkgutil
from typing import Any, Callable, Dict, FrozenSet, Iterable, Optional, Tuple

from models_zoo import entry


@dataclasses.dataclass(frozen=True)
class Twin:
    """``build`` returns a Keras model and its table of weights (``models_zoo.twins.weights``).

    Inputs and outputs are called as in the torch model; a lone output has no name to keep, and
    several are a list in torch's order, or a dict. ``channels_last``: the inputs and outputs
    that hold an image, channels second in torch and last here. ``weights``: False where there
    are none, so that nothing can be said of transferring them. ``chain``: said of some whose
    layers follow one another from one input to one output: they are asked as a Sequential too.
    """

    name: str
    build: Callable[[], Tuple[Any, list]]
    channels_last: FrozenSet[str]
    module: str
    weights: bool = True
    chain: bool = False

    def permutation(self, path: str, rank: int) -> Optional[Tuple[int, ...]]:
        """Twin axes = model axes transposed by this; None where they are the same."""
        return (0, *range(2, rank), 1) if path in self.channels_last else None


def twin(
    name: str, channels_last: Iterable[str] = (), weights: bool = True, chain: bool = False
) -> Callable[[Callable], Twin]:
    """Declare the function below as the twin of the model ``name``; ``Twin`` has the rest.

    Raises ValueError where another file has declared one already; of one file the last counts.
    """

    def declare(build: Callable[[], Tuple[Any, list]]) -> Twin:
        found = Twin(name, build, frozenset(channels_last), build.__module__, weights, chain)
        if name in entry.twins and entry.twins[name].module != found.module:
            raise ValueError(f"{name!r} has a twin in {entry.twins[name].module} already")
        entry.twins[name] = found
        return found

    return declare


@functools.lru_cache(maxsize=None)
def builtin() -> Dict[str, Twin]:
    """The twins of the built-in zoo by name, from every module here. Imports no framework."""
    for info in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{info.name}")
    own = f"{__name__}."
    return {name: each for name, each in entry.twins.items() if each.module.startswith(own)}


def has_twin(description: Any, weighted: bool = False) -> bool:
    """Whether the model of a description (``Model.as_dict()``) has a twin, in its own file
    (which the description says) or, for a model of the built-in zoo, here; ``weighted``: one
    that has weights."""
    if own := description.get("twin"):
        return own["weights"] or not weighted
    if pathlib.Path(description.get("file", "")).parent.name != "models_zoo":
        return False
    found = builtin().get(description["name"])
    return found is not None and (found.weights or not weighted)


def is_chain(description: Any) -> bool:
    """Whether the twin of a description's model, as ``has_twin`` finds it, is a chain of layers."""
    if own := description.get("twin"):
        return own["chain"]
    return has_twin(description) and builtin()[description["name"]].chain


def twin_of(model: entry.Model) -> Twin:
    """The twin of a model of the zoo. Raises KeyError where it has none."""
    if model.name not in entry.twins:
        # Only its own family's module, so that a change in another leaves its artefacts be.
        importlib.import_module(f"{__name__}.{model.family}")
    return entry.twins[model.name]

"""The few layers that Keras has not: a learnt vector put before, added to, or multiplied in."""

from __future__ import annotations

import functools
from typing import Any, Dict


@functools.lru_cache(maxsize=None)
def custom_layers() -> Dict[str, Any]:
    """The classes by name, as ``keras.saving.load_model(custom_objects=)`` wants them."""
    import keras
    from keras import ops

    class ClassToken(keras.layers.Layer):
        """One learnt token before a sequence (batch, length, width)."""

        def build(self, shape):
            self.token = self.add_weight(shape=(1, 1, shape[-1]), name="token")

        def call(self, sequence):
            batch = ops.shape(sequence)[0]
            token = ops.broadcast_to(self.token, (batch, 1, sequence.shape[-1]))
            return ops.concatenate([token, sequence], axis=1)

        def compute_output_shape(self, shape):
            return (shape[0], None if shape[1] is None else shape[1] + 1, shape[2])

    class Position(keras.layers.Layer):
        """A learnt position added to each token of a sequence of fixed length."""

        def build(self, shape):
            self.position = self.add_weight(shape=(1, *shape[1:]), name="position")

        def call(self, sequence):
            return sequence + self.position

    class Scale(keras.layers.Layer):
        """A learnt factor for each entry of the last axis."""

        def build(self, shape):
            self.scale = self.add_weight(shape=(shape[-1],), name="scale")

        def call(self, x):
            return x * self.scale

    class Shift(keras.layers.Layer):
        """A learnt summand for each entry of the last axis."""

        def build(self, shape):
            self.shift = self.add_weight(shape=(shape[-1],), name="shift")

        def call(self, x):
            return x + self.shift

    return {each.__name__: each for each in (ClassToken, Position, Scale, Shift)}

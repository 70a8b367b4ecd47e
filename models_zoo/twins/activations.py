"""Twins of the pointwise functions that Keras has under another default."""

from models_zoo.twins import twin
from models_zoo.twins.weights import linear


def behind_linear(function):
    import keras
    from keras import layers

    x = keras.Input((9,), name="x")
    return keras.Model(x, function(layers.Dense(7, name="linear")(x))), [
        linear("linear", "linear")
    ]


@twin("gelu_erf")
def gelu_erf():
    from keras import ops

    return behind_linear(lambda x: ops.gelu(x, approximate=False))


@twin("gelu_tanh")
def gelu_tanh():
    from keras import ops

    return behind_linear(lambda x: ops.gelu(x, approximate=True))


@twin("silu", weights=False)
def silu():
    import keras
    from keras import layers

    x = keras.Input((9,), name="x")
    return keras.Model(x, layers.Activation("silu")(x)), []


@twin("hardswish", weights=False)
def hardswish():
    import keras
    from keras import layers

    x = keras.Input((9,), name="x")
    return keras.Model(x, layers.Activation("hard_swish")(x)), []

"""Twins of models in other types than float32: every layer is told its own."""

from models_zoo.twins import twin
from models_zoo.twins.weights import embedding, linear, norm


def mlp(dtype, activation):
    import keras
    from keras import layers

    x = keras.Input((9,), dtype=dtype, name="x")
    y = layers.Dense(14, activation=activation, dtype=dtype, name="widen")(x)
    y = layers.LayerNormalization(epsilon=1e-5, dtype=dtype, name="norm")(y)
    return keras.Model(x, layers.Dense(5, dtype=dtype, name="head")(y)), [
        linear("layers.0", "widen"),
        norm("layers.2", "norm"),
        linear("layers.3", "head"),
    ]


@twin("float16_mlp")
def float16_mlp():
    return mlp("float16", "gelu")


@twin("bfloat16_mlp")
def bfloat16_mlp():
    return mlp("bfloat16", "gelu")


@twin("float64_mlp")
def float64_mlp():
    return mlp("float64", "tanh")


@twin("int32_embedding_bag")
def int32_embedding_bag():
    import keras
    from keras import layers

    tokens = keras.Input((5,), dtype="int32", name="tokens")
    x = layers.GlobalAveragePooling1D()(layers.Embedding(11, 6, name="bag")(tokens))
    return keras.Model(tokens, x), [embedding("bag", "bag")]

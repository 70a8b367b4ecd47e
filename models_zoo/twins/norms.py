"""Twins of the norms that compute their statistics from the input."""

from models_zoo.twins import twin
from models_zoo.twins.weights import conv2d, norm, parameter


@twin("group_norm", channels_last=("input", "output"))
def group_norm():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 6), name="input")
    x = layers.Conv2D(8, 3, name="conv")(image)
    x = layers.GroupNormalization(4, epsilon=1e-3, name="norm")(x)
    return keras.Model(image, x), [conv2d("0", "conv"), norm("1", "norm")]


@twin("group_norm_of_one_group", channels_last=("input", "output"))
def group_norm_of_one_group():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 6), name="input")
    x = layers.GroupNormalization(1, epsilon=1e-5, name="norm")(image)
    return keras.Model(image, x), [norm("", "norm")]


# A group a channel.
@twin("instance_norm", channels_last=("input", "output"), weights=False)
def instance_norm():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 6), name="input")
    x = layers.GroupNormalization(6, epsilon=1e-5, center=False, scale=False, name="norm")(image)
    return keras.Model(image, x), []


@twin("layer_norm")
def layer_norm():
    import keras
    from keras import layers

    tokens = keras.Input((None, 14), name="input")
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(tokens)
    return keras.Model(tokens, x), [norm("", "norm")]


@twin("rms_norm")
def rms_norm():
    import keras
    from keras import layers

    tokens = keras.Input((None, 14), name="tokens")
    x = layers.RMSNormalization(epsilon=1e-6, name="norm")(tokens)
    return keras.Model(tokens, x), [parameter("scale", "norm", "scale")]

"""Twins of the models about axes. ``flatten_linear`` and the patches keep torch's order of axes at
the door, as a port does whose callers still send channels first."""

from models_zoo.twins import twin
from models_zoo.twins.weights import conv2d, linear


@twin("flatten_linear")
def flatten_linear():
    import keras
    from keras import layers

    image = keras.Input((3, 10, 6), name="input")
    x = layers.Conv2D(5, 3, activation="relu", name="conv")(layers.Permute((2, 3, 1))(image))
    x = layers.Dense(9, name="head")(layers.Flatten()(x))
    return keras.Model(image, x), [conv2d("0", "conv"), linear("3", "head", flattened=(5, 8, 4))]


@twin("channel_shuffle", channels_last=("input", "output"))
def channel_shuffle():
    import keras
    from keras import layers

    image = keras.Input((8, 5, 6), name="input")
    x = layers.Conv2D(6, 1, name="conv")(image)
    x = layers.Permute((1, 2, 4, 3))(layers.Reshape((8, 5, 3, 2))(x))
    return keras.Model(image, layers.Reshape((8, 5, 6))(x)), [conv2d("0", "conv")]


# TensorFlow's depth_to_space takes the channel last within a block (DCR), torch first.
@twin("pixel_shuffle", channels_last=("input", "output"), weights=False)
def pixel_shuffle():
    import keras
    from keras import layers

    image = keras.Input((7, 5, 12), name="input")
    x = layers.Reshape((7, 5, 3, 2, 2))(image)
    x = layers.Permute((1, 4, 2, 5, 3))(x)
    return keras.Model(image, layers.Reshape((14, 10, 3))(x)), []


@twin("softmax_of_every_axis", weights=False)
def softmax_of_every_axis():
    import keras
    from keras import ops

    x = keras.Input(batch_shape=(4, 4, 4, 4), name="x")
    outputs = [ops.softmax(x, axis=axis) for axis in (1, 2, -1)]
    return keras.Model(x, [*outputs, ops.cast(ops.argmax(x, axis=1), "int64")]), []

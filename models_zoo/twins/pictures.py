"""Twins of the network behind every pair of preprocessing."""

from models_zoo.twins import twin
from models_zoo.twins.weights import batch_norm, conv2d, linear


def net():
    import keras
    from keras import layers

    x = image = keras.Input((32, 24, 3), name="image")
    for place, filters in ((1, 8), (2, 14)):
        # torch pads a strided convolution on both sides, Keras's "same" on the right first.
        x = layers.Conv2D(filters, 3, strides=2, name=f"conv{place}")(layers.ZeroPadding2D(1)(x))
        x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name=f"norm{place}")(x))
    return keras.Model(image, layers.Dense(9, name="head")(layers.Flatten()(x))), [
        conv2d("conv1", "conv1"),
        batch_norm("norm1", "norm1"),
        conv2d("conv2", "conv2"),
        batch_norm("norm2", "norm2"),
        linear("linear", "head", flattened=(14, 8, 6)),
    ]


@twin("picture_net", channels_last=("image",))
def picture_net():
    return net()


@twin("picture_alike", channels_last=("image",))
def picture_alike():
    return net()


@twin("picture_rounded", channels_last=("image",))
def picture_rounded():
    return net()


@twin("picture_antialias", channels_last=("image",))
def picture_antialias():
    return net()


@twin("picture_filter", channels_last=("image",))
def picture_filter():
    return net()


@twin("picture_bicubic", channels_last=("image",))
def picture_bicubic():
    return net()


@twin("picture_channel_order", channels_last=("image",))
def picture_channel_order():
    return net()


@twin("picture_scaling", channels_last=("image",))
def picture_scaling():
    return net()


@twin("picture_mean_and_deviation", channels_last=("image",))
def picture_mean_and_deviation():
    return net()

"""The twins of the trained models. Keras's momentum is what torch's leaves of one: 0.9 for 0.1."""

from models_zoo.twins import twin
from models_zoo.twins.weights import batch_norm, conv2d, linear


def normalise(name):
    from keras import layers

    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)


def net():
    import keras
    from keras import layers

    image = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(8, 3, padding="same", name="conv1")(image)
    x = layers.ReLU()(normalise("norm1")(x))
    x = layers.Conv2D(12, 3, name="conv2")(x)
    x = layers.ReLU()(normalise("norm2")(x))
    x = layers.Flatten()(layers.MaxPooling2D(2)(x))
    return keras.Model(image, layers.Dense(10, name="head")(x)), [
        conv2d("conv1", "conv1"),
        batch_norm("norm1", "norm1"),
        conv2d("conv2", "conv2"),
        batch_norm("norm2", "norm2"),
        linear("linear", "head", flattened=(12, 3, 3)),
    ]


@twin("digits", channels_last=("image",), chain=True)
def digits():
    return net()


@twin("digits_tenth", channels_last=("image",))
def digits_tenth():
    return net()


@twin("digits_thirtieth", channels_last=("image",))
def digits_thirtieth():
    return net()

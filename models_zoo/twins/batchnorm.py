"""Twins of the BatchNorms: epsilon is said everywhere, since Keras's own is 1e-3."""

from models_zoo.twins import twin
from models_zoo.twins.weights import batch_norm, conv2d


def alone(epsilon):
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    x = layers.BatchNormalization(epsilon=epsilon, name="norm")(image)
    return keras.Model(image, x), [batch_norm("", "norm")]


@twin("batch_norm_large_eps", channels_last=("input", "output"))
def batch_norm_large_eps():
    return alone(0.05)


@twin("batch_norm_tiny_variance", channels_last=("input", "output"))
def batch_norm_tiny_variance():
    return alone(1e-5)


@twin("batch_norm_no_affine", channels_last=("input", "output"))
def batch_norm_no_affine():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    x = layers.Conv2D(7, 3, name="conv")(image)
    x = layers.BatchNormalization(epsilon=1e-5, center=False, scale=False, name="norm")(x)
    return keras.Model(image, x), [conv2d("0", "conv"), batch_norm("1", "norm")]


@twin("conv_batch_norm_chain", channels_last=("input", "output"))
def conv_batch_norm_chain():
    import keras
    from keras import layers

    x = image = keras.Input((16, 12, 5), name="input")
    table = []
    for place, width in enumerate((7, 9, 11, 13, 15, 17)):
        x = layers.Conv2D(width, 3, padding="same", name=f"conv{place}")(x)
        x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5, name=f"norm{place}")(x))
        table += [conv2d(f"{3 * place}", f"conv{place}"),
                  batch_norm(f"{3 * place + 1}", f"norm{place}")]  # fmt: skip
    return keras.Model(image, x), table


@twin("batch_norm_before_conv", channels_last=("input", "output"))
def batch_norm_before_conv():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    x = layers.BatchNormalization(epsilon=1e-5, name="norm")(image)
    x = layers.Conv2D(7, 3, padding="same", name="conv")(x)
    return keras.Model(image, x), [batch_norm("0", "norm"), conv2d("1", "conv")]

"""Twins of the BatchNorms: epsilon is said everywhere, since Keras's own is 1e-3."""

from models_zoo.twins import twin
from models_zoo.twins.weights import batch_norm, conv2d, ignored, parameter


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


@twin("conv_batch_norm_chain", channels_last=("input", "output"), chain=True)
def conv_batch_norm_chain():
    import keras
    from keras import layers

    x = image = keras.Input((16, 12, 5), name="input")
    table = []
    for place, width in enumerate((7, 9, 11, 13, 15, 17)):
        x = layers.Conv2D(width, 3, padding="same", name=f"conv{place}")(x)
        # Its momentum is what torch's leaves of one.
        norm = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"norm{place}")
        x = layers.ReLU()(norm(x))
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


def by_the_batch(x, name):
    """Normalised by the batch at hand, also at inference; the two variables are the affine part."""
    from keras import ops

    from models_zoo.twins.layers import custom_layers

    custom = custom_layers()
    mean, variance = ops.moments(x, axes=(0, 1, 2), keepdims=True)
    x = (x - mean) * ops.rsqrt(variance + 1e-5)
    return custom["Shift"](name=f"{name}_beta")(custom["Scale"](name=f"{name}_gamma")(x))


@twin("batch_norm_no_running_stats", channels_last=("input", "output"))
def batch_norm_no_running_stats():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    x = layers.Conv2D(7, 3, name="conv")(by_the_batch(image, "norm"))
    return keras.Model(image, x), [
        parameter("0.weight", "norm_gamma", "scale"),
        parameter("0.bias", "norm_beta", "shift"),
        conv2d("1", "conv"),
    ]


# The running statistics are there, and no answer rests on them.
@twin("batch_norm_adapting_to_batch", channels_last=("image", "output"))
def batch_norm_adapting_to_batch():
    import keras

    image = keras.Input((16, 12, 5), name="image")
    return keras.Model(image, by_the_batch(image, "norm")), [
        parameter("norm.weight", "norm_gamma", "scale"),
        parameter("norm.bias", "norm_beta", "shift"),
        ignored("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"),
    ]

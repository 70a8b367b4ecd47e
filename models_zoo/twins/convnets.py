"""Twins of the convolutional networks.

Torch pads a strided convolution on both sides, Keras's "same" on the right first: where the
stride is two the padding is a layer of its own. torch's default epsilon is 1e-5, Keras's 1e-3;
torch's momentum 0.1, the new value's share, is Keras's 0.9, the old one's.
"""

from models_zoo.twins import twin
from models_zoo.twins.layers import custom_layers
from models_zoo.twins.weights import (
    batch_norm,
    conv2d,
    conv2d_transpose,
    depthwise_conv2d,
    linear,
    norm,
    parameter,
)
from models_zoo.twins.weights import conv1d as conv1d_row


def convolve(x, filters, kernel=3, stride=1, name=None, bias=False):
    from keras import layers

    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2)(x)
        padding = "valid"
    else:
        padding = "same"
    return layers.Conv2D(
        filters, kernel, strides=stride, padding=padding, use_bias=bias, name=f"{name}_conv"
    )(x)


def normalise(x, name):
    from keras import layers

    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)


def conv_bn(source, name):
    """The two rows of a convolution with its norm, which torch keeps in a Sequential."""
    return [conv2d(f"{source}.0", f"{name}_conv"), batch_norm(f"{source}.1", f"{name}_norm")]


@twin("resnet18", channels_last=("image",))
def resnet18():
    import keras
    from keras import layers

    image = keras.Input((64, 48, 3), name="image")
    table = [*conv_bn("stem.0", "stem"), linear("head", "head")]
    x = layers.ReLU()(normalise(convolve(image, 10, 7, 2, "stem"), "stem"))
    # What pads a max pool must never win: a "same" pool pads with nothing, on the other side.
    x = layers.ZeroPadding2D(1)(x)  # after ReLU no value is below zero
    x = layers.MaxPooling2D(3, 2)(x)
    for index in range(8):
        width, name = (10, 14, 18, 22)[index // 2], f"block{index}"
        stride = 2 if index in (2, 4, 6) else 1
        shortcut = x
        y = layers.ReLU()(normalise(convolve(x, width, 3, stride, f"{name}a"), f"{name}a"))
        y = normalise(convolve(y, width, 3, 1, f"{name}b"), f"{name}b")
        table += conv_bn(f"blocks.{index}.first", f"{name}a")
        table += conv_bn(f"blocks.{index}.second", f"{name}b")
        if stride > 1:
            shortcut = normalise(convolve(x, width, 1, stride, f"{name}s"), f"{name}s")
            table += conv_bn(f"blocks.{index}.shortcut", f"{name}s")
        x = layers.ReLU()(layers.Add()([y, shortcut]))
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(image, layers.Dense(7, name="head")(x)), table


@twin("vgg", channels_last=("input",), chain=True)
def vgg():
    import keras
    from keras import layers

    x = image = keras.Input((32, 24, 3), name="input")
    for stage, width in enumerate((7, 11, 13)):
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{stage}a")(x)
        x = layers.Conv2D(width, 3, padding="same", activation="relu", name=f"conv{stage}b")(x)
        x = layers.MaxPooling2D(2)(x)
    x = layers.Dense(37, activation="relu", name="fc1")(layers.Flatten()(x))
    return keras.Model(image, layers.Dense(9, name="fc2")(x)), [
        conv2d("0", "conv0a"),
        conv2d("2", "conv0b"),
        conv2d("5", "conv1a"),
        conv2d("7", "conv1b"),
        conv2d("10", "conv2a"),
        conv2d("12", "conv2b"),
        linear("16", "fc1", flattened=(13, 4, 3)),
        linear("18", "fc2"),
    ]


@twin("mobilenet_v2", channels_last=("input",))
def mobilenet_v2():
    import keras
    from keras import layers

    table = []

    def step(x, source, name, filters=None, kernel=1, stride=1, clipped=True):
        """A convolution, depthwise where no filters are said, its norm and ReLU6."""
        if filters is None:
            padding = "same"
            if stride > 1:
                x, padding = layers.ZeroPadding2D(1)(x), "valid"
            x = layers.DepthwiseConv2D(
                3, strides=stride, padding=padding, use_bias=False, name=f"{name}_conv"
            )(x)
            rows = depthwise_conv2d(f"{source}.0", f"{name}_conv")
        else:
            x = convolve(x, filters, kernel, stride, name)
            rows = conv2d(f"{source}.0", f"{name}_conv")
        table.extend([rows, batch_norm(f"{source}.1", f"{name}_norm")])
        x = normalise(x, name)
        return layers.ReLU(max_value=6.0)(x) if clipped else x

    image = keras.Input((32, 24, 3), name="input")
    x = step(image, "0", "stem", 6, kernel=3, stride=2)
    inside = 6
    for place, (outside, stride, expansion) in enumerate(
        [(5, 1, 1), (10, 2, 6), (10, 1, 6), (14, 2, 6), (14, 1, 6)], start=1
    ):
        y = step(x, f"{place}.layers.0", f"block{place}_widen", inside * expansion)
        y = step(y, f"{place}.layers.1", f"block{place}_filter", stride=stride)
        y = step(y, f"{place}.layers.2", f"block{place}_narrow", outside, clipped=False)
        x = layers.Add()([x, y]) if stride == 1 and inside == outside else y
        inside = outside
    x = layers.GlobalAveragePooling2D()(step(x, "6", "top", 45))
    x = layers.Dropout(0.2)(x)
    table.append(linear("10", "head"))
    return keras.Model(image, layers.Dense(9, name="head")(x)), table


@twin("convnext", channels_last=("input",))
def convnext():
    import keras
    from keras import layers

    scale = custom_layers()["Scale"]
    table = []

    def block(x, width, source):
        name = f"block{source}"
        y = layers.DepthwiseConv2D(7, padding="same", name=f"{name}_depthwise")(x)
        y = layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(y)
        y = layers.Dense(4 * width, activation="gelu", name=f"{name}_widen")(y)
        y = layers.Dense(width, name=f"{name}_narrow")(y)
        table.extend([
            depthwise_conv2d(f"{source}.depthwise", f"{name}_depthwise"),
            norm(f"{source}.norm", f"{name}_norm"),
            linear(f"{source}.widen", f"{name}_widen"),
            linear(f"{source}.narrow", f"{name}_narrow"),
            parameter(f"{source}.scale", f"{name}_scale", "scale"),
        ])  # fmt: skip
        return layers.Add()([x, scale(name=f"{name}_scale")(y)])

    image = keras.Input((None, None, 3), name="input")
    x = block(layers.Conv2D(10, 4, strides=4, name="stem")(image), 10, "1")
    x = layers.GroupNormalization(1, epsilon=1e-6, name="norm")(x)
    x = block(layers.Conv2D(14, 2, strides=2, name="down")(x), 14, "4")
    x = layers.GlobalAveragePooling2D()(x)
    table += [conv2d("0", "stem"), norm("2", "norm"), conv2d("3", "down"), linear("7", "head")]
    return keras.Model(image, layers.Dense(9, name="head")(x)), table


@twin("unet", channels_last=("image", "output"))
def unet():
    import keras
    from keras import layers

    table = []

    def double(x, filters, source):
        for half in ("0", "1"):
            name = f"{source}_{half}"
            x = layers.ReLU()(normalise(convolve(x, filters, name=name), name))
            table.extend(conv_bn(f"{source}.{half}", name))
        return x

    image = keras.Input((32, 24, 3), name="image")
    first = double(image, 6, "down1")
    second = double(layers.MaxPooling2D(2)(first), 10, "down2")
    x = double(layers.MaxPooling2D(2)(second), 18, "bottom")
    x = layers.Conv2DTranspose(10, 2, strides=2, name="up2")(x)
    x = double(layers.Concatenate()([second, x]), 10, "mix2")
    x = layers.Conv2DTranspose(6, 2, strides=2, name="up1")(x)
    x = double(layers.Concatenate()([first, x]), 6, "mix1")
    table += [
        conv2d_transpose("up2", "up2"),
        conv2d_transpose("up1", "up1"),
        conv2d("head", "head"),
    ]
    return keras.Model(image, layers.Conv2D(5, 1, name="head")(x)), table


@twin("autoencoder", channels_last=("input", "output"), chain=True)
def autoencoder():
    import keras
    from keras import layers

    image = keras.Input((32, 24, 3), name="input")
    x = layers.ReLU()(convolve(image, 7, 3, 2, "down1", bias=True))
    x = layers.ReLU()(convolve(x, 11, 3, 2, "down2", bias=True))
    x = layers.Dense(19, name="narrow")(layers.Flatten()(x))
    # The way back starts in torch's order of axes.
    x = layers.Reshape((11, 8, 6))(layers.Dense(11 * 8 * 6, name="widen")(x))
    x = layers.Permute((2, 3, 1))(x)
    # torch takes one row off each side of a transposed convolution: with kernel 4 and stride
    # 2, what "same" takes.
    x = layers.Conv2DTranspose(7, 4, strides=2, padding="same", activation="relu", name="up1")(x)
    x = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid", name="up2")(x)
    return keras.Model(image, x), [
        conv2d("0", "down1_conv"),
        conv2d("2", "down2_conv"),
        linear("5", "narrow", flattened=(11, 8, 6)),
        linear("6", "widen"),
        conv2d_transpose("8", "up1"),
        conv2d_transpose("10", "up2"),
    ]


@twin("preact_resnet", channels_last=("input",))
def preact_resnet():
    import keras
    from keras import layers

    image = keras.Input((32, 24, 3), name="input")
    table = [conv2d("0", "stem_conv"), batch_norm("5", "top_norm"), linear("9", "head")]
    x = convolve(image, 10, 3, 2, "stem")
    for block in range(1, 5):
        y = x
        for half, place in enumerate((0, 3)):
            name, source = f"block{block}_{half}", f"{block}.layers"
            y = convolve(layers.ReLU()(normalise(y, name)), 10, name=name)
            table += [batch_norm(f"{source}.{place}", f"{name}_norm"),
                      conv2d(f"{source}.{place + 2}", f"{name}_conv")]  # fmt: skip
        x = layers.Add()([x, y])
    x = layers.GlobalAveragePooling2D()(layers.ReLU()(normalise(x, "top")))
    return keras.Model(image, layers.Dense(9, name="head")(x)), table


@twin("grouped_conv", channels_last=("input", "output"))
def grouped_conv():
    import keras
    from keras import layers

    image = keras.Input((32, 24, 6), name="input")
    x = layers.Conv2D(15, 3, padding="same", groups=3, name="conv")(image)
    return keras.Model(image, x), [conv2d("", "conv")]


@twin("depthwise_conv", channels_last=("input", "output"))
def depthwise_conv():
    import keras
    from keras import layers

    image = keras.Input((32, 24, 5), name="input")
    x = layers.DepthwiseConv2D((3, 5), padding="same", depth_multiplier=2, name="conv")(image)
    return keras.Model(image, x), [depthwise_conv2d("", "conv")]


# Without a stride "same" pads both sides by what the dilation needs, as torch's model says.
@twin("dilated_conv", channels_last=("input", "output"))
def dilated_conv():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    x = layers.Conv2D(7, 3, padding="same", dilation_rate=(2, 3), name="conv")(image)
    return keras.Model(image, x), [conv2d("", "conv")]


@twin("conv1d", channels_last=("input", "output"))
def conv1d():
    import keras
    from keras import layers

    signal = keras.Input((None, 5), name="input")
    x = layers.Conv1D(7, 4, strides=2, name="conv")(layers.ZeroPadding1D(1)(signal))
    return keras.Model(signal, x), [conv1d_row("", "conv")]


# Of an odd number of zeros both put the larger half behind.
@twin("conv1d_same", channels_last=("input", "output"))
def conv1d_same():
    import keras
    from keras import layers

    signal = keras.Input((None, 5), name="input")
    x = layers.Conv1D(7, 4, padding="same", dilation_rate=3, name="conv")(signal)
    return keras.Model(signal, x), [conv1d_row("", "conv")]


@twin("conv_transpose_output_padding", channels_last=("input", "output"))
def conv_transpose_output_padding():
    import keras
    from keras import layers

    # "valid" keeps every row that the kernel reaches, and torch's padding takes one off the
    # start. Its output padding reaches beyond the last row, where only the bias is: one more
    # row of zeros going in makes that place.
    image = keras.Input((16, 12, 5), name="input")
    x = layers.ZeroPadding2D(((0, 1), (0, 0)))(image)
    x = layers.Conv2DTranspose(7, 3, strides=3, name="conv")(x)
    x = layers.Cropping2D(((1, 2), (1, 0)))(x)
    return keras.Model(image, x), [conv2d_transpose("", "conv")]


def stride2(height, width):
    import keras
    from keras import layers

    image = keras.Input((height, width, 3), name="input")
    x = layers.Conv2D(7, 3, strides=2, name="conv")(layers.ZeroPadding2D(1)(image))
    return keras.Model(image, x), [conv2d("", "conv")]


@twin("stride2_even", channels_last=("input", "output"))
def stride2_even():
    return stride2(32, 24)


@twin("stride2_odd", channels_last=("input", "output"))
def stride2_odd():
    return stride2(33, 25)


# TensorFlow's own padding, which torch's model writes by hand.
@twin("same_padding_by_hand", channels_last=("input",))
def same_padding_by_hand():
    import keras
    from keras import layers

    image = keras.Input((None, None, 3), name="input")
    x = layers.Conv2D(7, 3, strides=2, padding="same", activation="relu", name="conv1")(image)
    x = layers.Conv2D(11, 3, strides=2, padding="same", activation="relu", name="conv2")(x)
    x = layers.Dense(9, name="head")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, x), [
        conv2d("0", "conv1"),
        conv2d("2", "conv2"),
        linear("6", "head"),
    ]

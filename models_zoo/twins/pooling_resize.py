"""Twins of pooling and resizing."""

from models_zoo.twins import twin


@twin("adaptive_avg_pool", channels_last=("input", "output"), weights=False)
def adaptive_avg_pool():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    return keras.Model(image, layers.AveragePooling2D(4)(image)), []


# "same" pools divide by the pixels that are there, as torch does where a window hangs over;
# sizes of 16 and 12 are overhung at the end only, by one.
@twin("avg_pool_ceil", channels_last=("input", "output"), weights=False)
def avg_pool_ceil():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    x = layers.AveragePooling2D(3, strides=2, padding="same")(image)
    return keras.Model(image, x), []


@twin("resize_bilinear", channels_last=("image", "output"), weights=False)
def resize_bilinear():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="image")
    return keras.Model(image, layers.Resizing(23, 19, interpolation="bilinear")(image)), []


@twin("resize_bilinear_antialias", channels_last=("image", "output"), weights=False)
def resize_bilinear_antialias():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="image")
    x = layers.Resizing(7, 5, interpolation="bilinear", antialias=True)(image)
    return keras.Model(image, x), []


# Keras takes the neighbour nearest to a pixel's centre, torch the one at its corner, so the
# rows are picked by number.
@twin("resize_nearest", channels_last=("image", "output"), weights=False)
def resize_nearest():
    import keras
    from keras import ops

    image = keras.Input((16, 12, 5), name="image")
    rows = [row * 16 // 23 for row in range(23)]
    columns = [column * 12 // 19 for column in range(19)]
    x = ops.take(ops.take(image, rows, axis=1), columns, axis=2)
    return keras.Model(image, x), []

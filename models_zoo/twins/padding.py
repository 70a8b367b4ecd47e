"""Twins of padding: Keras pads axes in their own order, start and end."""

from models_zoo.twins import twin


@twin("pad_reflect", channels_last=("input", "output"), weights=False)
def pad_reflect():
    import keras
    from keras import ops

    image = keras.Input((16, 12, 5), name="input")
    x = ops.pad(image, ((0, 0), (3, 4), (1, 2), (0, 0)), mode="reflect")
    return keras.Model(image, x), []


# No mode of Keras repeats the edge: its rows are picked by number.
@twin("pad_replicate", channels_last=("input", "output"), weights=False)
def pad_replicate():
    import keras
    from keras import ops

    image = keras.Input((16, 12, 5), name="input")
    rows = [min(max(row, 0), 15) for row in range(-3, 16 + 4)]
    columns = [min(max(column, 0), 11) for column in range(-1, 12 + 2)]
    return keras.Model(image, ops.take(ops.take(image, rows, axis=1), columns, axis=2)), []


@twin("pad_negative", channels_last=("input", "output"), weights=False)
def pad_negative():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    return keras.Model(image, layers.Cropping2D(((3, 1), (1, 2)))(image)), []


@twin("roll", channels_last=("image", "output"), weights=False)
def roll():
    import keras
    from keras import ops

    image = keras.Input((16, 12, 5), name="image")
    return keras.Model(image, ops.roll(image, (-3, 2), axis=(1, 2))), []

"""Twins of padding: Keras pads axes in their own order, start and end."""

from models_zoo.twins import twin


@twin("pad_reflect", channels_last=("input", "output"))
def pad_reflect():
    import keras
    from keras import ops

    image = keras.Input((16, 12, 5), name="input")
    x = ops.pad(image, ((0, 0), (3, 4), (1, 2), (0, 0)), mode="reflect")
    return keras.Model(image, x), []


@twin("pad_negative", channels_last=("input", "output"))
def pad_negative():
    import keras
    from keras import layers

    image = keras.Input((16, 12, 5), name="input")
    return keras.Model(image, layers.Cropping2D(((3, 1), (1, 2)))(image)), []


@twin("roll", channels_last=("image", "output"))
def roll():
    import keras
    from keras import ops

    image = keras.Input((16, 12, 5), name="image")
    return keras.Model(image, ops.roll(image, (-3, 2), axis=(1, 2))), []

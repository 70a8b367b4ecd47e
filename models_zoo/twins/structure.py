"""Twins of models with several inputs or outputs."""

from models_zoo.twins import twin
from models_zoo.twins.weights import conv2d, linear


@twin("several_inputs_and_outputs", channels_last=("image",))
def several_inputs_and_outputs():
    import keras
    from keras import layers

    image = keras.Input((9, 7, 3), name="image")
    features = keras.Input((11,), name="features")
    left = layers.GlobalAveragePooling2D()(layers.Conv2D(7, 3, name="of_image")(image))
    right = layers.Dense(7, name="of_features")(features)
    outputs = [layers.Subtract()([left, right]), right, layers.Multiply()([left, right])]
    return keras.Model([image, features], outputs), [
        conv2d("of_image", "of_image"),
        linear("of_features", "of_features"),
    ]


@twin("dict_output")
def dict_output():
    import keras
    from keras import layers

    x = keras.Input((11,), name="x")
    hidden = layers.Dense(13, activation="tanh", name="trunk")(x)
    heads = {name: layers.Dense(6, name=name)(hidden) for name in ("logits", "boxes")}
    return keras.Model(x, {**heads, "hidden": hidden}), [
        linear("trunk", "trunk"),
        linear("logits", "logits"),
        linear("boxes", "boxes"),
    ]

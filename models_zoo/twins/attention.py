"""Twins of attention and transformers.

Keras keeps query, key and value apart, each by heads; torch stacks the three in one weight.
"""

from models_zoo.twins import twin
from models_zoo.twins.layers import custom_layers
from models_zoo.twins.weights import (
    conv2d,
    linear,
    multi_head_attention,
    norm,
    parameter,
    stacked_attention,
)


@twin("multihead_attention")
def multihead_attention():
    import keras
    from keras import layers, ops

    x = keras.Input((None, 12), name="x")
    attended, scores = layers.MultiHeadAttention(3, 4, name="attention")(
        x, x, return_attention_scores=True
    )
    # torch gives the mean over the heads.
    return keras.Model(x, [attended, ops.mean(scores, axis=1)]), [
        multi_head_attention("attention", "attention")
    ]


@twin("transformer_encoder")
def transformer_encoder():
    import keras
    from keras import layers, ops

    tokens = keras.Input((None, 12), name="x")
    lengths = keras.Input((), dtype="int64", name="lengths")
    # Counted along the tokens, since their number is known only when the model runs.
    places = ops.cumsum(ops.ones_like(tokens[:, :, 0], dtype="int64"), axis=1)
    within = places <= ops.expand_dims(lengths, 1)
    mask = ops.expand_dims(within, 1)
    x, table = tokens, []
    for level in range(2):
        source, name = f"encoder.layers.{level}", f"layer{level}"
        y = layers.MultiHeadAttention(4, 3, name=f"{name}_attention")(x, x, attention_mask=mask)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(layers.Add()([x, y]))
        y = layers.Dense(20, activation="relu", name=f"{name}_widen")(x)
        y = layers.Dense(12, name=f"{name}_narrow")(y)
        x = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(layers.Add()([x, y]))
        table += [
            multi_head_attention(f"{source}.self_attn", f"{name}_attention"),
            norm(f"{source}.norm1", f"{name}_norm1"),
            linear(f"{source}.linear1", f"{name}_widen"),
            linear(f"{source}.linear2", f"{name}_narrow"),
            norm(f"{source}.norm2", f"{name}_norm2"),
        ]
    # torch's fast path leaves zeros where a sequence is padded.
    x = x * ops.cast(ops.expand_dims(within, -1), "float32")
    return keras.Model([tokens, lengths], x), table


@twin("vit", channels_last=("image",))
def vit():
    import keras
    from keras import layers

    custom = custom_layers()
    image = keras.Input((16, 24, 3), name="image")
    x = layers.Conv2D(12, 8, strides=8, name="patches")(image)
    x = layers.Reshape((6, 12))(x)
    x = custom["Position"](name="position")(custom["ClassToken"](name="class_token")(x))
    table = [
        conv2d("patches", "patches"),
        parameter("class_token", "class_token", "token"),
        parameter("position", "position", "position"),
    ]
    for level in range(2):
        source, name = f"blocks.{level}", f"block{level}"
        y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
        y = layers.MultiHeadAttention(3, 4, name=f"{name}_attention")(y, y)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
        y = layers.Dense(24, activation="gelu", name=f"{name}_widen")(y)
        x = layers.Add()([x, layers.Dense(12, name=f"{name}_narrow")(y)])
        table += [
            norm(f"{source}.norm1", f"{name}_norm1"),
            stacked_attention(f"{source}.qkv.weight", f"{source}.qkv.bias", f"{source}.project",
                              f"{name}_attention"),
            norm(f"{source}.norm2", f"{name}_norm2"),
            linear(f"{source}.mlp.0", f"{name}_widen"),
            linear(f"{source}.mlp.2", f"{name}_narrow"),
        ]  # fmt: skip
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x[:, 0])
    table += [norm("norm", "norm"), linear("head", "head")]
    return keras.Model(image, layers.Dense(10, name="head")(x)), table

"""Twins of attention and transformers.

Keras keeps query, key and value apart, each by heads; torch stacks the three in one weight.
"""

from models_zoo.twins import twin
from models_zoo.twins.layers import custom_layers
from models_zoo.twins.weights import (
    conv2d,
    embedding,
    flipped,
    kept_linear,
    linear,
    multi_head_attention,
    norm,
    parameter,
    stacked_attention,
    tied,
)


def places_of(tokens):
    """0, 1, 2 ... along the tokens, whose number is known only when the model runs."""
    from keras import ops

    return ops.cumsum(ops.ones_like(tokens), axis=1) - 1


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
    places = places_of(ops.cast(tokens[:, :, 0], "int64"))
    within = places < ops.expand_dims(lengths, 1)
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


@twin("bert")
def bert():
    import keras
    from keras import layers, ops

    tokens = keras.Input((None,), dtype="int64", name="input_ids")
    attended = keras.Input((None,), dtype="int64", name="attention_mask")
    mask = ops.cast(attended, "bool")
    # Of a sentence without a word to attend to torch makes zeros, a softmax the mean of all
    # values: MultiHeadAttention cannot be told, so its parts stand here.
    sees = ops.cast(ops.any(mask, axis=1), "float32")[:, None, None, None]

    def attention(x, name):
        parts = [layers.Reshape((-1, 3, 8))(layers.Dense(24, name=f"{name}_{part}")(x))
                 for part in ("query", "key", "value")]  # fmt: skip
        mixed = ops.dot_product_attention(*parts, mask=mask[:, None, None, :]) * sees
        return layers.Dense(24, name=f"{name}_project")(layers.Reshape((-1, 24))(mixed))

    x = layers.Add()([
        layers.Embedding(50, 24, name="words")(tokens),
        layers.Embedding(32, 24, name="places")(places_of(tokens)),
        layers.Embedding(2, 24, name="segments")(ops.zeros_like(tokens)),
    ])  # fmt: skip
    x = layers.LayerNormalization(epsilon=1e-12, name="embedded")(x)
    source = "model.bert.embeddings"
    table = [
        embedding(f"{source}.word_embeddings", "words"),
        embedding(f"{source}.position_embeddings", "places"),
        embedding(f"{source}.token_type_embeddings", "segments"),
        norm(f"{source}.LayerNorm", "embedded"),
    ]
    for level in range(2):
        source, name = f"model.bert.encoder.layer.{level}", f"layer{level}"
        y = attention(x, name)
        x = layers.LayerNormalization(epsilon=1e-12, name=f"{name}_norm1")(layers.Add()([x, y]))
        y = layers.Dense(40, activation="gelu", name=f"{name}_widen")(x)
        y = layers.Dense(24, name=f"{name}_narrow")(y)
        x = layers.LayerNormalization(epsilon=1e-12, name=f"{name}_norm2")(layers.Add()([x, y]))
        table += [
            linear(f"{source}.attention.self.query", f"{name}_query"),
            linear(f"{source}.attention.self.key", f"{name}_key"),
            linear(f"{source}.attention.self.value", f"{name}_value"),
            linear(f"{source}.attention.output.dense", f"{name}_project"),
            norm(f"{source}.attention.output.LayerNorm", f"{name}_norm1"),
            linear(f"{source}.intermediate.dense", f"{name}_widen"),
            linear(f"{source}.output.dense", f"{name}_narrow"),
            norm(f"{source}.output.LayerNorm", f"{name}_norm2"),
        ]
    x = layers.Dense(24, activation="gelu", name="transform")(x)
    x = layers.LayerNormalization(epsilon=1e-12, name="transformed")(x)
    source = "model.cls.predictions"
    table += [
        linear(f"{source}.transform.dense", "transform"),
        norm(f"{source}.transform.LayerNorm", "transformed"),
        # One matrix with the words' embedding in torch, and listed for both.
        linear(f"{source}.decoder", "head"),
        tied(f"{source}.bias", f"{source}.decoder.bias"),
    ]
    return keras.Model([tokens, attended], layers.Dense(50, name="head")(x)), table


@twin("gpt2")
def gpt2():
    import keras
    from keras import layers, ops

    tokens = keras.Input((None,), dtype="int64", name="input_ids")
    x = layers.Add()([
        layers.Embedding(50, 24, name="words")(tokens),
        layers.Embedding(32, 24, name="places")(places_of(tokens)),
    ])  # fmt: skip
    table = [
        embedding("model.transformer.wte", "words"),
        embedding("model.transformer.wpe", "places"),
    ]
    for level in range(2):
        source, name = f"model.transformer.h.{level}", f"layer{level}"
        y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm1")(x)
        y = layers.MultiHeadAttention(3, 8, name=f"{name}_attention")(y, y, use_causal_mask=True)
        x = layers.Add()([x, y])
        y = layers.LayerNormalization(epsilon=1e-5, name=f"{name}_norm2")(x)
        y = ops.gelu(layers.Dense(96, name=f"{name}_widen")(y), approximate=True)
        x = layers.Add()([x, layers.Dense(24, name=f"{name}_narrow")(y)])
        table += [
            norm(f"{source}.ln_1", f"{name}_norm1"),
            stacked_attention(f"{source}.attn.c_attn.weight", f"{source}.attn.c_attn.bias",
                              f"{source}.attn.c_proj", f"{name}_attention", flipped),
            norm(f"{source}.ln_2", f"{name}_norm2"),
            kept_linear(f"{source}.mlp.c_fc", f"{name}_widen"),
            kept_linear(f"{source}.mlp.c_proj", f"{name}_narrow"),
        ]  # fmt: skip
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    table += [norm("model.transformer.ln_f", "norm"), linear("model.lm_head", "head")]
    return keras.Model(tokens, layers.Dense(50, use_bias=False, name="head")(x)), table

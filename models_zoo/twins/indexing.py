"""Twins of models that index."""

from models_zoo.twins import twin
from models_zoo.twins.weights import embedding as embedding_row


@twin("embedding")
def embedding():
    import keras
    from keras import layers

    tokens = keras.Input((None,), dtype="int64", name="tokens")
    return keras.Model(tokens, layers.Embedding(11, 6, name="embedding")(tokens)), [
        embedding_row("embedding", "embedding")
    ]

"""Twins of the recurrent networks.

A GRU resets after the recurrent product (``reset_after``, Keras's default since version 2), as
torch's does; the other kind is wrong by little enough to miss.
"""

from models_zoo.twins import twin
from models_zoo.twins.weights import gru as gru_row
from models_zoo.twins.weights import lstm as lstm_row


@twin("lstm")
def lstm():
    import keras
    from keras import layers, ops

    sequence = keras.Input((None, 5), name="sequence")
    output, hidden, _ = layers.LSTM(7, return_sequences=True, return_state=True, name="lstm")(
        sequence
    )
    # torch's state has an axis for the layers, of which there is one.
    return keras.Model(sequence, [output, ops.expand_dims(hidden, 0)]), [lstm_row("layer", "lstm")]


@twin("lstm_bidirectional")
def lstm_bidirectional():
    import keras
    from keras import layers, ops

    sequence = keras.Input((None, 5), name="sequence")
    output, forward, _, backward, _ = layers.Bidirectional(
        layers.LSTM(7, return_sequences=True, return_state=True), name="lstm"
    )(sequence)
    return keras.Model(sequence, [output, ops.stack([forward, backward])]), [
        lstm_row("layer", "lstm/forward_lstm"),
        lstm_row("layer", "lstm/backward_lstm", "l0_reverse"),
    ]


@twin("gru")
def gru():
    import keras
    from keras import layers, ops

    sequence = keras.Input((None, 5), name="sequence")
    output, hidden = layers.GRU(7, return_sequences=True, return_state=True, name="gru")(sequence)
    # What torch hands on of a GRU's state is the whole of it: one layer, then the batch.
    return keras.Model(sequence, [output, ops.expand_dims(hidden, 0)]), [gru_row("layer", "gru")]


@twin("lstm_initial_state")
def lstm_initial_state():
    import keras
    from keras import layers, ops

    sequence = keras.Input((None, 5), name="sequence")
    # One row a layer, then the batch.
    hidden = keras.Input(batch_shape=(2, None, 7), name="hidden")
    cell = keras.Input(batch_shape=(2, None, 7), name="cell")
    x, states = sequence, []
    for level in range(2):
        x, *state = layers.LSTM(7, return_sequences=True, return_state=True, name=f"lstm{level}")(
            x, initial_state=[hidden[level], cell[level]]
        )
        states.append(state)
    finals = [ops.stack(each) for each in zip(*states)]
    return keras.Model([sequence, hidden, cell], [x, *finals]), [
        lstm_row("lstm", "lstm0", "l0"),
        lstm_row("lstm", "lstm1", "l1"),
    ]

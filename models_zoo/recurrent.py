"""Recurrent networks: a state carried along a sequence."""

import torch
from torch import nn

from models_zoo import Tensor, model

LENGTHS = {"length": (12, 17)}


class Outputs(nn.Module):
    """Only the sequence that a recurrent layer returns, and its final hidden state."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, sequence):
        output, state = self.layer(sequence)
        return output, state[0] if isinstance(state, tuple) else state


class FromInitialState(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, num_layers=2, batch_first=True)

    def forward(self, sequence, hidden, cell):
        output, (hidden, cell) = self.lstm(sequence, (hidden, cell))
        return output, hidden, cell


class PackedSentences(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 7, batch_first=True)

    def forward(self, sequence, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(
            sequence, lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        output, (hidden, _) = self.lstm(packed)
        output, _ = nn.utils.rnn.pad_packed_sequence(
            output, batch_first=True, total_length=sequence.shape[1]
        )
        return output, hidden[-1]


class StopsAtLongest(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(5, 7)

    def forward(self, sequence, lengths):
        hidden = sequence.new_zeros(sequence.shape[0], 7)
        for step in range(int(lengths.max())):
            alive = (step < lengths).unsqueeze(1)
            hidden = torch.where(alive, self.cell(sequence[:, step], hidden), hidden)
        return hidden


@model(
    sequence=Tensor("batch", "length", 5),
    sizes=LENGTHS,
    exercises=("lstm",),
    tier="smoke",
)
def lstm():
    # Gate order: torch keeps i, f, g, o; ONNX i, o, f, c; Keras i, f, c, o.
    return Outputs(nn.LSTM(5, 7, batch_first=True))


@model(sequence=Tensor("batch", "length", 5), sizes=LENGTHS, exercises=("lstm",))
def lstm_bidirectional():
    # ONNX gives (length, direction, batch, hidden): the directions must be put side by
    # side again, and the backward half must not be read from the wrong end.
    return Outputs(nn.LSTM(5, 7, batch_first=True, bidirectional=True))


@model(sequence=Tensor("batch", "length", 5), sizes=LENGTHS, exercises=("gru",))
def gru():
    # torch's reset gate acts after the recurrent product (linear_before_reset in ONNX,
    # reset_after in Keras); the other way round is wrong by little enough to miss.
    return Outputs(nn.GRU(5, 7, batch_first=True))


@model(
    sequence=Tensor("batch", "length", 5),
    hidden=Tensor(2, "batch", 7),
    cell=Tensor(2, "batch", 7),
    sizes=LENGTHS,
    exercises=("lstm",),
)
def lstm_initial_state():
    # Two layers, and a batch of two: a state transposed by mistake keeps its shape.
    return FromInitialState()


@model(
    sequence=Tensor("batch", 12, 5),
    lengths=Tensor("batch", dtype="int64", range=(1, 13)),
    probes={"short": {"lengths": [3, 1]}, "ascending": {"lengths": [2, 12]}},
    exercises=("pack_padded_sequence", "lstm"),
)
def lstm_packed():
    # Steps beyond a row's length are zero and the state is the last valid one. A trace
    # must keep the sorting by length as an operation, not as the order it saw.
    return PackedSentences()


@model(
    sequence=Tensor("batch", 12, 5),
    lengths=Tensor("batch", dtype="int64", range=(1, 8)),
    probes={"longer": {"lengths": [12, 9]}, "shorter": {"lengths": [1, 1]}},
    exercises=("gru_cell", "where"),
)
def gru_cell_to_longest():
    # The number of steps comes from the lengths: a trace bakes that of the example, so
    # longer sentences lose their ends in silence.
    return StopsAtLongest()

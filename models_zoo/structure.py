"""What goes in and what comes out: several, named, nested, missing, shared, random."""

import torch
import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model


class TwoTowers(nn.Module):
    """A wide and a narrow input, of which outputs mix one, the other or both."""

    def __init__(self):
        super().__init__()
        self.of_image = nn.Conv2d(3, 7, 3)
        self.of_features = nn.Linear(11, 7)

    def forward(self, image, features):
        left = self.of_image(image).mean(dim=(2, 3))
        right = self.of_features(features)
        return left - right, right, left * right


# Two outputs of equal shape: swapped, only their values tell.
@model(
    image=Tensor("batch", 3, 9, 7),
    features=Tensor("batch", 11),
    exercises=("several_inputs", "several_outputs"),
)
def several_inputs_and_outputs():
    return TwoTowers()


class NamedOutputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.trunk = nn.Linear(11, 13)
        self.logits = nn.Linear(13, 6)
        self.boxes = nn.Linear(13, 6)

    def forward(self, x):
        hidden = torch.tanh(self.trunk(x))
        return {"logits": self.logits(hidden), "boxes": self.boxes(hidden), "hidden": hidden}


# Keys in no alphabetical order, and runtimes that sort them.
@model(x=Tensor("batch", 11), exercises=("dict_output",))
def dict_output():
    return NamedOutputs()


class TiedAutoencoder(nn.Module):
    """Encodes and decodes with one matrix, as language models tie their embedding."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(11, 6)
        self.bias = nn.Parameter(torch.randn(11))

    def forward(self, x):
        return F.linear(torch.tanh(self.encode(x)), self.encode.weight.t(), self.bias)


@model(x=Tensor("batch", 11), exercises=("tied_weights",))
def tied_weights():
    return TiedAutoencoder()


class SliceAssignment(nn.Module):
    def forward(self, x):
        y = x.clone()
        y[:, 1:3] = 0.5
        y[:, 3] = y[:, 0] * 2
        y[:, ::2] += 1.0
        return y


@model(x=Tensor("batch", 6, 5), exercises=("slice_assignment",))
def slice_assignment():
    return SliceAssignment()


class HandsOn(nn.Module):
    """Gives an input back as it came, and one answer twice."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 6)

    def forward(self, x, state):
        answer = self.linear(x)
        return answer, state, answer


# An output that no node makes, and two that are one: graphs have one name for each.
@model(x=Tensor("batch", 6), state=Tensor("batch", 4), exercises=("several_outputs",))
def input_handed_on():
    return HandsOn()


class Nested(nn.Module):
    def forward(self, x):
        return {"pair": (x + 1, x * 2), "nothing": None, "last": x.sum(1)}


# As transformers' outputs are: tuples in a dict, and what was not asked for is None.
@model(x=Tensor("batch", 5), exercises=("dict_output", "nested_outputs"))
def nested_outputs():
    return Nested()


class Inject(nn.Module):
    def forward(self, x, mask, source):
        y = x.masked_scatter(mask.unsqueeze(-1), source)
        return y, y.mean()


# How pictures come into language models: rows of the source go, in order, where the mask says so,
# whose last axis is to be spread first. And an output without a dimension.
@model(
    x=Tensor("batch", 6, 5),
    mask=Tensor("batch", 6, dtype="bool"),
    source=Tensor("batch", 6, 5),
    exercises=("masked_scatter", "scalar_output"),
)
def masked_scatter():
    return Inject()


class WriteThroughView(nn.Module):
    """Changes a view, and with it the tensor it looks into."""

    def forward(self, x):
        y = x.clone()
        head, tail = y.chunk(2, dim=1)
        head.mul_(3.0)
        tail.transpose(0, 1).clamp_(min=0)
        return y


# A tracer that forgets that the view and the tensor are one (TorchScript's exporter does)
# returns the input unchanged.
@model(x=Tensor("batch", 6, 5), exercises=("inplace_view", "chunk"))
def write_through_view():
    return WriteThroughView()


# Left in train mode, on purpose (Monte Carlo dropout): exporters that force eval give
# one answer where the model gives a spread.
@model(input=Tensor("batch", 64), exercises=("dropout",), train=True, stochastic=True)
def dropout_in_train_mode():
    return nn.Sequential(nn.Linear(64, 33), nn.Dropout(0.5))


class Noise(nn.Module):
    def forward(self, x):
        return x + 0.5 * torch.randn(x.shape, device=x.device)


# Drawn anew at each call; folded into the graph, it is the same noise for ever.
@model(x=Tensor("batch", 48), exercises=("randn",), stochastic=True)
def added_noise():
    return Noise()

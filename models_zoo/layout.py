"""Axes: what a converter that moves channels last can mix up without a word."""

import torch
from torch import nn

from models_zoo import Tensor, model


# Rows of the weight follow channel, height, width; channels-last flattens another order.
@model(
    input=Tensor("batch", 3, 10, 6), exercises=("flatten", "linear"), tier="smoke", classifier=True
)
def flatten_linear():
    return nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 8 * 4, 9))


class Patches(nn.Module):
    """Cuts an image into patches of 4 by 4, the way vision transformers do."""

    def forward(self, image):
        batch, channels, height, width = image.shape
        x = image.reshape(batch, channels, height // 4, 4, width // 4, 4)
        x = x.permute(0, 2, 4, 1, 3, 5)
        return x.reshape(batch, (height // 4) * (width // 4), channels * 16)


# Six axes: beyond what some runtimes transpose.
@model(
    image=Tensor("batch", 3, "height", "width"),
    sizes={"height": (16, 20), "width": (24, 12)},
    exercises=("reshape", "permute"),
)
def permute_reshape():
    return Patches()


# The factor is cut from the channels in an order of its own: DepthToSpace CRD, not DCR.
@model(input=Tensor("batch", 12, 7, 5), exercises=("pixel_shuffle",))
def pixel_shuffle():
    return nn.PixelShuffle(2)


class ChannelShuffle(nn.Module):
    """ShuffleNet's: view as groups, swap, view back."""

    def __init__(self, groups):
        super().__init__()
        self.groups = groups

    def forward(self, image):
        batch, channels, height, width = image.shape
        x = image.view(batch, self.groups, channels // self.groups, height, width)
        return x.transpose(1, 2).reshape(batch, channels, height, width)


@model(input=Tensor("batch", 6, 8, 5), exercises=("view", "transpose", "reshape"))
def channel_shuffle():
    return nn.Sequential(nn.Conv2d(6, 6, 1), ChannelShuffle(3))


# With all dimensions equal no permutation shows in a shape: only values tell.
CUBE = Tensor(4, 4, 4, 4)


class Rotate(nn.Module):
    def forward(self, x):
        return x.permute(0, 3, 1, 2) + x.transpose(2, 3)


@model(x=CUBE, exercises=("permute", "transpose", "add"))
def all_dimensions_equal():
    return Rotate()


class SubtractOneAxis(nn.Module):
    """A vector broadcast along the last axis, and one along the channels."""

    def __init__(self):
        super().__init__()
        self.register_buffer("of_columns", torch.randn(4))
        self.register_buffer("of_channels", torch.randn(4, 1, 1))

    def forward(self, x):
        return self.of_columns - (x - self.of_channels)


# Constants as long as every axis, on the left and on the right of a subtraction. No
# shape tells which axis is meant: out of onnx2tf 1.29 it is wrong in every layout.
@model(x=CUBE, exercises=("sub", "broadcast"))
def broadcast_sub():
    return SubtractOneAxis()


class DivideAxes(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("of_rows", torch.rand(4, 1) + 0.5)
        self.register_buffer("table", torch.rand(4, 4) + 0.5)

    def forward(self, x):
        return self.of_rows / (x / self.table)


@model(x=Tensor(4, 4, 4, 4, range=(0.5, 2.0)), exercises=("div", "broadcast"))
def broadcast_div():
    return DivideAxes()


class SoftmaxPerAxis(nn.Module):
    def forward(self, x):
        return x.softmax(dim=1), x.softmax(dim=2), x.softmax(dim=-1), x.argmax(dim=1)


# An axis number that is not moved with the layout reduces another axis of the same size;
# out of onnx2tf 1.29 the three softmaxes are one and the same tensor. Loud, what does not take the
# maximum off first overflows.
@model(
    x=CUBE,
    probes={"loud": {"x": Tensor(4, 4, 4, 4, range=(-200, 200))}},
    exercises=("softmax", "argmax"),
)
def softmax_of_every_axis():
    return SoftmaxPerAxis()

"""Padding: what stands beyond the edge, and edges that are cut instead."""

import torch
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 5, 16, 12)


# Four different amounts: torch names the last axis first, ONNX all starts before all ends.
@model(input=IMAGE, exercises=("reflect",))
def pad_reflect():
    return nn.ReflectionPad2d((1, 2, 3, 4))


@model(input=IMAGE, exercises=("replicate",))
def pad_replicate():
    return nn.ReplicationPad2d((1, 2, 3, 4))


# A negative amount cuts; TensorFlow's pad refuses it.
@model(input=IMAGE, exercises=("negative_pad",))
def pad_negative():
    return nn.ConstantPad2d((-1, -2, -3, -1), 0.0)


class Roll(nn.Module):
    def __init__(self, shifts, dims):
        super().__init__()
        self.shifts, self.dims = shifts, dims

    def forward(self, image):
        return torch.roll(image, self.shifts, self.dims)


# Swin's shifted windows.
@model(image=IMAGE, exercises=("roll",))
def roll():
    return Roll((-3, 2), (2, 3))


# More than a whole turn: the TorchScript exporter makes two slices of a roll, and here
# one of them is empty and the other everything, so that nothing moves.
@model(image=IMAGE, exercises=("roll",))
def roll_more_than_once_around():
    return Roll((19, -14), (2, 3))

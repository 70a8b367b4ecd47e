"""Two honest models, for tests of what is around them."""

import torch
from torch import nn

from models_zoo import Tensor, model


@model(input=Tensor("batch", 6))
def tiny_linear():
    return nn.Linear(6, 4)


@model(input=Tensor("batch", 6))
def tiny_mlp():
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))


class NotANumber(nn.Module):
    def forward(self, input):
        return torch.log(input - input.abs() - 1)


@model(input=Tensor("batch", 6))
def tiny_nan():
    return NotANumber()

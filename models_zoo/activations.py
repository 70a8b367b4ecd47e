"""Pointwise functions: those with two definitions, two roundings or a hidden threshold."""


import torch
from torch import nn

from models_zoo import Tensor, model

HALVES = [[-3.5, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.5, 4.5], [1.25, -0.0] + [6.5] * 7]
INTEGERS = [[-7, -6, -5, -4, -3, -2, -1, 0, 7], [7, 6, 5, 4, 3, 2, 1, -8, -9]]
EDGES = [[-90.0, -30.0, -3.0, -1.0, 0.0, 1.0, 3.0, 30.0, 90.0], [2.999, -2.999] + [20.5] * 7]


class Apply(nn.Module):
    """A linear layer, so that there is something to fuse into, and a function."""

    def __init__(self, function):
        super().__init__()
        self.linear = nn.Linear(9, 7)
        self.function = function

    def forward(self, x):
        return self.function(self.linear(x))


class Pointwise(nn.Module):
    """A function and nothing else: what is asked arrives at the function unchanged."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class DivideBy(nn.Module):
    """By divisors of both signs, and none of them zero."""

    def __init__(self, function, dtype):
        super().__init__()
        divisors = torch.tensor([4, -4, 3, -3, 2, -2, 1, 5, -5], dtype=dtype)
        self.register_buffer("divisors", divisors)
        self.function = function

    def forward(self, x):
        return self.function(x, self.divisors)


class RoundToHalves(nn.Module):
    def forward(self, x):
        # Doubling, rounding and halving makes halves; rounding those is the question.
        return torch.round(torch.round(x * 2) / 2)


@model(x=Tensor("batch", 9), exercises=("gelu",), tier="smoke")
def gelu_erf():
    # The exact one. Its tanh approximation differs by up to 5e-4.
    return Apply(nn.GELU())


@model(x=Tensor("batch", 9), exercises=("gelu",))
def gelu_tanh():
    # The approximation, and the one that other frameworks call "gelu" at times.
    return Apply(nn.GELU(approximate="tanh"))


@model(x=Tensor("batch", 9), probes={"edges": {"x": EDGES}}, exercises=("silu",))
def silu():
    return Pointwise(nn.SiLU())


@model(x=Tensor("batch", 9), probes={"edges": {"x": EDGES}}, exercises=("hardswish",))
def hardswish():
    # Built on torch's hard sigmoid, x/6 + 1/2; Keras 2's was x/5 + 1/2.
    return Pointwise(nn.Hardswish())


@model(input=Tensor("batch", 5, 16, 12), exercises=("prelu",))
def prelu():
    # A slope for each channel; a single one, torch's default, fits along any axis.
    return nn.PReLU(5)


@model(x=Tensor("batch", 9), probes={"halves": {"x": HALVES}}, exercises=("round",))
def round_halves():
    # Halves go to the even neighbour; away from zero is the other school.
    return RoundToHalves()


@model(
    x=Tensor("batch", 9, range=(-8, 8)),
    probes={"halves": {"x": HALVES}, "whole": {"x": INTEGERS}},
    exercises=("remainder",),
)
def remainder_of_negatives():
    # torch's remainder takes the sign of the divisor, C's that of the dividend.
    # Whole quotients show a division replaced by a product with a rounded reciprocal.
    return DivideBy(torch.remainder, torch.float32)


@model(
    x=Tensor("batch", 9, dtype="int64", range=(-9, 10)),
    probes={"whole": {"x": INTEGERS}},
    exercises=("floor_divide",),
)
def floor_divide_of_integers():
    # Towards minus infinity; the integer division of ONNX and of C goes towards zero.
    return DivideBy(torch.floor_divide, torch.int64)

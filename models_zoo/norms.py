"""Norms that compute their statistics from the input itself."""

import torch
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 6, 16, 12)
TOKENS = Tensor("batch", "length", 14)
LENGTH = {"length": (9, 13)}


def faint(spec):
    """Deviations of the order of the root of epsilon, where epsilon decides the answer."""
    return Tensor(*spec.dims, range=(-1e-3, 1e-3))


def far(spec):
    """A mean a thousand times the deviation: as the difference of two means, of the squares and
    squared, a variance would lose all but a digit in float32."""
    return Tensor(*spec.dims, range=(999, 1001))


def hard(name, spec):
    return {"faint": {name: faint(spec)}, "far": {name: far(spec)}}


# ONNX had no GroupNormalization for long: a reshape, an InstanceNorm, a reshape, and
# gamma per channel instead of per group.
@model(input=IMAGE, exercises=("group_norm",), tier="smoke")
def group_norm():
    return nn.Sequential(nn.Conv2d(6, 8, 3), nn.GroupNorm(4, 8, eps=1e-3))


# One group is the norm over everything; onnx2tf 1.29 answers zeros.
@model(input=IMAGE, probes=hard("input", IMAGE), exercises=("group_norm",))
def group_norm_of_one_group():
    return nn.GroupNorm(1, 6)


@model(input=IMAGE, probes=hard("input", IMAGE), exercises=("instance_norm",))
def instance_norm():
    return nn.InstanceNorm2d(6)


@model(input=TOKENS, sizes=LENGTH, probes=hard("input", TOKENS), exercises=("layer_norm",))
def layer_norm():
    return nn.LayerNorm(14)


class RMSNorm(nn.Module):
    def __init__(self, width, eps=1e-6):
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width) + 0.5)
        self.eps = eps

    def forward(self, tokens):
        mean_square = tokens.pow(2).mean(dim=-1, keepdim=True)
        return tokens * torch.rsqrt(mean_square + self.eps) * self.scale


# Written by hand, as most language models do; taken for a LayerNorm it loses the mean.
@model(
    tokens=TOKENS,
    sizes=LENGTH,
    probes={"faint": {"tokens": faint(TOKENS)}},
    exercises=("pow", "mean", "rsqrt"),
)
def rms_norm():
    return RMSNorm(14)


class UnitLength(nn.Module):
    def forward(self, tokens):
        return tokens / (tokens.norm(dim=-1, keepdim=True) + 1e-8)


# The guard against a division by nothing, as people write it. The optimiser behind torch.onnx's
# dynamo exporter takes a constant of 1e-8 and less for a zero, which need not be added.
@model(tokens=TOKENS, sizes=LENGTH, exercises=("norm", "add", "div"))
def unit_length():
    return UnitLength()

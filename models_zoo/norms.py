"""Norms that compute their statistics from the input itself."""

import torch
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 6, 16, 12)
TOKENS = Tensor("batch", "length", 14)
LENGTH = {"length": (9, 13)}


# ONNX had no GroupNormalization for long: a reshape, an InstanceNorm, a reshape, and
# gamma per channel instead of per group.
@model(input=IMAGE, exercises=("group_norm",), tier="smoke")
def group_norm():
    return nn.Sequential(nn.Conv2d(6, 8, 3), nn.GroupNorm(4, 8, eps=1e-3))


# One group is the norm over everything; onnx2tf 1.29 answers zeros.
@model(input=IMAGE, exercises=("group_norm",))
def group_norm_of_one_group():
    return nn.GroupNorm(1, 6)


@model(input=IMAGE, exercises=("instance_norm",))
def instance_norm():
    return nn.InstanceNorm2d(6)


@model(input=TOKENS, sizes=LENGTH, exercises=("layer_norm",))
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
@model(tokens=TOKENS, sizes=LENGTH, exercises=("pow", "mean", "rsqrt"))
def rms_norm():
    return RMSNorm(14)

"""Models of matrix products alone, which is what the simulated card computes."""

import torch
from torch import nn

from models_zoo import Tensor, model


def layers(*widths):
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in zip(widths, widths[1:])))


@model(input=Tensor("batch", 64), sizes={"batch": (8, 6)}, exercises=("linear",),
       tags=("sharing",))  # fmt: skip
def products():
    """8.8 MiB of weights."""
    return layers(64, 1024, 2048, 64)


@model(input=Tensor("batch", 64), exercises=("linear",))
def wide_products():
    """64 MiB of weights."""
    return layers(64, 4096, 4032)


class Determinants(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 16, bias=False)

    def forward(self, x):
        return torch.linalg.det(self.layer(x).reshape(-1, 1, 1))


@model(x=Tensor("batch", 64), exercises=("det",))
def determinants():
    """ONNX Runtime has this operator on the CPU alone."""
    return Determinants()

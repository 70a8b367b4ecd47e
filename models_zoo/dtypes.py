"""Types other than float32: what is kept, what is narrowed, what is promoted."""

import torch
from torch import nn

from models_zoo import Tensor, model

BIG = 2**31


class MLP(nn.Module):
    def __init__(self, dtype, activation=nn.GELU):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(9, 14), activation(), nn.LayerNorm(14), nn.Linear(14, 5)
        ).to(dtype)

    def forward(self, x):
        return self.layers(x)


class SecondHand(nn.Module):
    """Seconds since 1970, as the position of a clock's second hand."""

    def forward(self, seconds):
        angle = seconds * (2 * torch.pi / 60)
        return torch.sin(angle), torch.cos(angle)


class Widen(nn.Module):
    def forward(self, x):
        return x + 1, x.sum(1), x // 7


class TotalOfInt32(nn.Module):
    def forward(self, x):
        return x.sum(1), x.cumsum(1)


class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(11, 6, mode="mean")

    def forward(self, tokens):
        return self.bag(tokens)


@model(x=Tensor("batch", 9, dtype="float16"), precision="float16", exercises=("linear", "gelu"))
def float16_mlp():
    # A runtime may compute in float32 and round once: nearer to the truth, not to torch.
    return MLP(torch.float16)


@model(x=Tensor("batch", 9, dtype="bfloat16"), precision="bfloat16", exercises=("linear", "gelu"))
def bfloat16_mlp():
    # numpy has no such type, and many kernels are missing on a CPU.
    return MLP(torch.bfloat16)


@model(x=Tensor("batch", 9, dtype="float64"), precision="float64", exercises=("linear", "tanh"))
def float64_mlp():
    # Weights that are stored as float32 on the way cost eight digits.
    return MLP(torch.float64, nn.Tanh)


@model(
    seconds=Tensor("batch", 7, dtype="float64", range=(1.6e9, 1.9e9)),
    precision="float64",
    exercises=("mul", "sin", "cos"),
)
def float64_second_hand():
    # float32 knows these times only to two minutes; the factor, a Python number, stored
    # in float32 is off by most of a turn after fifty years.
    return SecondHand()


@model(
    x=Tensor("batch", 9, dtype="int64"),
    probes={"beyond_32_bits": {"x": BIG + 12345}, "below": {"x": -BIG - 12345}},
    exercises=("add", "sum", "floor_divide"),
)
def int64_arithmetic():
    # Narrowed to 32 bits everything still holds, until the values do not. The quotient
    # of a negative number is rounded down.
    return Widen()


@model(
    x=Tensor("batch", 9, dtype="int32"),
    probes={"large": {"x": 2**30}},
    exercises=("sum", "cumsum"),
)
def int32_total():
    # torch adds up int32 in int64; ONNX's ReduceSum and CumSum stay in int32.
    return TotalOfInt32()


@model(
    tokens=Tensor("batch", 5, dtype="int32", range=(0, 11)),
    exercises=("embedding_bag",),
)
def int32_embedding_bag():
    return Bag()


class InvertedMask(nn.Module):
    def forward(self, scores, mask):
        return scores + (1.0 - mask[:, None]) * -100.0


# As encoders make of a tokenizer's mask of integers what is added to their scores. torch 2.13's
# dynamo exporter fails on the number less the integers (pytorch/pytorch#194381).
@model(
    scores=Tensor("batch", 5, "length"),
    mask=Tensor("batch", "length", dtype="int64", range=(0, 2)),
    sizes={"length": (7, 11)},
    exercises=("rsub", "mul", "add"),
)
def inverted_mask():
    return InvertedMask()

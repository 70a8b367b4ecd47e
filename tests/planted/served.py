"""Models to be served from a process of their own: one honest, and some that fail only there."""

import os
import signal
import sys

import torch
from torch import nn

from models_zoo import Tensor, model

X = Tensor("batch", 6)


def served():
    """Whether this process is the service."""
    return sys.argv[0].endswith("torch_service.py")


class OfManyTypes(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 4)

    def forward(self, x, count):
        y = self.linear(x) * count
        return {"y": y, "best": y.argmax(1), "above": y > 0, "mean": y.mean(),
                "half": y.bfloat16(), "wave": torch.complex(y, -y)}  # fmt: skip


class FailsThere(nn.Module):
    def __init__(self, fail):
        super().__init__()
        self.linear, self.fail = nn.Linear(6, 4), fail

    def forward(self, x):
        if served():
            self.fail()
        return self.linear(x)


def refuse():
    raise ValueError("no such seat")


@model(x=X, count=Tensor(dtype="int64", range=(1, 3)), sizes={"batch": (2, 5)})
def of_many_types():
    return OfManyTypes()


@model(x=X)
def dies_there():
    return FailsThere(lambda: os.kill(os.getpid(), signal.SIGKILL))


@model(x=X)
def refuses_there():
    return FailsThere(refuse)


@model(input=X)
def not_built_there():
    if served():
        raise ModuleNotFoundError("No module named 'absent_there'", name="absent_there")
    return nn.Linear(6, 4)

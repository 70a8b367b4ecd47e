"""Programs whose path depends on the data: a trace sees one path and keeps it."""

import torch
from torch import nn

from models_zoo import Tensor, model


class TwoRegimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.calm = nn.Linear(6, 4)
        self.wild = nn.Linear(6, 4)

    def forward(self, x):
        if x.abs().mean() > 2:
            return self.wild(x) * 10
        return self.calm(x)


class HalveUntilSmall(nn.Module):
    def forward(self, x):
        while x.abs().max() > 1:
            x = x / 2 + 0.01
        return x


class StepAlong(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.Linear(5 + 7, 7)

    def forward(self, x):
        state = x.new_zeros(x.shape[0], 7)
        for step in range(x.shape[1]):
            state = torch.tanh(self.cell(torch.cat([x[:, step], state], dim=1)))
        return state


class Cond(nn.Module):
    def __init__(self):
        super().__init__()
        self.cond = torch.cond
        self.calm = nn.Linear(6, 4)
        self.wild = nn.Linear(6, 4)

    def forward(self, x):
        return self.cond(
            x.abs().mean() > 2,
            lambda x: self.wild(x) * 10,
            lambda x: self.calm(x),
            (x,),
        )


def scale_if_large(x):
    if bool(x.abs().mean() > 2):
        y = x * 10 + 3
    else:
        y = torch.tanh(x)
    return y


class ThenApply(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.linear = nn.Linear(6, 4)
        self.function = function

    def forward(self, x):
        return self.function(x) + self.linear(x).sum(1, keepdim=True)


@model(
    x=Tensor("batch", 6),
    probes={"other_branch": {"x": Tensor("batch", 6, range=(4, 6))}},
    exercises=("if",),
    tier="smoke",
)
def data_dependent_if():
    # Standard normal values are calm, the probe is wild and answers ten times as loud.
    return TwoRegimes()


@model(
    x=Tensor("batch", 6, range=(1.5, 1.9)),
    probes={"more_turns": {"x": 100.0}, "no_turn": {"x": 0.25}},
    exercises=("while",),
)
def while_on_a_value():
    # The example takes one turn, the probes seven and none.
    return HalveUntilSmall()


@model(
    x=Tensor("batch", "length", 5),
    sizes={"length": (4, 7)},
    exercises=("for", "linear", "tanh"),
)
def loop_over_length():
    # A Python loop over a dimension: unrolled for the length that was seen. On a longer
    # sequence the copy stops early, with an output of the right shape.
    return StepAlong()


@model(
    x=Tensor("batch", 6),
    probes={"other_branch": {"x": Tensor("batch", 6, range=(4, 6))}},
    exercises=("cond",),
)
def torch_cond():
    # The same choice, said so that an exporter can keep both branches. Early releases
    # have no torch.cond.
    return Cond()


@model(
    x=Tensor("batch", 6),
    probes={"other_branch": {"x": Tensor("batch", 6, range=(4, 6))}},
    exercises=("if",),
)
def scripted_if():
    # A scripted function within a traced model keeps both its branches.
    return ThenApply(torch.jit.script(scale_if_large))

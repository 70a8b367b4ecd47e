"""Models that a card does not survive, and one behind them that it does; on the CPU all are
well."""

import torch
from torch import nn

from models_zoo import Tensor, model


class TooLarge(nn.Module):
    """Asks for more than the card has."""

    def forward(self, x):
        if x.is_cuda:
            _, whole = torch.cuda.mem_get_info()
            x = x + torch.zeros(whole, 1, dtype=torch.uint8, device=x.device)[:1]
        return torch.tanh(x)


class Endless(nn.Module):
    """Never comes back from the card; each kernel ends, so that its process can be."""

    def forward(self, x):
        while x.is_cuda:
            torch.cuda._sleep(10**8)
            torch.cuda.synchronize()
        return torch.tanh(x)


class Asserting(nn.Module):
    """Reads behind the end of a table: CUDA's own assertion ends what the process can do."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(4, 6)

    def forward(self, x):
        rows = (x[:, 0].abs() * 0 + (1000 if x.is_cuda else 1)).long()
        return self.table(rows)[:, :6] + x


@model(x=Tensor("batch", 6))
def a_too_large():
    return TooLarge()


@model(x=Tensor("batch", 6))
def b_endless():
    return Endless()


@model(x=Tensor("batch", 6))
def c_asserting():
    return Asserting()


@model(input=Tensor("batch", 6))
def d_well():
    return nn.Linear(6, 4, bias=False)

"""Indexing: what is read, what is written, and in which order."""

import torch
from torch import nn

from models_zoo import Tensor, model


class Embedding(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 6, padding_idx=0)

    def forward(self, tokens):
        return self.embedding(tokens)


class Gather(nn.Module):
    def forward(self, x, index):
        return x.gather(2, index)


class Scatter(nn.Module):
    def forward(self, x, index, source):
        return x.scatter(1, index, source)


class OneInEachRow(nn.Module):
    def forward(self, x, columns, values):
        rows = torch.arange(x.shape[0], device=x.device)
        return x.index_put((rows, columns), values)


class Accumulate(nn.Module):
    def forward(self, x, rows, columns, values):
        return x.index_put((rows, columns), values, accumulate=True)


class TopK(nn.Module):
    def forward(self, x):
        values, index = torch.topk(x.round(), 3, dim=1)
        return values, index


class TopKOfRamp(nn.Module):
    """A ramp added, by which the probe of zeros has no ties either."""

    def forward(self, x):
        ramp = torch.linspace(0, 1, x.shape[1], device=x.device)
        return torch.topk(x + ramp[:, None], 3, dim=1)


class Kept(nn.Module):
    def forward(self, scores, boxes):
        keep = scores > 0.5
        return boxes[keep], keep.nonzero()


class CumulativeSum(nn.Module):
    def forward(self, x):
        return x.cumsum(1), x.flip(2).cumsum(2).flip(2)


class Einsum(nn.Module):
    def forward(self, x, y):
        return torch.einsum("bijk,bkjl->bli", x, y), torch.einsum("bijj->bij", x[..., :4])


@model(
    tokens=Tensor("batch", "length", dtype="int64", range=(0, 11)),
    sizes={"length": (5, 9)},
    exercises=("embedding",),
    tier="smoke",
)
def embedding():
    # Row 0 is the padding row: zeros, like any other row when it is read.
    return Embedding()


@model(
    x=Tensor("batch", 3, 7),
    index=Tensor("batch", 3, 4, dtype="int64", range=(0, 7)),
    exercises=("gather",),
)
def gather():
    # torch's gather is ONNX's GatherElements; ONNX's Gather takes whole slices.
    return Gather()


@model(
    x=Tensor("batch", 5, 6),
    index=Tensor("batch", 1, 4, dtype="int64", range=(0, 5)),
    source=Tensor("batch", 1, 4),
    exercises=("scatter",),
)
def scatter():
    # Narrower than what it writes to; one write a column, so that no two meet.
    return Scatter()


@model(
    x=Tensor("rows", 7),
    columns=Tensor("rows", dtype="int64", range=(-7, 7)),
    values=Tensor("rows"),
    sizes={"rows": (5, 8)},
    probes={"from_the_end": {"columns": [-1, -7, -2, 0, 6]}},
    exercises=("index_put",),
)
def index_put():
    # One place in each row, counted from either end.
    return OneInEachRow()


@model(
    x=Tensor(5, 7),
    rows=Tensor(6, dtype="int64", range=(0, 5)),
    columns=Tensor(6, dtype="int64", range=(0, 7)),
    values=Tensor(6),
    probes={"one_place": {"rows": 3, "columns": 2}},
    exercises=("index_put",),
)
def index_put_accumulate():
    # All six values land in one place in the probe and must add up.
    return Accumulate()


# Along an axis that is not the last, and without ties: here every index is right or wrong.
@model(x=Tensor("batch", 9, 4), exercises=("topk",))
def topk():
    return TopKOfRamp()


# How much comes out depends on the data, as after every detector: nothing, some or all.
@model(
    scores=Tensor("boxes", range=(0, 1)),
    boxes=Tensor("boxes", 4),
    sizes={"boxes": (9, 12)},
    probes={"none": {"scores": 0.25}, "all": {"scores": 0.75}},
    exercises=("boolean_index", "nonzero"),
)
def boxes_kept():
    return Kept()


@model(x=Tensor("batch", 9, 4), exercises=("topk",))
def topk_ties():
    # Rounded values tie. The values are the same everywhere; which of the equals is
    # named depends on the runtime, as torch itself promises nothing.
    return TopK()


@model(
    x=Tensor("batch", "length", 6),
    sizes={"length": (5, 9)},
    exercises=("cumsum", "flip"),
)
def cumsum():
    # From the front along one axis, from the back along another.
    return CumulativeSum()


@model(x=Tensor("batch", 3, 4, 5), y=Tensor("batch", 5, 4, 6), exercises=("einsum", "diagonal"))
def einsum():
    # A contraction over two axes with the rest turned round, and a diagonal.
    return Einsum()

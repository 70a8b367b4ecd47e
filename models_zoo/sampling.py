"""Sampling at computed places: ``grid_sample`` and ``affine_grid``.

Grids reach beyond -1 to 1, so that what stands outside the image is asked for too.
"""

import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 5, 12, 9)
GRID = Tensor("batch", 7, 8, 2, range=(-1.3, 1.3))


class GridSample(nn.Module):
    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, image, grid):
        return F.grid_sample(image, grid, **self.how)


# The last axis of the grid is (x, y): the other order from every axis of the image.
@model(image=IMAGE, grid=GRID, exercises=("grid_sample",))
def grid_sample():
    return GridSample(mode="bilinear", align_corners=False)


# -1 and 1 are the centres of the outermost pixels here and their outer edges above; without
# the flag every place moves a little.
@model(image=IMAGE, grid=GRID, exercises=("grid_sample", "align_corners"))
def grid_sample_aligned():
    return GridSample(mode="bilinear", align_corners=True)


class VolumeSample(nn.Module):
    def forward(self, volume, grid):
        return F.grid_sample(volume, grid, mode="bilinear", align_corners=False)


# Volumes: ONNX's GridSample takes them from opset 20 on.
@model(
    volume=Tensor("batch", 3, 6, 8, 7),
    grid=Tensor("batch", 4, 5, 9, 3, range=(-1.2, 1.2)),
    exercises=("grid_sample_3d",),
)
def grid_sample_volume():
    return VolumeSample()


class AffineGrid(nn.Module):
    def __init__(self, *size, align_corners):
        super().__init__()
        self.size = size
        self.align_corners = align_corners

    def forward(self, theta):
        size = (theta.shape[0], 1, *self.size)
        return F.affine_grid(theta, size, align_corners=self.align_corners)


@model(theta=Tensor("batch", 2, 3), exercises=("affine_grid",))
def affine_grid():
    return AffineGrid(7, 5, align_corners=False)


# One row, corners aligned: torch puts it at 0, ONNX's own AffineGrid at -1.
@model(theta=Tensor("batch", 2, 3), exercises=("affine_grid", "align_corners"))
def affine_grid_of_one_row():
    return AffineGrid(1, 5, align_corners=True)

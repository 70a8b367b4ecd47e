"""Pooling and resizing: which pixels a window holds, and where a pixel's centre is."""

import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 5, 16, 12)
ANY_SIZE = Tensor("batch", 5, "height", "width")


# The last window hangs over the edge and is divided by fewer pixels; 16 and 12 leave
# such a window, 15 and 13 would not. onnxruntime 1.23 gets it wrong at opsets 11 and 17,
# and 1.31 right.
@model(input=IMAGE, exercises=("avg_pool2d", "ceil_mode"), tier="smoke")
def avg_pool_ceil():
    return nn.AvgPool2d(3, stride=2, ceil_mode=True)


# Padding counts in the divisor, what hangs over the edge does not.
@model(input=IMAGE, exercises=("avg_pool2d", "ceil_mode", "padding"))
def avg_pool_ceil_padded():
    return nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True)


# All values negative: a window padded with 0 instead of -inf wins at the border.
@model(
    input=IMAGE,
    exercises=("max_pool2d", "ceil_mode"),
    probes={"negative": {"input": Tensor("batch", 5, 16, 12, range=(-3.0, -1.0))}},
)
def max_pool_ceil():
    return nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True)


# Divides evenly: an average pool with the right window.
@model(input=IMAGE, exercises=("adaptive_avg_pool2d",))
def adaptive_avg_pool():
    return nn.AdaptiveAvgPool2d((4, 3))


# Does not: windows overlap and are of two lengths, which no pool of one window has.
@model(input=IMAGE, exercises=("adaptive_avg_pool2d",))
def adaptive_avg_pool_uneven():
    return nn.AdaptiveAvgPool2d((6, 7))


# The padding does not count in the divisor: counted, only the rim is wrong.
@model(input=IMAGE, exercises=("avg_pool2d", "padding"))
def avg_pool_padding_not_counted():
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)


class PoolToQuarters(nn.Module):
    """The mean of each quarter of the image, with a window worked out from the size."""

    def forward(self, image):
        height, width = image.shape[-2:]
        return F.avg_pool2d(image, (height // 2, width // 2)).flatten(1)


# The window is half of the image's size; where half of the example's was baked in, the
# other size has an output of the right shape and of the wrong pixels (torch 2.13, dynamo).
@model(
    image=ANY_SIZE,
    sizes={"height": (16, 20), "width": (12, 16)},
    exercises=("avg_pool2d", "shape"),
)
def pool_by_size():
    return PoolToQuarters()


class Resize(nn.Module):
    """``F.interpolate`` with everything but the image fixed."""

    def __init__(self, **how):
        super().__init__()
        self.how = how

    def forward(self, image):
        return F.interpolate(image, **self.how)


# Factors that do not divide: which neighbour is nearest is a matter of rounding.
@model(image=IMAGE, exercises=("nearest",))
def resize_nearest():
    return Resize(size=(23, 19), mode="nearest")


@model(image=IMAGE, exercises=("bilinear",))
def resize_bilinear():
    return Resize(size=(23, 19), mode="bilinear", align_corners=False)


# Antialiasing widens the filter by the factor; without the attribute it is plain bilinear.
@model(image=IMAGE, exercises=("bilinear", "antialias"))
def resize_bilinear_antialias():
    return Resize(size=(7, 5), mode="bilinear", align_corners=False, antialias=True)


# Torch's cubic has a = -0.75, TensorFlow's and Pillow's have -0.5.
@model(image=IMAGE, exercises=("bicubic",))
def resize_bicubic():
    return Resize(size=(23, 19), mode="bicubic", align_corners=False)


# The corners' pixels keep their places, so that the step is 15/22 down and 11/18 across; with
# the flag lost it is 16/23 and 12/19, and the shape the same.
@model(image=IMAGE, exercises=("bilinear", "align_corners"))
def resize_bilinear_aligned():
    return Resize(size=(23, 19), mode="bilinear", align_corners=True)


# One pixel out of many is the middle of them. With corners aligned the step is a division by
# zero, for which everybody writes 0; whoever takes that step here too answers with the first.
@model(image=IMAGE, exercises=("bilinear",))
def resize_to_one_pixel():
    return Resize(size=(1, 1), mode="bilinear", align_corners=False)

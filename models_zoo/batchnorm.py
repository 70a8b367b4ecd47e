"""BatchNorm: the arithmetic that converters fold, fuse, and get slightly wrong.

The worker draws every running mean and variance, gamma and beta after building (and other norms'
gammas, and biases of zeros), since BatchNorm at its initial statistics hides every fault, and puts
the statistics on the scale of what reaches the layer. ``drawn_variance`` on a module is the
interval (low, high) its variances are drawn from instead, whatever reaches it.
"""

import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 5, 16, 12)

#: A mean a thousand times the deviation: what takes the variance as E[x^2] - E[x]^2 loses it.
FAR = Tensor("batch", 5, 16, 12, range=(999, 1001))


def tiny_variance(norm, low=1e-6, high=1e-4):
    """Variances of the order of epsilon, where epsilon decides the answer."""
    norm.drawn_variance = (low, high)
    return norm


# Every framework has its own default epsilon; this one is none of them.
@model(input=IMAGE, exercises=("batch_norm", "eps"))
def batch_norm_large_eps():
    return nn.BatchNorm2d(5, eps=0.05)


# Epsilon replaced by 1e-3 (the default of Keras) is invisible at variance one and is a
# factor of several here.
@model(input=IMAGE, exercises=("batch_norm", "eps"))
def batch_norm_tiny_variance():
    return tiny_variance(nn.BatchNorm2d(5))


# Normalises by the batch's own statistics in eval mode too; an exporter that always
# exports inference looks for running statistics that are not there.
@model(
    input=IMAGE,
    sizes={"batch": (4, 3)},
    probes={"far": {"input": FAR}},
    exercises=("batch_norm", "batch_statistics"),
)
def batch_norm_no_running_stats():
    return nn.Sequential(nn.BatchNorm2d(5, track_running_stats=False), nn.Conv2d(5, 7, 3))


@model(input=IMAGE, exercises=("batch_norm",))
def batch_norm_no_affine():
    return nn.Sequential(nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7, affine=False))


# Six folds, each with its rounding: an error in epsilon adds up layer by layer.
@model(
    input=IMAGE,
    exercises=("conv2d", "batch_norm"),
    tier="smoke",
    precisions=("float16", "bfloat16", "float64"),
    tags=("mode",),
)
def conv_batch_norm_chain():
    layers, widths = [], (5, 7, 9, 11, 13, 15, 17)
    for inside, outside in zip(widths, widths[1:]):
        layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


# Folded forward into the convolution, the shift leaks into the padding: right everywhere
# except at the border, where the zeros are those of after the norm.
@model(input=IMAGE, exercises=("batch_norm", "conv2d", "padding"))
def batch_norm_before_conv():
    return nn.Sequential(nn.BatchNorm2d(5), nn.Conv2d(5, 7, 3, padding=1))


class FunctionalNorm(nn.Module):
    """``F.batch_norm`` with the parts of a BatchNorm, and the rest said in the call."""

    def __init__(self, **how):
        super().__init__()
        self.norm = nn.BatchNorm2d(5)
        self.how = how

    def forward(self, image):
        norm = self.norm
        return F.batch_norm(
            image, norm.running_mean, norm.running_var, norm.weight, norm.bias, **self.how
        )


# Test-time adaptation: normalises by the batch at hand even in eval mode, and leaves the
# running statistics alone. The dynamo exporter turns it into an inference BatchNorm.
@model(
    image=IMAGE,
    sizes={"batch": (4, 3)},
    probes={"far": {"image": FAR}},
    exercises=("batch_norm", "batch_statistics"),
)
def batch_norm_adapting_to_batch():
    return FunctionalNorm(training=True, momentum=0.0)

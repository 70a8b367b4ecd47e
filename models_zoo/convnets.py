"""Convolutional networks and convolutions: whole topologies at narrow widths.

Widths differ from each other and from height and width, and images are not square, so
that a tensor read in the wrong layout has the wrong shape or the wrong values.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 3, 32, 24)
ANY_SIZE = Tensor("batch", 3, "height", "width")
SIZES = {"height": (32, 40), "width": (24, 20)}
SIGNAL = Tensor("batch", 5, "length")
LENGTHS = {"length": (26, 33)}


def conv_bn(inside, outside, kernel=3, stride=1, groups=1, activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outside),
        activation(),
    )


def he_initialised(net):
    """He et al., 2015, equation 10. Without a norm between them layers as their constructors
    leave them pass on less and less: of vgg's answer one part in 70 hung on its image."""
    for layer in net.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net


class BasicBlock(nn.Module):
    """Two convolutions and a shortcut, projected where the shape changes."""

    def __init__(self, inside, outside, stride):
        super().__init__()
        self.first = conv_bn(inside, outside, stride=stride)
        self.second = conv_bn(outside, outside, activation=nn.Identity)
        self.shortcut = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = conv_bn(inside, outside, 1, stride, activation=nn.Identity)

    def forward(self, x):
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class ResNet(nn.Module):
    def __init__(self, widths, depths, classes):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, widths[0], 7, 2), nn.MaxPool2d(3, 2, padding=1))
        blocks, inside = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths)):
            for index in range(depth):
                stride = 2 if stage and not index else 1
                blocks.append(BasicBlock(inside, width, stride))
                inside = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inside, classes)

    def forward(self, image):
        x = self.blocks(self.stem(image))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


# The net everybody converts first: 17 BatchNorms deep, so a wrong epsilon adds up. The stem's
# padded max pool stands behind a ReLU, where 0 pads as well as -inf; max_pool_ceil tells them
# apart.
@model(
    image=Tensor("batch", 3, 64, 48),
    exercises=("conv2d", "batch_norm", "max_pool2d", "adaptive_avg_pool2d"),
    tier="smoke",
    classifier=True,
    tags=("mode", "sharing"),
)
def resnet18():
    return ResNet(widths=(10, 14, 18, 22), depths=(2, 2, 2, 2), classes=7)


# Flattens a non-square feature map into its first linear layer.
@model(input=IMAGE, exercises=("conv2d", "max_pool2d", "flatten", "linear"), classifier=True)
def vgg():
    def stage(inside, outside):
        return [
            nn.Conv2d(inside, outside, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(outside, outside, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]

    layers = [*stage(3, 7), *stage(7, 11), *stage(11, 13), nn.Flatten()]
    layers += [nn.Linear(13 * 4 * 3, 37), nn.ReLU(), nn.Linear(37, 9)]
    return he_initialised(nn.Sequential(*layers))


class InvertedResidual(nn.Module):
    """Widen, filter each channel alone, narrow again without an activation."""

    def __init__(self, inside, outside, stride, expansion):
        super().__init__()
        hidden = inside * expansion
        self.residual = stride == 1 and inside == outside
        self.layers = nn.Sequential(
            conv_bn(inside, hidden, 1, activation=nn.ReLU6),
            conv_bn(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6),
            conv_bn(hidden, outside, 1, activation=nn.Identity),
        )

    def forward(self, x):
        return x + self.layers(x) if self.residual else self.layers(x)


# Depthwise convolutions and the clipped ReLU6, under which a small shift can vanish. The probe
# brings values above 6 whatever weights are drawn; below, ReLU6 might be any ReLU.
@model(
    input=IMAGE,
    exercises=("depthwise_conv2d", "relu6", "mean"),
    probes={"saturated": {"input": Tensor("batch", 3, 32, 24, range=(-12.0, 12.0))}},
    tier="smoke",
    classifier=True,
)
def mobilenet_v2():
    return nn.Sequential(
        conv_bn(3, 6, 3, 2, activation=nn.ReLU6),
        InvertedResidual(6, 5, stride=1, expansion=1),
        InvertedResidual(5, 10, stride=2, expansion=6),
        InvertedResidual(10, 10, stride=1, expansion=6),
        InvertedResidual(10, 14, stride=2, expansion=6),
        InvertedResidual(14, 14, stride=1, expansion=6),
        conv_bn(14, 45, 1, activation=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(45, 9),
    )


class ConvNeXtBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.rand(width))

    def forward(self, x):
        y = self.depthwise(x).permute(0, 2, 3, 1)
        y = self.narrow(F.gelu(self.widen(self.norm(y))))
        return x + (self.scale * y).permute(0, 3, 1, 2)


# Goes channels-last by hand in the middle: a converter that moves the layout too must
# cancel the two permutations and still scale the right axis.
@model(
    input=ANY_SIZE,
    sizes=SIZES,
    exercises=("depthwise_conv2d", "permute", "layer_norm", "gelu", "linear"),
    classifier=True,
)
def convnext():
    return nn.Sequential(
        nn.Conv2d(3, 10, 4, stride=4),
        ConvNeXtBlock(10),
        nn.GroupNorm(1, 10, eps=1e-6),
        nn.Conv2d(10, 14, 2, stride=2),
        ConvNeXtBlock(14),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(14, 9),
    )


def double_conv(inside, outside):
    return nn.Sequential(conv_bn(inside, outside), conv_bn(outside, outside))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1 = double_conv(3, 6)
        self.down2 = double_conv(6, 10)
        self.bottom = double_conv(10, 18)
        self.up2 = nn.ConvTranspose2d(18, 10, 2, stride=2)
        self.mix2 = double_conv(20, 10)
        self.up1 = nn.ConvTranspose2d(10, 6, 2, stride=2)
        self.mix1 = double_conv(12, 6)
        self.head = nn.Conv2d(6, 5, 1)

    def forward(self, image):
        first = self.down1(image)
        second = self.down2(F.max_pool2d(first, 2))
        x = self.bottom(F.max_pool2d(second, 2))
        x = self.mix2(torch.cat([second, self.up2(x)], dim=1))
        x = self.mix1(torch.cat([first, self.up1(x)], dim=1))
        return self.head(x)


# Skips joined by concatenation: the channel axis moves with the layout, in every cat.
@model(image=IMAGE, exercises=("conv_transpose2d", "cat", "max_pool2d"), tier="smoke")
def unet():
    return UNet()


# Bottleneck through linear layers: the way back up starts from a reshape.
@model(input=IMAGE, exercises=("conv2d", "unflatten", "conv_transpose2d", "sigmoid"))
def autoencoder():
    layers = nn.Sequential(
        nn.Conv2d(3, 7, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(7, 11, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(11 * 8 * 6, 19),
        nn.Linear(19, 11 * 8 * 6),
        nn.Unflatten(1, (11, 8, 6)),
        nn.ConvTranspose2d(11, 7, 4, stride=2, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(7, 3, 4, stride=2, padding=1),
        nn.Sigmoid(),
    )
    return he_initialised(layers)


class PreActivationBlock(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
        )

    def forward(self, x):
        return x + self.layers(x)


# BatchNorm stands before ReLU and convolution, so it cannot be folded backwards.
@model(input=IMAGE, exercises=("batch_norm", "conv2d", "add"), classifier=True)
def preact_resnet():
    return nn.Sequential(
        nn.Conv2d(3, 10, 3, stride=2, padding=1, bias=False),
        *(PreActivationBlock(10) for _ in range(4)),
        nn.BatchNorm2d(10),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(10, 9),
    )


# Groups of several channels: mistaken for depthwise, or for dense, the weights misfit.
@model(input=Tensor("batch", 6, 32, 24), exercises=("grouped_conv2d",))
def grouped_conv():
    return nn.Conv2d(6, 15, 3, padding=1, groups=3)


# Two filters for each channel: of which channel the fourth filter is decides the answer.
@model(input=Tensor("batch", 5, 32, 24), exercises=("depthwise_conv2d",))
def depthwise_conv():
    return nn.Conv2d(5, 10, (3, 5), padding=(1, 2), groups=5)


# Holes of another size down than across, padded so that the image keeps its size: exchanged,
# with the padding, they change no shape. TensorFlow moves pixels into the batch for it.
@model(input=Tensor("batch", 5, 16, 12), exercises=("conv2d", "dilation"))
def dilated_conv():
    return nn.Conv2d(5, 7, 3, padding=(2, 3), dilation=(2, 3))


# A signal's channels stand in the middle of three dimensions. TensorFlow's SAME pads as torch
# does here where the length is even; where it is odd, SAME gives one value more.
@model(input=SIGNAL, sizes=LENGTHS, exercises=("conv1d", "stride"))
def conv1d():
    return nn.Conv1d(5, 7, 4, stride=2, padding=1)


# The padding is said in a word and worked out from the dilation: 9 zeros, 4 before and 5
# behind. ONNX has a word for it too, SAME_UPPER, which ONNX Runtime takes at a dilation of 1
# alone.
@model(input=SIGNAL, sizes=LENGTHS, exercises=("conv1d", "dilation", "padding"))
def conv1d_same():
    return nn.Conv1d(5, 7, 4, padding="same", dilation=3)


# Output padding adds rows at one side only, and they are not zero.
@model(input=Tensor("batch", 5, 16, 12), exercises=("conv_transpose2d", "output_padding"))
def conv_transpose_output_padding():
    return nn.ConvTranspose2d(5, 7, 3, stride=3, padding=1, output_padding=(2, 1))


# The norm's factors are folded into a kernel whose first axis is what comes in, not what goes out.
@model(input=Tensor("batch", 4, 16, 12), exercises=("conv_transpose2d", "batch_norm"))
def conv_transpose_batch_norm():
    return nn.Sequential(
        nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), nn.ReLU()
    )


# In groups: its kernel says how many channels of one group go out, not how many there are.
@model(input=Tensor("batch", 6, 16, 12), exercises=("conv_transpose2d", "grouped_conv2d"))
def conv_transpose_grouped():
    return nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1, groups=2)


# TensorFlow's SAME pads an even size on the right only, an odd one on both sides; torch
# pads both sides always. Taken for SAME, the first is shifted and the second is right.
@model(input=Tensor("batch", 3, 32, 24), exercises=("conv2d", "stride"))
def stride2_even():
    return nn.Conv2d(3, 7, 3, stride=2, padding=1)


@model(input=Tensor("batch", 3, 33, 25), exercises=("conv2d", "stride"), tier="smoke")
def stride2_odd():
    return nn.Conv2d(3, 7, 3, stride=2, padding=1)


class SamePadConv2d(nn.Conv2d):
    """TensorFlow's SAME for a strided convolution, as ports of EfficientNet write it."""

    def forward(self, input):
        missing = []
        for size, kernel, stride in zip(input.shape[-2:], self.kernel_size, self.stride):
            missing.append(max((math.ceil(size / stride) - 1) * stride + kernel - size, 0))
        down, across = missing
        padding = (across // 2, across - across // 2, down // 2, down - down // 2)
        return super().forward(F.pad(input, padding))


# The padding is worked out in Python from the size. A tracer keeps the number it saw: on
# an odd image every pixel of the features is shifted by one, and the pooled output has
# the right shape all the same.
@model(
    input=ANY_SIZE,
    sizes={"height": (32, 37), "width": (24, 21)},
    exercises=("pad", "conv2d", "stride"),
    classifier=True,
)
def same_padding_by_hand():
    return nn.Sequential(
        SamePadConv2d(3, 7, 3, stride=2),
        nn.ReLU(),
        SamePadConv2d(7, 11, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(11, 9),
    )

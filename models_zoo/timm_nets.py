"""Networks at full size under timm's names, so that converters of timm's folders can read them.

What such a converter is given is a config.json and a state_dict. Beside timm 1.0.31 and torch 2.9.1
both were the same, entry for entry, and with timm's weights so were the answers, bit for bit. timm
itself is not needed: it brings torchvision, which does not import beside every build of torch. Like
timm's, each net carries ``pretrained_cfg``, ``num_classes`` and ``num_features``.
"""

import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model

IMAGE = Tensor("batch", 3, 96, 64)
CLASSES = 10


def conv(inside, outside, kernel, stride=1, groups=1, bias=False):
    return nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=bias)


class Timm(nn.Module):
    """What timm says of each of its nets."""

    def __init__(self, architecture, num_features):
        super().__init__()
        self.pretrained_cfg = {"architecture": architecture}
        self.num_classes = CLASSES
        self.num_features = num_features


class BasicBlock(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inside, outside, 3, stride), nn.BatchNorm2d(outside)
        self.conv2, self.bn2 = conv(outside, outside, 3), nn.BatchNorm2d(outside)
        self.downsample = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                conv(inside, outside, 1, stride), nn.BatchNorm2d(outside)
            )

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.downsample(x))


class ResNet(Timm):
    """He et al., 2015, table 1."""

    def __init__(self, architecture, depths):
        super().__init__(architecture, num_features=512)
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BatchNorm2d(64)
        inside = 64
        for index, (width, depth) in enumerate(zip((64, 128, 256, 512), depths), 1):
            blocks = [BasicBlock(inside, width, 1 if index == 1 else 2)]
            blocks += [BasicBlock(width, width, 1) for _ in range(depth - 1)]
            self.add_module(f"layer{index}", nn.Sequential(*blocks))
            inside = width
        self.fc = nn.Linear(inside, CLASSES)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


@model(
    x=IMAGE,
    exercises=("conv2d", "batch_norm"),
    tier="full-only",
    classifier=True,
    tags=("timm",),
)
def timm_resnet18():
    return ResNet("resnet18", depths=(2, 2, 2, 2))


class SqueezeExcite(nn.Module):
    """Weighs each channel by what all of them are on average (Hu et al., 2017)."""

    def __init__(self, channels):
        super().__init__()
        quarter = max(8, int(channels / 4 + 4) // 8 * 8)
        if quarter < 0.9 * channels / 4:
            quarter += 8
        self.conv_reduce = conv(channels, quarter, 1, bias=True)
        self.conv_expand = conv(quarter, channels, 1, bias=True)

    def forward(self, x):
        weight = F.relu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * F.hardsigmoid(self.conv_expand(weight))


class DepthwiseSeparable(nn.Module):
    def __init__(self, inside, outside, stride):
        super().__init__()
        self.conv_dw = conv(inside, inside, 3, stride, groups=inside)
        self.bn1, self.se = nn.BatchNorm2d(inside), SqueezeExcite(inside)
        self.conv_pw, self.bn2 = conv(inside, outside, 1), nn.BatchNorm2d(outside)

    def forward(self, x):
        return self.bn2(self.conv_pw(self.se(F.relu(self.bn1(self.conv_dw(x))))))


class InvertedResidual(nn.Module):
    def __init__(self, inside, hidden, outside, kernel, stride, activation, excite):
        super().__init__()
        self.activation = activation
        self.residual = stride == 1 and inside == outside
        self.conv_pw, self.bn1 = conv(inside, hidden, 1), nn.BatchNorm2d(hidden)
        self.conv_dw = conv(hidden, hidden, kernel, stride, groups=hidden)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.se = SqueezeExcite(hidden) if excite else nn.Identity()
        self.conv_pwl, self.bn3 = conv(hidden, outside, 1), nn.BatchNorm2d(outside)

    def forward(self, x):
        y = self.activation(self.bn1(self.conv_pw(x)))
        y = self.se(self.activation(self.bn2(self.conv_dw(y))))
        y = self.bn3(self.conv_pwl(y))
        return x + y if self.residual else y


class ConvBlock(nn.Module):
    def __init__(self, inside, outside):
        super().__init__()
        self.conv, self.bn1 = conv(inside, outside, 1), nn.BatchNorm2d(outside)

    def forward(self, x):
        return F.hardswish(self.bn1(self.conv(x)))


#: Howard et al., 2019, table 2, from its third row on, one stage a tuple: expanded channels,
#: output channels, kernel, stride.
SMALL = (
    ((72, 24, 3, 2), (88, 24, 3, 1)),
    ((96, 40, 5, 2), (240, 40, 5, 1), (240, 40, 5, 1)),
    ((120, 48, 5, 1), (144, 48, 5, 1)),
    ((288, 96, 5, 2), (576, 96, 5, 1), (576, 96, 5, 1)),
)


class MobileNetV3(Timm):
    def __init__(self, architecture, stages):
        inside, blocks = 16, [nn.Sequential(DepthwiseSeparable(16, 16, 2))]
        for index, stage in enumerate(stages):
            activation = F.relu if index == 0 else F.hardswish
            built = []
            for hidden, outside, kernel, stride in stage:
                built.append(
                    InvertedResidual(
                        inside, hidden, outside, kernel, stride, activation, excite=index > 0
                    )
                )
                inside = outside
            blocks.append(nn.Sequential(*built))
        blocks.append(nn.Sequential(ConvBlock(inside, 6 * inside)))
        super().__init__(architecture, num_features=6 * inside)
        self.conv_stem, self.bn1 = conv(3, 16, 3, 2), nn.BatchNorm2d(16)
        self.blocks = nn.Sequential(*blocks)
        self.conv_head = conv(6 * inside, 1024, 1, bias=True)
        self.classifier = nn.Linear(1024, CLASSES)

    def forward(self, x):
        x = self.blocks(F.hardswish(self.bn1(self.conv_stem(x))))
        x = F.hardswish(self.conv_head(x.mean((2, 3), keepdim=True)))
        return self.classifier(x.flatten(1))


@model(
    x=IMAGE,
    exercises=("depthwise_conv2d", "hardswish", "hardsigmoid"),
    tier="full-only",
    classifier=True,
    tags=("timm",),
)
def timm_mobilenetv3_small():
    return MobileNetV3("mobilenetv3_small_100", SMALL)

"""Networks at the size they are served at, for a GPU: what they cost, not what they show.

What goes wrong in a conversion shows in their small relatives in ``convnets`` and
``attention``. These have the memory and the kernels of the real ones; weights are drawn.
"""

import torch
import torch.nn.functional as F
from torch import nn

from models_zoo import Tensor, model


def conv_bn(inside, outside, kernel=3, stride=1, activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(outside),
        activation(),
    )


def double_conv(inside, outside):
    return nn.Sequential(conv_bn(inside, outside), conv_bn(outside, outside))


class Bottleneck(nn.Module):
    """One by one, three by three, one by one, and a shortcut around all three."""

    def __init__(self, inside, width, stride):
        super().__init__()
        outside = 4 * width
        self.narrow = conv_bn(inside, width, 1)
        self.middle = conv_bn(width, width, 3, stride)
        self.widen = conv_bn(width, outside, 1, activation=nn.Identity)
        self.shortcut = nn.Identity()
        if stride != 1 or inside != outside:
            self.shortcut = conv_bn(inside, outside, 1, stride, activation=nn.Identity)

    def forward(self, x):
        return F.relu(self.widen(self.middle(self.narrow(x))) + self.shortcut(x))


class ResNet50(nn.Module):
    """He et al., 2015, table 1, with the stride in the three by three convolution."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv_bn(3, 64, 7, 2), nn.MaxPool2d(3, 2, padding=1))
        blocks, inside = [], 64
        for stage, (width, depth) in enumerate(zip((64, 128, 256, 512), (3, 4, 6, 3))):
            for index in range(depth):
                blocks.append(Bottleneck(inside, width, 2 if stage and not index else 1))
                inside = 4 * width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(inside, 1000)

    def forward(self, image):
        x = self.blocks(self.stem(image))
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))


@model(
    image=Tensor("batch", 3, 224, 224),
    exercises=("conv2d", "batch_norm"),
    tier="full",
    classifier=True,
    tags=("gpu", "sharing"),
)
def resnet50():
    return ResNet50()


class FullUNet(nn.Module):
    """Ronneberger et al., 2015: four levels, from 64 to 1024 channels; padded, with BatchNorm."""

    def __init__(self, widths=(64, 128, 256, 512, 1024)):
        super().__init__()
        pairs = list(zip(widths, widths[1:]))
        self.first = double_conv(3, widths[0])
        self.down = nn.ModuleList(double_conv(a, b) for a, b in pairs)
        self.up = nn.ModuleList(nn.ConvTranspose2d(b, a, 2, stride=2) for a, b in reversed(pairs))
        self.mix = nn.ModuleList(double_conv(2 * a, a) for a, _ in reversed(pairs))
        self.head = nn.Conv2d(widths[0], 2, 1)

    def forward(self, image):
        x, skips = self.first(image), []
        for down in self.down:
            skips.append(x)
            x = down(F.max_pool2d(x, 2))
        for up, mix in zip(self.up, self.mix):
            x = mix(torch.cat([skips.pop(), up(x)], dim=1))
        return self.head(x)


@model(
    image=Tensor("batch", 3, 256, 192),
    exercises=("conv_transpose2d", "cat"),
    tier="full",
    tags=("gpu", "sharing"),
)
def unet_full():
    return FullUNet()


class Pooled(nn.Module):
    def __init__(self, bert):
        super().__init__()
        self.bert = bert

    def forward(self, input_ids, attention_mask):
        return self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


@model(
    input_ids=Tensor("batch", "length", dtype="int64", range=(0, 30522)),
    # As of ``bert``, which has it small.
    attention_mask=Tensor("batch", "length", dtype="int64", range=(1, 2)),
    sizes={"length": (128, 96)},
    probes={"tail_padded": {"attention_mask": [[1] * 128, [1] * 70 + [0] * 58]}},
    exercises=("embedding", "scaled_dot_product_attention", "layer_norm"),
    tier="full",
    needs=("transformers",),
    tags=("gpu", "sharing"),
)
def bert_base():
    # The configuration's defaults are BERT-base's: 12 layers of 768, 12 heads.
    from transformers import BertConfig, BertModel

    return Pooled(BertModel(BertConfig(), add_pooling_layer=False))


def encoder(dtype):
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True, norm_first=True)
    return nn.TransformerEncoder(layer, 4, enable_nested_tensor=False).to(dtype)


@model(
    src=Tensor("batch", "length", 256, dtype="float16"),
    sizes={"length": (48, 80)},
    precision="float16",
    exercises=("linear", "softmax", "layer_norm"),
    tags=("gpu",),
)
def encoder_float16():
    return encoder(torch.float16)


@model(
    src=Tensor("batch", "length", 256, dtype="bfloat16"),
    sizes={"length": (48, 80)},
    precision="bfloat16",
    exercises=("linear", "softmax", "layer_norm"),
    tags=("gpu",),
)
def encoder_bfloat16():
    return encoder(torch.bfloat16)

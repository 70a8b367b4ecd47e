"""One network behind eight pairs of preprocessing: how it is fed in PyTorch, how in TensorFlow.

``picture_net`` is the network alone, whose conversion is judged apart from all of this. Each pair
is one that people have; all but the first differ in one thing.
"""

from torch import nn

from models_zoo import Tensor, model
from models_zoo.preprocessing import Preprocessing, Steps

IMAGE = Tensor("batch", 3, 32, 24)


class PictureNet(nn.Module):
    """Two convolutions and a classifier that sees every place."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 14, 3, stride=2, padding=1), nn.BatchNorm2d(14)
        self.linear = nn.Linear(14 * 8 * 6, 9)

    def forward(self, image):
        x = self.norm1(self.conv1(image)).relu()
        return self.linear(self.norm2(self.conv2(x)).relu().flatten(1))


@model(image=IMAGE, exercises=("conv2d", "batch_norm", "linear"), classifier=True, tier="full")
def picture_net():
    return PictureNet()


def pair(torch, tensorflow):
    """What ``@model`` is told of a model that is fed so."""
    return {
        "image": IMAGE,
        "exercises": ("preprocessing",),
        "classifier": True,
        "picture": Preprocessing("image", torch, tensorflow),
    }


# Both antialias and both normalise by ImageNet: what a careful port looks like.
@model(**pair(Steps(), Steps()))
def picture_alike():
    return PictureNet()


# Where Pillow resizes, the picture is 8 bits again before it is scaled; tf.image.resize returns
# float32. Half a step of 256 is all that this can cost.
@model(**pair(Steps(rounded=True), Steps()))
def picture_rounded():
    return PictureNet()


# torchvision antialiases tensors by default since 0.17, tf.image.resize never does.
@model(**pair(Steps(), Steps(antialias=False)))
def picture_antialias():
    return PictureNet()


# timm's models are fed bicubic, Keras's Resizing is bilinear unless told otherwise.
@model(**pair(Steps("bicubic"), Steps("bilinear")))
def picture_filter():
    return PictureNet()


# F.interpolate's cubic has a = -0.75 where it does not antialias, tf.image.resize's -0.5.
@model(**pair(Steps("bicubic", antialias=False), Steps("bicubic", antialias=False)))
def picture_bicubic():
    return PictureNet()


# The same means; preprocess_input's mode "caffe" also turns the channels round.
@model(**pair(Steps(scaling="caffe_rgb"), Steps(scaling="caffe")))
def picture_channel_order():
    return PictureNet()


# ToDtype(scale=True) gives 0 to 1, preprocess_input's mode "tf" -1 to 1.
@model(**pair(Steps(scaling="unit"), Steps(scaling="tf")))
def picture_scaling():
    return PictureNet()


# A ViT's or an Inception's 0.5 and 0.5 where the weights were trained on ImageNet's, or the
# other way round.
@model(**pair(Steps(scaling="imagenet"), Steps(scaling="half")))
def picture_mean_and_deviation():
    return PictureNet()

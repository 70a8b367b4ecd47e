"""How a picture becomes a model's input: what PyTorch's people do, what TensorFlow's people do.

>>> from models_zoo.preprocessing import Preprocessing, Steps
>>> Preprocessing(
...     input="image",
...     torch=Steps(resize="bilinear", antialias=True, scaling="imagenet"),
...     tensorflow=Steps(resize="bilinear", antialias=False, scaling="imagenet"),
... )  # doctest: +ELLIPSIS
Preprocessing(input='image', ...

Descriptions alone; ``switchyard.worker.preprocessing`` does the steps, with each ecosystem's own
functions. Imports no framework.
"""

from __future__ import annotations

import dataclasses
from typing import Mapping, Tuple

RESIZES = ("nearest", "bilinear", "bicubic")

Colours = Tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Scaling:
    """A pixel of 0 to 255 becomes ``(pixel - shift) / width``, colour by colour (red, green,
    blue); then the colours stand in ``order``."""

    shift: Colours
    width: Colours
    order: str = "rgb"


_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

#: By name. ``imagenet``, ``tf`` and ``caffe`` are the modes ``torch``, ``tf`` and ``caffe`` of
#: ``keras.applications.imagenet_utils.preprocess_input``; ``unit`` is Keras's ``Rescaling(1/255)``
#: and torchvision's ``ToDtype(scale=True)``; ``half`` the mean and deviation of 0.5 that ViT's and
#: Inception's weights want; ``caffe_rgb`` caffe's means without its order of channels.
SCALINGS: Mapping[str, Scaling] = {
    "unit": Scaling((0.0,) * 3, (255.0,) * 3),
    "imagenet": Scaling(tuple(255 * m for m in _MEAN), tuple(255 * s for s in _STD)),
    "tf": Scaling((127.5,) * 3, (127.5,) * 3),
    "half": Scaling((127.5,) * 3, (127.5,) * 3),
    "caffe": Scaling((123.68, 116.779, 103.939), (1.0,) * 3, "bgr"),
    "caffe_rgb": Scaling((123.68, 116.779, 103.939), (1.0,) * 3),
}


@dataclasses.dataclass(frozen=True)
class Steps:
    """What one ecosystem does to a picture of 8 bits, height x width x red, green, blue.

    ``resize``: the filter, as ``F.interpolate`` and ``tf.image.resize`` call it. ``antialias``:
    whether it is widened where the picture shrinks. ``rounded``: whether the resized picture is
    made 8 bits again, as it is where Pillow resizes it. ``scaling``: a name in ``SCALINGS``.
    Raises ValueError for what is not known.
    """

    resize: str = "bilinear"
    antialias: bool = True
    rounded: bool = False
    scaling: str = "imagenet"

    def __post_init__(self):
        for what, given, known in (
            ("resize", self.resize, RESIZES),
            ("scaling", self.scaling, tuple(SCALINGS)),
        ):
            if given not in known:
                raise ValueError(f"unknown {what} {given!r}; known: {', '.join(known)}")
        if self.antialias and self.resize == "nearest":
            raise ValueError("nearest has no antialias")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """``input``: the model's input that takes the picture, (batch, 3, height, width) in torch.
    ``source``: height and width of the pictures before they are resized."""

    input: str
    torch: Steps
    tensorflow: Steps
    source: Tuple[int, int] = (90, 70)

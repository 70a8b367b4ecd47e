"""What two ecosystems' preprocessing differs in, by correcting one part at a time.

Pure numpy. The steps of either side are written a second time, from their definition; a part is
named only where that account gives what the side's own functions gave, and where TensorFlow's
account with torch's part in its place gives torch's input.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Callable, Tuple

import numpy as np

from models_zoo.preprocessing import SCALINGS, Colours, Preprocessing, Steps
from switchyard.worker.agreement import band, compare


@dataclasses.dataclass(frozen=True)
class Account:
    """One side's steps in terms that both sides share, part by part. ``kernel``: see
    ``KERNELS``; ``affine``: shift and width of red, green and blue."""

    kernel: str
    antialias: bool
    rounded: bool
    order: str
    affine: Tuple[Colours, Colours]


#: What people call each part.
PARTS = {
    "kernel": "resize filter",
    "antialias": "antialias",
    "rounded": "rounding to 8 bits",
    "order": "channel order",
    "affine": "scaling",
}


def _cubic(a: float) -> Callable[[np.ndarray], np.ndarray]:
    """Keys, "Cubic convolution interpolation for digital image processing", IEEE ASSP 29
    (1981), with its free parameter: torch has -0.75, TensorFlow and Pillow -0.5."""

    def kernel(x: np.ndarray) -> np.ndarray:
        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        return np.where(x <= 1, near, np.where(x < 2, far, 0.0))

    return kernel


#: By name: (weight at a distance in pixels, half width, what becomes of weight beyond the edge:
#: ``clamp`` gives it to the last pixel, ``leave`` leaves it out and lets the rest add up to one).
KERNELS = {
    "triangle": (lambda x: np.clip(1 - np.abs(x), 0, None), 1.0, "leave"),
    "cubic, a = -0.75, edges repeated": (_cubic(-0.75), 2.0, "clamp"),
    "cubic, a = -0.5, edges left out": (_cubic(-0.5), 2.0, "leave"),
    "nearest, rounded down": (None, 0.0, ""),
    "nearest to the centre": (None, 0.5, ""),
}


def account(steps: Steps, ecosystem: str) -> Account:
    """``torch``: ``aten/src/ATen/native/cpu/UpSampleKernel.cpp`` (with antialias its cubic is
    Pillow's). ``tensorflow``: ``core/kernels/image/resize_bicubic_op.cc`` with half-pixel centres,
    ``scale_and_translate_op.cc`` with antialias."""
    by_torch = ecosystem == "torch"
    kernel = {
        "bilinear": "triangle",
        "bicubic": "cubic, a = -0.75, edges repeated"
        if by_torch and not steps.antialias
        else "cubic, a = -0.5, edges left out",
        "nearest": "nearest, rounded down" if by_torch else "nearest to the centre",
    }[steps.resize]
    scaling = SCALINGS[steps.scaling]
    return Account(
        kernel, steps.antialias, steps.rounded, scaling.order, (scaling.shift, scaling.width)
    )


def resize_matrix(before: int, after: int, kernel: str, antialias: bool) -> np.ndarray:
    """(after, before): what each pixel of one axis is made of."""
    weight, reach, beyond = KERNELS[kernel]
    scale = before / after
    if weight is None:
        picked = np.floor((np.arange(after) + reach) * scale).astype(int)
        return np.eye(before)[np.minimum(picked, before - 1)]
    widened = max(1.0, scale) if antialias else 1.0
    centres = (np.arange(after) + 0.5) * scale - 0.5
    margin = int(np.ceil(reach * widened)) + 1
    places = np.arange(-margin, before + margin)
    all_weights = weight((places[None, :] - centres[:, None]) / widened)
    inside = all_weights[:, margin:-margin].copy()
    if beyond == "clamp":
        inside[:, 0] += all_weights[:, :margin].sum(1)
        inside[:, -1] += all_weights[:, -margin:].sum(1)
    return inside / inside.sum(1, keepdims=True)


def applied(pictures: np.ndarray, size: Tuple[int, int], steps: Account) -> np.ndarray:
    """(count, 3, height, width) of float64 from pictures (count, height, width, 3)."""
    how = (steps.kernel, steps.antialias)
    rows = resize_matrix(pictures.shape[1], size[0], *how)
    columns = resize_matrix(pictures.shape[2], size[1], *how)
    x = np.einsum("ih,nhwc,jw->ncij", rows, pictures.astype(np.float64), columns, optimize=True)
    if steps.rounded:
        x = np.clip(np.round(x), 0, 255)
    shift, width = (np.asarray(part).reshape(1, 3, 1, 1) for part in steps.affine)
    x = (x - shift) / width
    return x[:, ::-1] if steps.order == "bgr" else x


def differing(
    pictures: np.ndarray,
    size: Tuple[int, int],
    how: Preprocessing,
    ours: np.ndarray,
    theirs: np.ndarray,
) -> Tuple[Tuple[str, ...], str]:
    """The fewest parts that, taken from torch's steps, take the difference away (excellent by
    the usual bands), and a sentence with the figures; no parts where that was not shown."""
    torch_side = account(how.torch, "torch")
    other = account(how.tensorflow, "tensorflow")
    for name, side, given in (("torch", torch_side, ours), ("TensorFlow", other, theirs)):
        if not _alike(given, applied(pictures, size, side))[0]:
            return (), f"what differs was not found: {name}'s result is not what its steps say"
    parts = [part for part in PARTS if getattr(torch_side, part) != getattr(other, part)]
    for count in range(1, len(parts) + 1):
        for chosen in itertools.combinations(parts, count):
            corrected = dataclasses.replace(
                other, **{part: getattr(torch_side, part) for part in chosen}
            )
            alike, left = _alike(ours, applied(pictures, size, corrected))
            if alike:
                said = "; ".join(_said(part, torch_side, other) for part in chosen)
                names = tuple(_name(part, torch_side, other) for part in chosen)
                return names, f"{said}: with torch's it vanishes (mse {left:.2g})"
    return (), "what differs was not found: no part of the steps, nor all of them, takes it away"


def _alike(one: np.ndarray, two: np.ndarray) -> Tuple[bool, float]:
    found = compare({"input": one}, {"input": two.astype(one.dtype)})
    return band(found)[0] == "excellent", found.mse or 0.0


def _name(part: str, torch_side: Account, other: Account) -> str:
    """A scaling that is another for each colour is what people call mean and deviation."""
    if part == "affine" and any(
        len(set(numbers)) > 1 for side in (torch_side, other) for numbers in side.affine
    ):
        return "mean and deviation"
    return PARTS[part]


def _said(part: str, torch_side: Account, other: Account) -> str:
    def value(side: Account) -> str:
        given = getattr(side, part)
        if part == "affine":
            shift, width = (
                "/".join(dict.fromkeys(f"{n:.4g}" for n in numbers)) for numbers in given
            )
            return f"(pixel - {shift}) / {width}"
        return {True: "yes", False: "no"}.get(given, given)

    said = f"torch: {value(torch_side)}; TensorFlow: {value(other)}"
    return f"{_name(part, torch_side, other)} ({said})"

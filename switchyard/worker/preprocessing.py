"""The stage ``preprocess``: the same pictures through both ecosystems' own functions.

What differs here is no fault of a converter, and stops a cell before one is asked. torch's side
is what torchvision's v2 transforms do with tensors (``functional/_geometry.py``, ``resize_image``:
``interpolate`` on float32, clamped for bicubic and rounded for 8 bits; ``_misc.py``,
``normalize_image``), written out, since torchvision is in no default set. TensorFlow's is
``tf.image.resize`` and ``keras.applications.imagenet_utils.preprocess_input``.
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from models_zoo.preprocessing import SCALINGS, Preprocessing, Steps
from switchyard.vocabulary import PASSING, Outcome, signature_of
from switchyard.worker import agreement
from switchyard.worker.drawing import stream
from switchyard.worker.picture_parts import differing

#: Pictures that both sides get.
COUNT = 12

#: Keras's names of the modes of ``preprocess_input``.
_KERAS_MODES = {"imagenet": "torch", "tf": "tf", "caffe": "caffe"}


def drawn_pictures(height: int, width: int, count: int = COUNT) -> np.ndarray:
    """Pictures (count, height, width, 3) of 8 bits, the same everywhere: a gradient for each
    colour, patches with hard edges, stripes finer than a smaller picture can hold, and noise."""
    rows, columns = np.mgrid[0:1:height * 1j, 0:1:width * 1j]
    pictures = []
    for number in range(count):
        rng = stream("picture", number)
        picture = np.empty((height, width, 3))
        for colour in range(3):
            low, down, across = rng.uniform(0, 120), *rng.uniform(-90, 90, 2)
            picture[..., colour] = low + down * rows + across * columns + 40
        for _ in range(5):
            top, left = rng.randint(0, height - 8), rng.randint(0, width - 8)
            tall, wide = rng.randint(6, height // 2), rng.randint(6, width // 2)
            picture[top : top + tall, left : left + wide] = rng.uniform(0, 255, 3)
        top, period = rng.randint(0, height // 2), rng.randint(2, 6)
        stripes = (np.arange(width) // period % 2)[None, :, None]
        picture[top : top + height // 3] += stripes * rng.uniform(40, 110, 3)
        picture += rng.normal(0, 6, picture.shape)
        pictures.append(np.clip(picture, 0, 255).round().astype(np.uint8))
    return np.stack(pictures)


def by_torch(pictures: np.ndarray, steps: Steps, size: Tuple[int, int]) -> np.ndarray:
    """(count, 3, height, width) of float32, as the torch model takes it."""
    import torch
    import torch.nn.functional as F

    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float()
    how: Dict[str, Any] = {"size": size, "mode": steps.resize}
    if steps.resize != "nearest":
        how.update(align_corners=False, antialias=steps.antialias)
    x = F.interpolate(x, **how)
    if steps.rounded:
        x = x.clamp(0, 255).round()
    scaling = SCALINGS[steps.scaling]
    mean, std = (
        torch.tensor(part).view(1, 3, 1, 1) / 255 for part in (scaling.shift, scaling.width)
    )
    x = (x / 255 - mean) / std
    return (x.flip(1) if scaling.order == "bgr" else x).contiguous().numpy()


def by_tensorflow(pictures: np.ndarray, steps: Steps, size: Tuple[int, int]) -> np.ndarray:
    """The same from TensorFlow's functions, which keep channels last; turned for comparison."""
    import keras
    import tensorflow as tf

    x = tf.constant(pictures)
    x = tf.cast(
        tf.image.resize(x, size, method=steps.resize, antialias=steps.antialias), tf.float32
    )
    if steps.rounded:
        x = tf.cast(tf.saturate_cast(tf.round(x), tf.uint8), tf.float32)
    scaling = SCALINGS[steps.scaling]
    if steps.scaling in _KERAS_MODES:
        x = keras.applications.imagenet_utils.preprocess_input(
            x, data_format="channels_last", mode=_KERAS_MODES[steps.scaling]
        )
    elif len(set(scaling.shift)) == len(set(scaling.width)) == 1:
        factor = 1 / scaling.width[0]
        x = keras.layers.Rescaling(factor, offset=-scaling.shift[0] * factor)(x)
    else:
        variance = [width * width for width in scaling.width]
        x = keras.layers.Normalization(axis=-1, mean=list(scaling.shift), variance=variance)(x)
    return np.ascontiguousarray(np.transpose(np.asarray(x, np.float32), (0, 3, 1, 2)))


def size_of(entry) -> Tuple[int, int]:
    """Height and width that an entry's picture is resized to."""
    return entry.inputs[entry.picture.input].dims[2:]


def torch_picture(entry, count: int) -> np.ndarray:
    """The first ``count`` pictures as torch's ecosystem feeds them to the model."""
    pictures = drawn_pictures(*entry.picture.source, count)
    return by_torch(pictures, entry.picture.torch, size_of(entry))


def preprocess(job: Mapping[str, Any]) -> Dict[str, Any]:
    """Both sides' inputs of ``job["model"]``, compared; how far torch's answer moves with the
    other's; and, where they differ beyond the bands, the outcome that stops the cell here."""
    from switchyard.worker.building import build, project_sources

    model = build(job["file"], job["model"], job.get("precision", ""))
    how: Preprocessing = model.entry.picture
    size = size_of(model.entry)
    pictures = drawn_pictures(*how.source)
    ours = by_torch(pictures, how.torch, size)
    theirs = by_tensorflow(pictures, how.tensorflow, size)
    found = agreement.compare({how.input: ours}, {how.input: theirs})
    verdict = judged(ours, theirs)
    fields = {
        "preprocess_mse": found.mse,
        "preprocess_max_abs_err": found.max_abs_err,
        **_moved(model, how.input, ours, theirs),
    }
    result = {"fields": fields, "sources": project_sources()}
    parts, why = ((), "")
    if verdict != "excellent":
        parts, why = differing(pictures, size, how, ours, theirs)
        fields["preprocess_differs"] = ">".join(parts)
    if verdict not in PASSING:
        message = found.message.replace("output", "input", 1)
        message += f" on {len(pictures)} pictures: {why}"
        result["stopped"] = Outcome(
            stage="preprocess",
            verdict="investigate",
            kind="preprocessing",
            message=message[:300],
            signature=signature_of(message),
        ).as_dict()
    return result


def judged(ours: np.ndarray, theirs: np.ndarray) -> str:
    """The verdict on two inputs, by the bands of their difference in torch's standard deviations:
    a rounding to 8 bits is no larger where values run to 255 than where they run to 1."""
    spread = float(np.std(ours)) or 1.0
    return agreement.band(agreement.compare({"": ours / spread}, {"": theirs / spread}))[0]


def _moved(model, input: str, ours: np.ndarray, theirs: np.ndarray) -> Dict[str, Any]:
    """How far the torch model's own answer moves, asked with TensorFlow's input: no converter is
    in it. Other inputs, if any, are the example's first rows."""
    from switchyard.worker.drawing import probes_of

    example = probes_of(model.entry)["example"]
    rest = {
        name: np.repeat(array[:1], len(ours), axis=0)
        for name, array in example.items()
        if name != input
    }
    dtype = example[input].dtype
    answers: List[Dict[str, np.ndarray]] = [
        model.run({**rest, input: fed.astype(dtype)}) for fed in (ours, theirs)
    ]
    moved = agreement.compare(*answers, classifier=model.entry.classifier)
    return {
        "preprocess_output_mse": moved.mse,
        "preprocess_output_nmse": moved.nmse,
        "preprocess_top1_agreement": moved.top1_agreement,
    }

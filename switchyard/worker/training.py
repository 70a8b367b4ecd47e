"""How the running statistics of BatchNorm move: the model and its Keras twin, trained side by side.

No optimiser: statistics are moved by the forward pass alone. Both are shown the same batches in
train mode, and their running means and variances are compared after the 1st and the 100th.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Dict, Iterator, List, Mapping, Tuple

import numpy as np

from switchyard import hops
from switchyard.worker.drawing import draw, stream

#: Examples a batch: few, so that torch's unbiased variance stands apart from the biased one.
BATCH = 16

#: After how many steps the statistics are compared.
STEPS = (1, 100)

Arrays = Mapping[str, np.ndarray]


class NotFinite(Exception):
    """A running statistic has no finite error: training ended in NaN or in infinities. A column
    cannot say so, since an empty one is one that was not measured."""

    kind = "non-finite"
    stage = "measure"


@dataclasses.dataclass
class Norm:
    """One BatchNorm on both sides. ``batches``: (count, mean, biased variance) of what each
    channel was given, step by step; ``mean`` and ``variance`` are torch's at the start."""

    torch: Any
    keras: Any
    mean: np.ndarray
    variance: np.ndarray
    batches: List[Tuple[int, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)


def moved(start: np.ndarray, given: List[np.ndarray], share: float) -> np.ndarray:
    """A running statistic after the batches ``given``, of which each new one gets ``share``."""
    value = np.asarray(start, np.float64)
    for each in given:
        value = (1 - share) * value + share * each
    return value


def train(job: Mapping[str, Any]) -> Dict[str, Any]:
    """``fields``: the columns; ``figures``: the same by step, and absolute.

    Raises what building either side raises, and NotFinite.
    """
    import keras
    import tensorflow as tf
    import torch

    from models_zoo.twins import twin_of
    from models_zoo.twins.weights import batch_norms
    from switchyard.hops.manual import require_defaults
    from switchyard.worker.building import build, to_numpy
    from switchyard.worker.reference import Reference

    require_defaults(keras.config)
    # Small nets in small batches: threads would wait for each other, on a busy machine for minutes.
    torch.set_num_threads(1)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.utils.set_random_seed(0)
    hop, model = hops.known(job["hop_files"])[job["hop"]], build(job["file"], job["model"])
    hop.prepare(model.module)
    twin = twin_of(model.entry)
    keras_model, table = twin.build()
    example = Reference.read(job["reference"]).inputs("example")
    conversion = hops.Conversion(None, job["model"], example, {}, model=model)
    hop.weigh(conversion, keras_model, table)
    norms = []
    for source, layer in batch_norms(table):
        own = model.module.get_submodule(source)
        norm = Norm(own, keras_model.get_layer(layer), to_numpy(own.running_mean),
                    to_numpy(own.running_var))  # fmt: skip
        own.register_forward_pre_hook(_watched(norm))
        norms.append(norm)

    @tf.function
    def forward(tensors):
        return keras_model(tensors, training=True)

    names = [tensor.name for tensor in keras_model.inputs]
    model.module.train()
    fields: Dict[str, float] = {}
    figures: List[dict] = []
    for step, inputs in enumerate(_batches(model.entry), start=1):
        args, kwargs = model.arguments(inputs)
        with torch.no_grad():
            model.module(*args, **kwargs)
        turned = []
        for name in names:
            order = twin.permutation(name, inputs[name].ndim)
            turned.append(tf.constant(inputs[name].transpose(order or range(inputs[name].ndim))))
        forward(turned[0] if len(turned) == 1 else turned)
        if step in STEPS:
            for metric, value in finite_errors(norms, step).items():
                figures.append({"condition": f"step-{step}", "metric": metric, "value": value})
                if not metric.endswith("_absolute"):
                    fields[f"{metric}_{step}"] = value
    fewest = min(norm.batches[0][0] for norm in norms)
    figures.append({"condition": "step-1", "metric": "fewest_values", "value": float(fewest)})
    return {"fields": fields, "figures": figures}


def finite_errors(norms: List[Norm], step: int) -> Dict[str, float]:
    """``errors`` after so many steps. Raises NotFinite where one of them is NaN or infinite."""
    found = errors(norms)
    lost = [metric for metric, value in found.items() if not math.isfinite(value)]
    if lost:
        raise NotFinite(f"no finite error after {step} steps: {', '.join(lost)}")
    return found


def errors(norms: List[Norm]) -> Dict[str, float]:
    """How far Keras's running statistics stand from torch's, at the worst channel of the worst
    layer. A mean's error is in torch's running standard deviations, a variance's a part of
    torch's running variance. ``biased``: from what torch's would be without its factor n/(n-1).
    ``unexplained``: from what Keras's own momentum and the biased variance of the batches give.
    NaN where any statistic that it is of is NaN."""
    found: Dict[str, float] = {}

    def worst(metric: str, gap: np.ndarray, unit: Any = 1.0) -> None:
        # No gap is none in any unit, that of a channel which never varies (0) among them.
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.abs(np.where(gap == 0, 0.0, gap / unit))
        # numpy's maxima are NaN where either is, Python's are not.
        found[metric] = float(np.maximum(found.get(metric, 0.0), parts.max()))

    for norm in norms:
        mean, variance = _arrays(norm.torch.running_mean, norm.torch.running_var)
        other_mean, other_variance = _arrays(norm.keras.moving_mean, norm.keras.moving_variance)
        spread = np.sqrt(variance)
        means, variances = ([one[place] for one in norm.batches] for place in (1, 2))
        biased = moved(norm.variance, variances, norm.torch.momentum)
        share = 1 - norm.keras.momentum
        worst("running_mean_error", other_mean - mean, spread)
        worst("running_var_error", other_variance - variance, variance)
        worst("running_var_biased_error", other_variance - biased, biased)
        worst("running_unexplained", other_mean - moved(norm.mean, means, share), spread)
        expected = moved(norm.variance, variances, share)
        worst("running_unexplained", other_variance - expected, variance)
        worst("running_mean_absolute", other_mean - mean)
        worst("running_var_absolute", other_variance - variance)
    return found


def _arrays(*tensors: Any) -> List[np.ndarray]:
    """Of torch's and Keras's alike, in float64."""
    return [np.asarray(each.numpy(), np.float64) for each in tensors]


def _watched(norm: Norm) -> Any:
    """A hook that keeps the statistics of what a BatchNorm is given."""

    def before(module: Any, arguments: Tuple[Any, ...]) -> None:
        given = arguments[0].detach().double()
        axes = [axis for axis in range(given.ndim) if axis != 1]
        count = given.numel() // given.shape[1]
        mean = given.mean(dim=axes)
        variance = given.var(dim=axes, unbiased=False)
        norm.batches.append((count, mean.numpy(), variance.numpy()))

    return before


def _batches(entry: Any) -> Iterator[Dict[str, np.ndarray]]:
    """As many batches as the last comparison needs: examples of the task, chosen at random, or
    drawn as probes are."""
    examples = entry.task.examples()[0] if entry.task is not None else None
    for step in range(STEPS[-1]):
        if examples is None:
            yield draw(entry, f"training-{step}", {"batch": BATCH})
            continue
        count = len(next(iter(examples.values())))
        chosen = stream(entry.name, "training", step).choice(count, BATCH, replace=False)
        yield {name: np.ascontiguousarray(array[chosen]) for name, array in examples.items()}

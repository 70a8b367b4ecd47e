"""What is drawn: a model's inputs, its BatchNorms' statistics, and what no constructor draws.

Everything comes from ``numpy.random.RandomState``, whose streams are frozen (NEP 19), seeded
by name: the same numbers under every version set.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Mapping, Optional

import numpy as np

from switchyard.wire import dtype_named

#: Probes that every model is asked, in order; hand-written ones and ``resized`` follow.
GENERATED = ("example", "fresh", "negated", "zeros")

#: The probe of other sizes. It decides the column ``dynamic``, never the verdict.
RESIZED = "resized"


def stream(*words: Any) -> np.random.RandomState:
    """A random stream that depends on ``words`` alone."""
    digest = hashlib.sha256("\0".join(map(str, words)).encode()).digest()
    return np.random.RandomState(np.frombuffer(digest[:16], dtype=np.uint32))


def shape_of(dims, sizes: Mapping[str, Any], other: bool = False):
    """The sizes of ``dims``: the example's, or the other ones."""
    return tuple(dim if isinstance(dim, int) else sizes[dim][other] for dim in dims)


def _uniform(rng, spec, shape) -> np.ndarray:
    """Values as ``spec`` says: uniform over its range, or the dtype's own default."""
    dtype = dtype_named(spec.dtype)
    if spec.dtype == "bool":
        return rng.randint(0, 2, size=shape).astype(dtype)
    if dtype.kind in "iu":
        low, high = spec.range or (0, 10)
        return rng.randint(int(low), int(high), size=shape, dtype=np.int64).astype(dtype)
    if spec.dtype == "complex64":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    if spec.range is None:
        return rng.standard_normal(shape).astype(dtype)
    low, high = spec.range
    return rng.uniform(low, high, size=shape).astype(dtype)


def _mirrored(array: np.ndarray, spec) -> np.ndarray:
    """The negated probe: mirrored within the range where there is one, so it stays legal."""
    if spec.dtype == "bool":
        return ~array
    if array.dtype.kind in "iu":
        low, high = spec.range or (0, 10)
        return (int(low) + int(high) - 1 - array).astype(array.dtype)
    if spec.range is None:
        return -array
    low, high = spec.range
    return (np.asarray(low + high, dtype=array.dtype) - array).astype(array.dtype)


def _zeros(array: np.ndarray, spec) -> np.ndarray:
    """Zeros, or the nearest legal value to zero."""
    value = 0
    if spec.range is not None:
        low, high = spec.range
        last = high - 1 if array.dtype.kind in "iu" else high
        value = min(max(0, low), last)
    return np.full(array.shape, value, dtype=array.dtype)


def _by_hand(value: Any, spec, shape, rng) -> np.ndarray:
    """A hand-written probe's value: a number fills, an array stands, a Tensor is drawn."""
    dtype = dtype_named(spec.dtype)
    if hasattr(value, "dims"):
        return _uniform(rng, type(spec)(*spec.dims, dtype=spec.dtype, range=value.range), shape)
    array = np.asarray(value)
    if array.ndim == 0:
        return np.full(shape, array, dtype=dtype)
    if array.shape != tuple(shape):
        raise ValueError(f"a probe of shape {array.shape} where the example has {tuple(shape)}")
    return array.astype(dtype)


def draw(entry, word: str, sizes: Mapping[str, int]) -> Dict[str, np.ndarray]:
    """Inputs of a zoo entry at ``sizes``, its example's where those say nothing; ``word`` seeds."""
    own = {dim: (sizes.get(dim, pair[0]), pair[1]) for dim, pair in entry.sizes.items()}
    return {
        name: _uniform(stream(entry.name, word, name), spec, shape_of(spec.dims, own))
        for name, spec in entry.inputs.items()
    }


def probes_of(entry) -> Dict[str, Dict[str, np.ndarray]]:
    """Every probe of a zoo entry: probe -> input -> array, the example first."""
    drawn: Dict[str, Dict[str, np.ndarray]] = {name: {} for name in GENERATED}
    for name, spec in entry.inputs.items():
        shape = shape_of(spec.dims, entry.sizes)
        example = _uniform(stream(entry.name, "example", name), spec, shape)
        drawn["example"][name] = example
        drawn["fresh"][name] = _uniform(stream(entry.name, "fresh", name), spec, shape)
        drawn["negated"][name] = _mirrored(example, spec)
        drawn["zeros"][name] = _zeros(example, spec)
    for probe, values in entry.probes.items():
        inputs = dict(drawn["example"])
        for name, value in values.items():
            spec = entry.inputs[name]
            shape = shape_of(spec.dims, entry.sizes)
            inputs[name] = _by_hand(value, spec, shape, stream(entry.name, probe, name))
        drawn[probe] = inputs
    if entry.sizes:
        drawn[RESIZED] = {
            name: _uniform(
                stream(entry.name, RESIZED, name), spec, shape_of(spec.dims, entry.sizes, True)
            )
            for name, spec in entry.inputs.items()
        }
    return drawn


def draw_parameters(module, name: str) -> None:
    """Give every BatchNorm statistics, and it and whatever else is as its constructor left it
    parameters, that are not the initial ones.

    At mean 0, variance 1, gamma 1, beta 0 every BatchNorm fault is invisible, and so is the loss
    or exchange of any other norm's gamma, of a bias of zeros. A module whose ``trained`` is true
    keeps what it learnt, with all that is in it, and a parameter that asks for no gradient is a
    constant of its model's and stays. ``drawn_variance = (low, high)`` on a module sets the
    interval its variances come from.
    """
    import torch

    learnt = tuple(path for path, layer in module.named_modules()
                   if getattr(layer, "trained", False))  # fmt: skip
    for path, layer in module.named_modules():
        if any(f"{path}.".startswith(f"{one}." if one else "") for one in learnt):
            continue
        if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
            _draw_batch_norm(layer, stream(name, "batch_norm", path))
            continue
        for field, tensor in layer.named_parameters(recurse=False):
            value = _initial(tensor)
            if value is not None:
                values = stream(name, "parameter", path, field).uniform(-0.5, 0.5, tensor.shape)
                _fill(tensor, value + values)


def _initial(tensor) -> Optional[float]:
    """0 or 1 where a vector holds nothing else, as constructors leave biases and gammas; None where
    it is a constant, or cannot be written to: not made yet, of inference alone, or all one element.
    """
    import torch

    if torch.nn.parameter.is_lazy(tensor) or not tensor.requires_grad or tensor.is_inference():
        return None
    if tensor.dim() != 1 or not tensor.is_floating_point() or not tensor.numel():
        return None
    if not tensor.is_contiguous():
        return None
    return next((value for value in (0.0, 1.0) if bool((tensor == value).all())), None)


def _draw_batch_norm(layer, rng: np.random.RandomState) -> None:
    low, high = getattr(layer, "drawn_variance", (0.5, 2.0))
    draws = {
        "running_mean": rng.uniform(-0.5, 0.5, layer.num_features),
        "running_var": rng.uniform(low, high, layer.num_features),
        "weight": rng.uniform(0.5, 1.5, layer.num_features),
        "bias": rng.uniform(-0.5, 0.5, layer.num_features),
    }
    for field, values in draws.items():
        tensor = getattr(layer, field, None)
        if tensor is not None:
            _fill(tensor, values)


def _fill(tensor, values: np.ndarray) -> None:
    import torch

    with torch.no_grad():
        tensor.copy_(torch.from_numpy(values).to(tensor.dtype))

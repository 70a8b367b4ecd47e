"""What is drawn: a model's inputs, its norms' statistics, and what no constructor draws.

Everything comes from ``numpy.random.RandomState``, whose streams are frozen (NEP 19), seeded
by name: the same numbers under every version set.
"""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np

from switchyard.wire import dtype_named

#: Probes that every model is asked, in order; hand-written ones and ``resized`` follow.
GENERATED = ("example", "fresh", "negated", "zeros")

#: Probes whose floats are the example's times a factor. At the size of 1, that of all that is
#: drawn, a lost clip never binds and the eps of a norm is lost beside the variance.
SCALED = {"tenfold": 10.0, "thousandth": 1e-3}

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
        # Not in a narrow dtype, which may not hold the sum: NumPy 1 would widen it, NumPy 2 refuse.
        mirrored = int(low) + int(high) - 1 - array.astype(np.int64)
        return mirrored.astype(array.dtype)
    if spec.range is None:
        return -array
    low, high = spec.range
    return (np.asarray(low + high, dtype=array.dtype) - array).astype(array.dtype)


def _zeros(array: np.ndarray, spec) -> np.ndarray:
    """Zeros, or the nearest legal value to zero."""
    value = 0
    if spec.range is not None:
        low, high = spec.range
        value = max(0, low)
        if value >= high:  # which itself is outside
            of = array.dtype.type
            integers = array.dtype.kind in "iu"
            value = high - 1 if integers else np.nextafter(of(high), of(low))
    return np.full(array.shape, value, dtype=array.dtype)


def _scaled(array: np.ndarray, spec, factor: float) -> Optional[np.ndarray]:
    """``array`` times ``factor``, or None where that need not be legal: of integers and booleans,
    and out of a range that was declared."""
    if array.dtype.kind in "biu":
        return None
    if spec.range is not None:
        low, high = spec.range
        if factor > 1 or not low <= 0 <= high:
            return None
    return array * np.asarray(factor, dtype=array.dtype)


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
    """Every probe of a zoo entry: probe -> input -> array, the example first. Those of ``SCALED``
    are there where an input may be of that size."""
    drawn: Dict[str, Dict[str, np.ndarray]] = {name: {} for name in GENERATED}
    for name, spec in entry.inputs.items():
        shape = shape_of(spec.dims, entry.sizes)
        example = _uniform(stream(entry.name, "example", name), spec, shape)
        drawn["example"][name] = example
        drawn["fresh"][name] = _uniform(stream(entry.name, "fresh", name), spec, shape)
        drawn["negated"][name] = _mirrored(example, spec)
        drawn["zeros"][name] = _zeros(example, spec)
    for probe, factor in SCALED.items():
        scaled = {
            name: _scaled(array, entry.inputs[name], factor)
            for name, array in drawn["example"].items()
        }
        if any(array is not None for array in scaled.values()):
            drawn[probe] = {
                name: drawn["example"][name] if array is None else array
                for name, array in scaled.items()
            }
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


#: A constant below it is a scale that starts next to nothing (CaiT and ConvNeXt: 1e-4 to 1e-6), so
#: that what it scales is lost in the rounding of what it is added to.
_NEXT_TO_NOTHING = 1e-3


def draw_parameters(module, name: str) -> list:
    """Give statistics to every norm that has them, and to it and whatever else is as its
    constructor left it parameters, that are not the initial ones.

    At mean 0, variance 1, gamma 1, beta 0 every BatchNorm fault is invisible, and so is the loss
    or exchange of any other norm's gamma, of a bias of zeros, and of all that a matrix of zeros or
    a scale of 1e-6 stands behind. A norm whose statistics are no longer the initial ones was
    trained and stays, and so does a parameter that asks for no gradient: a constant of its model's.
    ``drawn_variance = (low, high)`` on a module sets the interval its variances come from.

    Returns the layers whose statistics were drawn with no regard to what reaches them, for
    ``norm_scales``.
    """
    unscaled = []
    for path, layer in module.named_modules():
        if _keeps_statistics(layer):
            if _untrained(layer):
                _draw_norm(layer, stream(name, "batch_norm", path))
                if layer.running_mean is not None and not hasattr(layer, "drawn_variance"):
                    unscaled.append(layer)
            continue
        for field, tensor in layer.named_parameters(recurse=False):
            value = _initial(tensor)
            if value is not None:
                rng = stream(name, "parameter", path, field)
                spread = _spread(value, tensor.shape)
                _fill(tensor, value + rng.uniform(-spread, spread, tensor.shape))
    return unscaled


def _initial(tensor) -> Optional[float]:
    """The value that a parameter holds throughout, as constructors leave biases, gammas, slopes and
    the last layers of blocks, and 1 for a scale next to nothing. None where it holds several, is a
    single one that stands for a constant (a temperature), or cannot be written to: not made yet, of
    inference alone, or all one element.
    """
    import torch

    if torch.nn.parameter.is_lazy(tensor) or not tensor.requires_grad or tensor.is_inference():
        return None
    if not tensor.is_floating_point() or not tensor.numel() or not tensor.is_contiguous():
        return None
    value = float(tensor.detach().reshape(-1)[0])
    tiny = 0 < abs(value) < _NEXT_TO_NOTHING
    if tensor.numel() < 2 and value not in (0.0, 1.0) and not tiny:
        return None
    if not bool((tensor == tensor.reshape(-1)[0]).all()):
        return None
    return 1.0 if tiny else value


def _spread(value: float, shape: Sequence[int]) -> float:
    """Half the interval around ``value``: of a matrix or a kernel of zeros what leaves the scale of
    what it is multiplied with (LeCun's, variance 1 / fan-in), else 0.5, and of a smaller value half
    of that, so that it keeps its sign."""
    if value or len(shape) < 2 or shape[0] == 1:  # as a table of positions has it
        return 0.5 * min(1.0, abs(value) or 1.0)
    return float(np.sqrt(3 / np.prod(shape[1:])))


def _keeps_statistics(layer) -> bool:
    """BatchNorm, also where it keeps none, and whatever else normalises by statistics that it has:
    InstanceNorm told to, frozen BatchNorms of other libraries."""
    import torch

    if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
        return True
    return all(torch.is_tensor(getattr(layer, field, None))
               for field in ("running_mean", "running_var"))  # fmt: skip


def _untrained(layer) -> bool:
    mean, variance = getattr(layer, "running_mean", None), getattr(layer, "running_var", None)
    return (mean is None or bool((mean == 0).all())) and (
        variance is None or bool((variance == 1).all())
    )


def _draw_norm(layer, rng: np.random.RandomState) -> None:
    low, high = getattr(layer, "drawn_variance", (0.5, 2.0))
    intervals = {
        "running_mean": (-0.5, 0.5),
        "running_var": (low, high),
        "weight": (0.5, 1.5),
        "bias": (-0.5, 0.5),
    }
    tensors = {field: getattr(layer, field, None) for field in intervals}
    size = next((tensor.numel() for tensor in tensors.values() if tensor is not None), 0)
    for field, tensor in tensors.items():
        # of each field, so that one left out does not move the others
        values = rng.uniform(*intervals[field], size if tensor is None else tensor.numel())
        if tensor is not None:
            _fill(tensor, values.reshape(tensor.shape))


def _fill(tensor, values: np.ndarray) -> None:
    import torch

    with torch.no_grad():
        tensor.copy_(torch.from_numpy(values).to(tensor.dtype))

"""Whether a converter left the model it was given as it was: to the bit, and in its mode."""

from __future__ import annotations

import hashlib
from typing import Any, Dict, Mapping

import numpy as np

#: What may have changed, in the order it is said.
PARTS = ("parameters", "buffers", "mode")

#: What is said where nothing has.
UNCHANGED = "no"

State = Mapping[str, Mapping[str, Any]]


def take(module: Any) -> State:
    """What ``changed`` compares: a digest of each parameter and buffer, the flag ``training`` of
    each submodule. No tensor is kept, so that a large model is not held twice."""
    return {
        "parameters": {name: _digest(t) for name, t in module.named_parameters()},
        "buffers": {name: _digest(t) for name, t in module.named_buffers()},
        "mode": {name: each.training for name, each in module.named_modules()},
    }


def changed(before: State, module: Any) -> str:
    """The parts of the module that are not as they were, joined by ``>``; ``no`` where all are."""
    after: Dict[str, Any] = dict(take(module))
    return ">".join(part for part in PARTS if before[part] != after[part]) or UNCHANGED


def _digest(tensor: Any) -> str:
    """Of shape, dtype and bits; of shape and dtype alone where the bits cannot be had (meta,
    quantised and sparse tensors)."""
    said = f"{tuple(tensor.shape)} {tensor.dtype}"
    try:
        from switchyard.worker.building import to_numpy

        bits = np.ascontiguousarray(to_numpy(tensor)).tobytes()
    except Exception:
        return said
    return f"{said} {hashlib.blake2b(bits, digest_size=16).hexdigest()}"

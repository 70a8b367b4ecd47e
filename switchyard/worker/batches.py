"""What a model answers batch by batch: 64 examples one by one and at once, and a task's whole test
split in batches of 64.

An artefact that normalises by the batch at hand answers otherwise at every batch size, which no
probe of one size shows. Asked of models tagged ``mode``.
"""

from __future__ import annotations

import pathlib
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from switchyard import wire
from switchyard.worker import files_read
from switchyard.worker.drawing import draw
from switchyard.worker.elements import as_float64

#: Examples of the large batch, and of each batch of the test split but its last.
SIZE = 64

#: Under which a reference keeps them; no probe's name has a hyphen.
LARGE, SPLIT = "of-64", "test-split"

Arrays = Mapping[str, np.ndarray]
Run = Callable[[Arrays], Arrays]


def labelled(task: Any) -> Tuple[Dict[str, np.ndarray], np.ndarray]:
    """The examples of a task, with their labels. What they are read from decides the reference as
    what the model is read from does."""
    with files_read.noting():
        inputs, labels = task.examples()
    return {name: np.asarray(array) for name, array in inputs.items()}, np.asarray(labels)


def write(entry: Any, run: Run, target: pathlib.Path) -> None:
    """Put the examples and torch's answers beside a model's reference. The 64 are the task's
    first where there is a task, else drawn as probes are."""
    given = {"inputs": {}, "outputs": {}}
    if entry.task is not None:
        inputs, labels = labelled(entry.task)
        given["inputs"] = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        given["outputs"] = _joined([run(part) for part in _parts(given["inputs"], SIZE)])
        wire.save_tensors(target / f"{SPLIT}.inputs.tensors", given["inputs"])
        wire.save_tensors(target / f"{SPLIT}.outputs.tensors", given["outputs"])
        wire.save_tensors(target / f"{SPLIT}.labels.tensors", {"labels": labels})
        large = {what: _slice(arrays, 0, SIZE) for what, arrays in given.items()}
    else:
        inputs = draw(entry, LARGE, {"batch": SIZE})
        large = {"inputs": inputs, "outputs": run(inputs)}
    for what, arrays in large.items():
        wire.save_tensors(target / f"{LARGE}.{what}.tensors", arrays)


def ask(run: Run, reference: Any, figures: List[dict]) -> Dict[str, Optional[float]]:
    """The columns; what a batch size is not taken for stays empty. The mean squared error of
    every batch of the split goes to ``figures``."""
    given, wanted = reference.inputs(LARGE), reference.outputs(LARGE)
    fields: Dict[str, Optional[float]] = {
        "batch1_mse": _mean(_errors(run, given, wanted, 1)),
        "batch64_mse": _mean(_errors(run, given, wanted, SIZE)),
    }
    labels = reference.folder / f"{SPLIT}.labels.tensors"
    if not labels.exists():
        return fields
    right = wire.load_tensors(labels)["labels"]
    given, wanted = reference.inputs(SPLIT), reference.outputs(SPLIT)
    errors = _errors(run, given, wanted, SIZE)
    for place, error in enumerate(errors or ()):
        figures.append({"condition": f"{SPLIT}-{place:03d}", "metric": "mse", "value": error})
    fields["split_mse_mean"] = _mean(errors)
    fields["split_mse_worst"] = max(errors) if errors else None
    fields["batch1_accuracy"] = _accuracy(run, given, right, 1)
    fields["batch64_accuracy"] = _accuracy(run, given, right, SIZE)
    return fields


def _errors(run: Run, given: Arrays, wanted: Arrays, size: int) -> Optional[List[float]]:
    """The mean squared error of each batch of ``size``, of the output where it is largest; None
    where a batch is refused, answered in another shape, or with what is no number."""
    errors = []
    for start, part in zip(range(0, _length(given), size), _parts(given, size)):
        try:
            got = run(part)
        except Exception:  # the probes have judged the artefact; the column stays empty
            return None
        right = _slice(wanted, start, size)
        if set(got) != set(right) or any(got[p].shape != right[p].shape for p in right):
            return None
        gaps = [as_float64(got[path]) - as_float64(right[path]) for path in right]
        # numpy's maximum is NaN where any is, Python's is not.
        errors.append(float(np.max([np.mean(gap * gap) for gap in gaps])))
    return errors if np.isfinite(errors).all() else None


def accuracy(run: Run, given: Arrays, labels: np.ndarray, size: int, fill: bool = False) -> float:
    """The share of labels that the argmax of the first output hits, in [0, 1], asked in batches of
    ``size``; an example with NaN among its scores hits none. ``fill``: the last batch is no smaller
    than the others, since an artefact of fixed sizes would refuse it; what is answered to what
    filled it does not count. Raises what ``run`` raises."""
    hits = 0
    for start, part in zip(range(0, len(labels), size), _parts(given, size)):
        right = labels[start : start + size]
        if fill:
            part = {path: _filled(array, size) for path, array in part.items()}
        scores = next(iter(run(part).values()))[: len(right)]
        chosen = scores.argmax(axis=-1) == right
        hits += int(np.sum(chosen & ~np.isnan(scores).any(axis=-1)))
    return hits / len(labels)


def _accuracy(run: Run, given: Arrays, labels: np.ndarray, size: int) -> Optional[float]:
    """``accuracy``, or None where a batch is refused."""
    try:
        return accuracy(run, given, labels, size)
    except Exception:  # the probes have judged the artefact; the column stays empty
        return None


def _mean(errors: Optional[List[float]]) -> Optional[float]:
    return float(np.mean(errors)) if errors else None


def _length(arrays: Arrays) -> int:
    return len(next(iter(arrays.values())))


def _slice(arrays: Arrays, start: int, size: int) -> Dict[str, np.ndarray]:
    return {path: np.ascontiguousarray(a[start : start + size]) for path, a in arrays.items()}


def _filled(array: np.ndarray, size: int) -> np.ndarray:
    """``array`` with its last example repeated until there are ``size``."""
    return np.concatenate([array, np.repeat(array[-1:], size - len(array), axis=0)])


def _parts(arrays: Arrays, size: int) -> List[Dict[str, np.ndarray]]:
    return [_slice(arrays, start, size) for start in range(0, _length(arrays), size)]


def _joined(parts: List[Arrays]) -> Dict[str, np.ndarray]:
    return {path: np.concatenate([part[path] for part in parts]) for path in parts[0]}

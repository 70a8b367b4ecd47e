"""Which layer of an ONNX artefact first differs from torch, and by what known fault.

The activations of torch's leaf modules are looked for among all the graph's tensors by
value: names do not survive exporters. Pure numpy on recorded arrays, which ``capture``
takes from torch and ONNX Runtime. The assumption is one example of continuous values, in
which no two tensors agree by chance.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from switchyard.worker.elements import as_float64
from switchyard.worker.evidence import SAME as SAME_OUTPUT
from switchyard.worker.evidence import Evidence, affine_by_channel
from switchyard.worker.rounding import rms

#: RMS distance, as a part of the RMS, within which two activations are one: ten times what a deep
#: honest float32 net was seen to gather (16 bits round more: see ``tolerance``). A layer whose
#: input already stands further off may itself stand GROWTH times as far.
SAME, GROWTH = 1e-5, 10.0


def tolerance(array: np.ndarray) -> float:
    """``SAME`` for an activation of this array's dtype: in 16 bits that of outputs."""
    return SAME_OUTPUT.get(array.dtype.name, SAME)


@dataclasses.dataclass
class Record:
    """One call of a leaf module: its name and class, first input and output; ``variants``
    are the outputs it would give under a known fault: (kind, what is wrong, output)."""

    name: str
    layer: str
    input: np.ndarray
    output: np.ndarray
    variants: Callable[[], Iterator[Tuple[str, str, np.ndarray]]] = lambda: iter(())
    replay: Optional[Callable[[np.ndarray], np.ndarray]] = None


Graph = Sequence[Tuple[str, np.ndarray]]


class Index:
    """The graph's tensors by size, with what no reordering changes: mean and RMS."""

    def __init__(self, graph: Graph):
        self.by_size: Dict[int, List[Tuple[str, np.ndarray, float, float]]] = {}
        for name, array in graph:
            value = as_float64(array)
            if value.size >= 2 and np.isfinite(value).all():
                entry = (name, value, float(value.mean()), rms(value))
                self.by_size.setdefault(value.size, []).append(entry)

    def of_size(self, size: int):
        return self.by_size.get(size, ())

    def distance(self, wanted: np.ndarray) -> Tuple[float, str]:
        """How far the nearest tensor is, as a part of the RMS, in any order of axes."""
        far = max(1e-2, tolerance(wanted))
        wanted = as_float64(wanted)
        level, mean = rms(wanted), float(wanted.mean()) if wanted.size else 0.0
        best = (float("inf"), "")
        if level == 0 or not np.isfinite(wanted).all():
            return best
        squeezed = wanted.reshape([n for n in wanted.shape if n != 1] or [1])
        orders = list(itertools.permutations(range(squeezed.ndim))) if squeezed.ndim <= 5 else []
        for name, array, its_mean, its_level in self.of_size(wanted.size):
            if abs(its_mean - mean) > far * level or abs(its_level - level) > far * level:
                continue
            flat = array.ravel()
            shape = tuple(n for n in array.shape if n != 1)
            best = min(best, (rms(flat - wanted.ravel()) / level, name))
            for axes in orders[1:]:
                if tuple(squeezed.shape[axis] for axis in axes) == shape:
                    gap = rms(flat - squeezed.transpose(axes).ravel()) / level
                    best = min(best, (gap, name))
        return best


def first_difference(records: Sequence[Record], graph: Graph) -> Evidence:
    """The first layer whose output the graph lacks though it has the input, and the fault.

    A layer is excused where a later one that took its output is there: exporters fold
    BatchNorm into the convolution before it, whose own output is then nowhere. Its chain
    (each input the output before) is blamed as a whole where its end is missing too, since
    the fault may be in any folded part. Kind is empty where no known fault fits; ``why``
    then names the layer.
    """
    index = Index(graph)
    gaps = [index.distance(record.output)[0] for record in records]
    there = [gap <= tolerance(record.output) for gap, record in zip(gaps, records)]
    for place, record in enumerate(records):
        if there[place]:
            continue
        # The right input may be there as well, in the tensor before the wrong flatten.
        before, turned = index.distance(record.input)[0], _reordered_input(record, index)
        absent = before > tolerance(record.input) or gaps[place] <= GROWTH * before
        if absent and not turned:
            continue
        chain = _chain(records, place)
        if any(there[link] for link in chain):
            continue
        if turned:
            return Evidence("layout-permuted", turned)
        for first in range(min(3, len(chain))):
            evidence = _known_fault([records[link] for link in chain[first : first + 3]], index)
            if evidence:
                return evidence
        near = f", nearest {gaps[place]:.2g} of its RMS away" if gaps[place] < 1 else ""
        where = f"layer {record.name!r} ({record.layer})"
        return Evidence("", f"{where} is the first whose output the graph lacks{near}")
    return Evidence("", f"none of {len(records)} layers stands out among {len(graph)} tensors")


def _chain(records: Sequence[Record], place: int) -> List[int]:
    """``place`` and the layers that took its output, and theirs, one after the other."""
    chain, current = [place], records[place].output
    for later in range(place + 1, len(records)):
        taken = records[later].input
        if taken.shape == current.shape and np.array_equal(taken, current):
            chain.append(later)
            current = records[later].output
    return chain


def _known_fault(chain: Sequence[Record], index: Index) -> Evidence:
    """Variants of the first layer that the graph holds, or holds once the layers behind it
    (a BatchNorm folded into it) were replayed; then an affine fit by channel."""
    record = chain[0]
    where = f"layer {record.name!r} ({record.layer})"
    for kind, what, output in record.variants():
        for behind in [None, *chain[1:]]:
            if behind is not None:
                if behind.replay is None:
                    break
                output = behind.replay(output)
            gap, name = index.distance(output)
            if gap <= tolerance(record.output):
                said = f"{where}: {what}; tensor {name!r} is that to {gap:.1g} of its RMS"
                return Evidence(kind, said)
    if "BatchNorm" not in record.layer:
        return Evidence()
    wanted = as_float64(record.output)
    for name, array, _, _ in index.of_size(wanted.size):
        for axes in itertools.permutations(range(wanted.ndim)):
            if array.ndim != wanted.ndim or wanted.transpose(axes).shape != array.shape:
                continue
            figures = affine_by_channel(wanted.transpose(axes), array, axes.index(1))
            if figures:
                return Evidence("channel-affine", f"{where}: tensor {name!r} is {figures}")
    return Evidence()


def _reordered_input(record: Record, index: Index) -> str:
    """A Linear fed with its input's values in another order, sample by sample.

    Proof: the reordered tensor is there, the right one is not, and where the layer can be
    replayed, torch's own layer on the reordered tensor gives a tensor of the graph.
    """
    wanted = as_float64(record.input)
    if record.layer != "Linear" or wanted.ndim < 2 or wanted.shape[-1] < 4:
        return ""
    ordered, allowed = np.sort(wanted, axis=-1), tolerance(record.input) * rms(wanted)
    for name, array, _, _ in index.of_size(wanted.size):
        if array.shape != wanted.shape or rms(array - wanted) <= allowed:
            continue
        if rms(np.sort(array, axis=-1) - ordered) > allowed:
            continue
        given = None if record.replay is None else record.replay(array)
        if given is not None and index.distance(given)[0] > tolerance(record.output):
            continue
        said = f"layer {record.name!r} (Linear): tensor {name!r} holds its input in another order"
        proved = ", and the layer on it gives what the graph goes on with"
        return said + (proved if record.replay else "")
    return ""


def batch_norm_variants(x, mean, variance, gamma, beta, epsilon):
    """(kind, what is wrong, output) of a BatchNorm under each known fault; axis 1 is channels."""

    def normed(m, v, e):
        shape = (1, -1) + (1,) * (x.ndim - 2)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = gamma / np.sqrt(v + e)
            return (x - m.reshape(shape)) * scale.reshape(shape) + beta.reshape(shape)

    none, one = np.zeros_like(mean), np.ones_like(variance)
    yield "channel-affine", "mean and variance swapped", normed(variance, mean, epsilon)
    yield "channel-affine", "running statistics forgotten", normed(none, one, epsilon)
    yield "channel-affine", "running mean forgotten", normed(none, variance, epsilon)
    yield "channel-affine", "running variance forgotten", normed(mean, one, epsilon)
    yield (
        "channel-affine",
        "variance taken for a standard deviation",
        normed(mean, variance**2, 0.0),
    )
    for other in (1e-3, 1e-5, 1e-6, 1e-12):
        if not np.isclose(other, epsilon, rtol=1e-3, atol=0):
            yield (
                "channel-affine",
                f"epsilon {other:g} for {epsilon:g}",
                normed(mean, variance, other),
            )


def initialiser_fault(ours: Mapping[str, Any], theirs: Sequence[Mapping[str, Any]]) -> str:
    """What a surviving BatchNormalization node says otherwise than torch, or nothing.

    ``ours`` and each of ``theirs`` hold ``mean, variance, gamma, beta, epsilon``, and ``training``
    where a node normalises by the batch at hand. The node is found by gamma and beta, which no
    known fault touches.
    """

    def equal(one, two):
        return np.shape(one) == np.shape(two) and np.allclose(one, two, rtol=1e-5, atol=1e-7)

    nodes = [
        n for n in theirs if equal(n["gamma"], ours["gamma"]) and equal(n["beta"], ours["beta"])
    ]
    if len(nodes) != 1:
        return ""
    node, said = nodes[0], []
    if node.get("training"):
        said.append("normalises by the batch at hand")
    if equal(node["mean"], ours["variance"]) and equal(node["variance"], ours["mean"]):
        said.append("mean and variance swapped")
    elif not equal(node["mean"], ours["mean"]) or not equal(node["variance"], ours["variance"]):
        plain = not np.any(node["mean"]) and equal(node["variance"], np.ones_like(node["variance"]))
        said.append("running statistics forgotten" if plain else "other running statistics")
    if not np.isclose(node["epsilon"], ours["epsilon"], rtol=1e-3, atol=0):
        said.append(f"epsilon {node['epsilon']:g} for {ours['epsilon']:g}")
    return " and ".join(said)

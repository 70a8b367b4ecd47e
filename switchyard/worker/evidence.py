"""What went wrong, from the outputs: a kind is named only where the figures show it.

Pure numpy. Each test below states what it takes for proof; none of them proven is
``unexplained``. Faults inside the network, which later layers have mixed beyond
recognition, are for ``layers``; what the tests amount to for a cell, for ``diagnosis``.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from switchyard.worker.agreement import Agreement, band, compare
from switchyard.worker.elements import as_float64, is_exact
from switchyard.worker.rounding import rms

#: Two arrays are one where their RMS distance is below this part of the reference's
#: standard deviation: ten times what honest routes show in 32 bits, 4 ulp in 16 bits.
SAME = {"float16": 4e-3, "bfloat16": 3e-2}
SAME_BY_DEFAULT = 1e-4

#: An error below this nmse is a matter of degree, above it one of kind (10% of the spread).
GROSS = 1e-2

#: Generated probes that change the sign or remove the signal: see ``constant_baked``.
EXAMPLE, SIGNED = "example", ("negated", "zeros")


@dataclasses.dataclass(frozen=True)
class Evidence:
    """A kind and one sentence with the figures. Falsy where nothing was shown; ``why``
    then says what was looked at."""

    kind: str = ""
    why: str = ""

    def __bool__(self) -> bool:
        return bool(self.kind)


@dataclasses.dataclass(frozen=True)
class ProbeOutputs:
    """One probe: its name, torch's outputs, the route's, torch's in float64 where had. ``limit``
    and ``scales`` are what the probe was judged by: see ``agreement.band`` and
    ``rounding.scales``."""

    probe: str
    reference: Mapping[str, np.ndarray]
    got: Mapping[str, np.ndarray]
    reference64: Optional[Mapping[str, np.ndarray]] = None
    limit: Optional[float] = None
    scales: Optional[Mapping[str, float]] = None


Pairs = List[Tuple[np.ndarray, np.ndarray]]


def from_outputs(probes: Sequence[ProbeOutputs]) -> Evidence:
    """The first of the tests on outputs alone that proves something, the plainest first.

    Where several outputs are wrong each must show it: what explains one of them does not
    explain the cell.
    """
    probes = [probe for probe in probes if aligned(probe)]
    wrong = _wrong_outputs(probes)
    for test in (_constant_output, swapped, layout_permuted, _channel_affine, _padding_shift):
        evidence = test(probes)
        if evidence and (test is swapped or all(test(_only(probes, path)) for path in wrong)):
            return evidence
    return Evidence()


def _only(probes: Sequence[ProbeOutputs], path: str) -> List[ProbeOutputs]:
    """The probes with one output alone."""
    return [
        dataclasses.replace(p, reference={path: p.reference[path]}, got={path: p.got[path]})
        for p in probes
    ]


def aligned(probe: ProbeOutputs) -> bool:
    return all(
        path in probe.got and np.shape(probe.got[path]) == np.shape(array)
        for path, array in probe.reference.items()
    )


def _is_float(array: np.ndarray) -> bool:
    """Integers can agree by chance, so they prove nothing below."""
    return np.asarray(array).dtype.kind not in "iub"


def same_within(dtype: str) -> float:
    """The part of its size that an output of ``dtype`` may be off and be the same."""
    return 0.0 if is_exact(dtype) else SAME.get(dtype, SAME_BY_DEFAULT)


def same(reference: np.ndarray, got: np.ndarray, dtype: str = "float32") -> bool:
    """Whether two float64 arrays are one to the rounding of ``dtype``, and not trivially:
    a constant reference is equal to nothing here."""
    if reference.shape != got.shape or reference.size < 2:
        return False
    finite = np.isfinite(reference)
    if not np.array_equal(finite, np.isfinite(got)) or not finite.any():
        return False
    a, b = reference[finite], got[finite]
    spread = float(a.std())
    return spread > 1e-6 * rms(a) and rms(a - b) <= same_within(dtype) * spread


def _wrong_outputs(probes: Sequence[ProbeOutputs]) -> Dict[str, Tuple[str, Pairs]]:
    """For each float output that is wrong on some probe: dtype and (torch, route) on all."""
    found: Dict[str, Tuple[str, Pairs]] = {}
    for path in probes[0].reference if probes else ():
        wanted = np.asarray(probes[0].reference[path])
        if not _is_float(wanted):
            continue
        bands = [band(_one(probe, path), probe.limit) for probe in probes]
        if any(verdict == "investigate" for verdict, _ in bands):
            pairs = [(as_float64(p.reference[path]), as_float64(p.got[path])) for p in probes]
            found[path] = (wanted.dtype.name, pairs)
    return found


def _one(probe: ProbeOutputs, path: str) -> Agreement:
    exact = probe.reference64
    wanted = {path: exact[path]} if exact and path in exact else None
    own, got = {path: probe.reference[path]}, {path: probe.got[path]}
    return compare(own, got, wanted, scales=probe.scales)


def _constant_output(probes: Sequence[ProbeOutputs]) -> Evidence:
    """The route answers alike on probes where torch's answers differ, or all zeros.

    Proof: at least two probes whose references differ by 10% of their RMS while the
    route's are the same to rounding (1e-6). One probe proves only zeros. (A reference that
    hardly moves proves nothing: a fault inside may have left a dead but honest end.)
    """
    for path, (_, pairs) in _wrong_outputs(probes).items():
        live = [(a, b) for a, b in pairs if rms(a) > 0 and a.size]
        if live and all(not b.any() for _, b in live):
            return Evidence(
                "constant-output",
                f"output {path!r} is all zero on {len(live)} probes where torch's RMS is"
                f" up to {max(rms(a) for a, _ in live):.3g}",
            )
        first, answer = pairs[0]
        rest = [(a, b) for a, b in pairs[1:] if a.shape == first.shape]
        apart = [rms(a - first) for a, _ in rest]
        if not rest or max(apart) <= 0.1 * rms(first):
            continue
        if all(rms(b - answer) <= 1e-6 * rms(answer) for _, b in rest):
            return Evidence(
                "constant-output",
                f"output {path!r} is the same on {len(pairs)} probes where torch's differs by"
                f" up to {max(apart):.3g} (RMS)",
            )
    return Evidence()


def swapped(probes: Sequence[ProbeOutputs]) -> Evidence:
    """Each wrong output equals another's reference, each another's, on every probe."""
    if not probes or set(probes[0].got) != set(probes[0].reference):
        return Evidence()
    paths = list(probes[0].reference)
    floats = [p for p in paths if _is_float(probes[0].reference[p])]
    allowed = {path: set(floats) for path in floats}
    told = False
    for probe in probes:
        references = {path: as_float64(probe.reference[path]) for path in floats}
        for path in floats:
            got = as_float64(probe.got[path])
            dtype = np.asarray(probe.reference[path]).dtype.name
            equal = {other for other in floats if same(references[other], got, dtype)}
            # A probe that makes an output constant (zeros) tells nothing of it.
            if equal or any(r.shape == got.shape and r.std() > 0 for r in references.values()):
                allowed[path] &= equal
                told = True
    moved = {path: sorted(others)[0] for path, others in allowed.items() if len(others) == 1}
    swaps = {path: other for path, other in moved.items() if path != other}
    if told and len(swaps) > 1 and sorted(swaps) == sorted(swaps.values()):
        pairs = ", ".join(f"{path!r} holds torch's {other!r}" for path, other in swaps.items())
        return Evidence("output-structure", f"outputs are swapped: {pairs} ({len(probes)} probes)")
    return Evidence()


def _orders(shape: Tuple[int, ...]) -> List[Tuple[Tuple[int, ...], Tuple[int, ...]]]:
    """(shape to see an array in, axes to transpose) for every order that is not its own.

    The axes themselves, and the last axis as channels x places either way round, which is
    what a flatten of NCHW as NHWC leaves behind.
    """
    orders = []
    if 2 <= len(shape) <= 5:
        own = tuple(range(len(shape)))
        orders += [(shape, axes) for axes in itertools.permutations(own) if axes != own]
    if len(shape) >= 2:
        last, count = len(shape) - 1, shape[-1]
        for channels in range(2, count // 2 + 1):
            if count % channels == 0:
                seen = shape[:-1] + (channels, count // channels)
                orders.append((seen, tuple(range(last)) + (last + 1, last)))
    return orders


def layout_permuted(probes: Sequence[ProbeOutputs], same_shape: bool = True) -> Evidence:
    """The output holds torch's values in another order of axes, one order for all probes.

    Proof: at least 4 elements, not constant, and equal to rounding on every probe that is
    not constant. ``same_shape`` False looks at outputs of another shape as well.
    """
    if same_shape:
        wrong = _wrong_outputs(probes)
    else:
        wrong = {
            path: (np.asarray(a).dtype.name,
                   [(as_float64(p.reference[path]), as_float64(p.got[path])) for p in probes])
            for path, a in (probes[0].reference if probes else {}).items()
            if _is_float(a) and all(path in p.got for p in probes)
        }  # fmt: skip
    for path, (dtype, pairs) in wrong.items():
        pairs = [(a, b) for a, b in pairs if a.std() > 0 and a.size == b.size >= 4]
        if not pairs or any(a.shape != pairs[0][0].shape for a, _ in pairs):
            continue
        # An exchange shows on no probe of one value along both axes, as zeros behind a bias are.
        if all(same(a, b, dtype) for a, b in pairs):
            continue
        for seen, axes in _orders(pairs[0][0].shape):
            turned = (a.reshape(seen).transpose(axes).reshape(b.shape) for a, b in pairs)
            if all(same(t, b, dtype) for t, (_, b) in zip(turned, pairs)):
                return Evidence(
                    "layout-permuted",
                    f"output {path!r} equals torch's seen as {seen} with axes {axes},"
                    f" on {len(pairs)} probes",
                )
    return Evidence()


def affine_by_channel(reference: np.ndarray, got: np.ndarray, axis: int) -> Optional[str]:
    """The figures of ``got = a * reference + b`` channel by channel, None where it is not.

    Assumes float64 of equal shape, ``axis`` the channels. Proof: two channels at least with
    8 samples and a varying reference each (2 unknowns, so noise would keep 87% of its size),
    the fit takes away 95% of the error and leaves less than 1e-2 of the spread, a is near
    neither 0 nor infinity (a constant fits anything that does not move), the channels do not
    share one a and b (one scale for all is no fault of a channel), and the error is larger than
    float32 rounds: an offset below that is a constant of fewer digits, as in a float64 GELU.
    """
    count = reference.shape[axis]
    a = np.moveaxis(reference, axis, 0).reshape(count, -1)
    b = np.moveaxis(got, axis, 0).reshape(count, -1)
    if count < 2 or a.shape[1] < 8 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    live = a.std(1) > 1e-3 * max(rms(a), 1e-300)
    if live.sum() < 2 or live.sum() < count / 2:
        return None
    a, b = a[live], b[live]
    error = rms(b - a)
    middle = a - a.mean(1, keepdims=True)
    slope = np.sum(middle * b, 1) / np.sum(middle * middle, 1)
    offset = b.mean(1) - slope * a.mean(1)
    left = rms(b - slope[:, None] * a - offset[:, None])
    if error <= 2.0**-24 * rms(a) or left > 0.05 * error or left > 1e-2 * float(a.std()):
        return None
    if not 0.02 < np.abs(slope).min() or np.abs(slope).max() > 50:
        return None
    # One line through all channels: what it cannot explain is what differs by channel.
    level = a - a.mean()
    shared = rms(b - b.mean() - level * np.sum(level * b) / np.sum(level * level))
    if shared <= 3 * left or shared <= 0.02 * error:
        return None
    return (
        f"a*x+b over {len(slope)} channels of {a.shape[1]} samples, a {slope.min():.4g} to"
        f" {slope.max():.4g}, b {offset.min():.3g} to {offset.max():.3g}, leaves"
        f" {left / error:.2g} of the error"
    )


def _channel_affine(probes: Sequence[ProbeOutputs]) -> Evidence:
    """``affine_by_channel`` on axis 1 or the last, all probes pooled; not where a probe is right
    that such a fault would show on: those that are wrong then have a cause of their own, and values
    that hardly move within each are few points, through which there is always a line."""
    for path, (dtype, pairs) in _wrong_outputs(probes).items():
        if any(same(a, b, dtype) for a, b in pairs):
            continue
        first = pairs[0][0]
        for axis in sorted({1, first.ndim - 1}) if first.ndim >= 2 else ():
            count = first.shape[axis]
            fits = [p for p in pairs if p[0].ndim == first.ndim and p[0].shape[axis] == count]
            rows = [
                [np.moveaxis(x, axis, 0).reshape(count, -1) for x in p] for p in fits if p[0].size
            ]
            if not rows:
                continue
            figures = affine_by_channel(*(np.concatenate(part, 1) for part in zip(*rows)), axis=0)
            if figures:
                return Evidence("channel-affine", f"output {path!r} is, on axis {axis}, {figures}")
    return Evidence()


def _padding_shift(probes: Sequence[ProbeOutputs]) -> Evidence:
    """The inside equals torch's moved by one pixel, or only the outermost pixel differs.

    Proof: one or two spatial axes (not the batch, and not both the channel axes of either
    layout), each of 4 pixels at least, the same move on every probe that is not constant,
    half of the elements compared (a quarter for the rim), and the whole not equal as it
    stands. The rim wrong and the inside right is a fault of padding as well.
    """
    for path, (dtype, pairs) in _wrong_outputs(probes).items():
        pairs = [(a, b) for a, b in pairs if a.size and a.std() > 0]
        if not pairs or any(a.shape != pairs[0][0].shape for a, _ in pairs):
            continue
        shape, size = pairs[0][0].shape, pairs[0][0].size
        first, last = list(range(2, len(shape))), list(range(1, len(shape) - 1))
        groups = [
            g for n in (1, 2) for axes in (first, last) for g in itertools.combinations(axes, n)
        ]
        groups = [g for g in dict.fromkeys(groups) if all(shape[axis] >= 4 for axis in g)]
        groups = [g for g in groups if not _equal_as_it_stands(pairs, g, dtype)]
        for group in groups:
            for move in itertools.product((-1, 1), repeat=len(group)):
                back = [-step for step in move]
                cut = [(_cut(a, group, move), _cut(b, group, back)) for a, b in pairs]
                if 2 * cut[0][0].size >= size and all(same(a, b, dtype) for a, b in cut):
                    said = f"equals torch's moved by {move} along axes {group}"
                    return Evidence("padding-shift", f"output {path!r} {said}, {len(cut)} probes")
        for group in groups:
            sides = [1] * len(group) + [-1] * len(group)
            inner = [(_cut(a, group * 2, sides), _cut(b, group * 2, sides)) for a, b in pairs]
            if 4 * inner[0][0].size >= size and all(same(a, b, dtype) for a, b in inner):
                said = f"is right but for its outermost pixel along axes {group}"
                return Evidence("padding-shift", f"output {path!r} {said}, {len(inner)} probes")
    return Evidence()


def _equal_as_it_stands(pairs: Pairs, axes: Sequence[int], dtype: str) -> bool:
    """Whether the route is right on a probe that a move along ``axes`` would show on, or there is
    no such probe. One that is flat there shows none, as zeros behind a bias by channel are."""
    varying = [(a, b) for a, b in pairs if np.ptp(a, axis=tuple(axes)).max() > 0]
    return not varying or any(same(a, b, dtype) for a, b in varying)


def _cut(array: np.ndarray, axes: Sequence[int], moves: Sequence[int]) -> np.ndarray:
    """Without the first pixel along an axis moved by +1, the last moved by -1."""
    for axis, move in zip(axes, moves):
        keep = slice(1, None) if move > 0 else slice(None, -1) if move < 0 else slice(None)
        array = array[(slice(None),) * axis + (keep,)]
    return array


def constant_baked(probes: Sequence[ProbeOutputs], example: str) -> Evidence:
    """The example is right to rounding, another probe grossly wrong: a path or a value of
    the example was written into the graph. For where the model is not at hand: where it is,
    ``trace_replay`` proves or disproves it, and a probe that is merely hard is not mistaken.

    Which probes count: those made by hand (the model's author wrote them to take another
    branch, count or value), and ``fresh`` ones, which are drawn as the example was: an
    operator that is wrong on a range of values would be wrong on the example too, among as
    many values of the same kind. ``negated`` and ``zeros`` do not count alone: a slope lost
    below zero, a max-pool padded with zeros or 0/0 are right on a positive example and
    grossly wrong there, with nothing baked. Every wrong probe must be grossly wrong; an
    error that grows from probe to probe is one of precision or range.
    """
    results = {
        p.probe: compare(p.reference, p.got, p.reference64, scales=p.scales, limit=p.limit)
        for p in probes
    }
    verdicts = {p.probe: band(results[p.probe], p.limit)[0] for p in probes}
    if verdicts.get(example) != "excellent":
        return Evidence()
    wrong = {n: r for n, r in results.items() if verdicts[n] == "investigate"}
    errors = {n: r.nmse if r.nmse is not None else r.mse for n, r in wrong.items()}
    # Of integers, whose bands say nothing, the share that is wrong is held against it.
    gross = {n for n, r in wrong.items() if (errors[n] or 0) > GROSS
             or (is_exact(r.dtype) and 1 - r.match_fraction > GROSS)
             or (r.nmse is None and (r.error_vs_fp64 or 0) > 1e3)}  # fmt: skip
    telling = sorted(n for n in gross if n not in SIGNED)
    if not telling or len(gross) < len(wrong):
        return Evidence()
    return Evidence(
        "constant-baked",
        f"the example is right to rounding (mse {results[example].mse or 0:.2g}) and probe"
        f" {telling[0]!r} grossly wrong ({wrong[telling[0]].message})",
    )

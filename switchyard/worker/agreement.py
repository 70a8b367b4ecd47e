"""Whether what arrived is what left: one probe, and one cell.

Pure numpy; arithmetic in float64, but for integers, which are subtracted as integers. Outputs
are matched by count, name, shape and dtype before any value is looked at; NaN and infinities must
stand in the same places. A figure that cannot be had is None, never 0.
"""

from __future__ import annotations

import dataclasses
import math
from typing import List, Mapping, Optional, Sequence, Tuple

import numpy as np

from switchyard.vocabulary import VERDICTS
from switchyard.worker.elements import as_float64, distance, is_exact, same_places
from switchyard.worker.rounding import (
    DTYPES,
    HONEST_ROUNDINGS,
    ROUNDING,
    SIXTEEN_BITS,
    errors_vs_fp64,
    rms,
    torn,
)

EXCELLENT, ACCEPTABLE = 1e-5, 1e-3

#: Below it, a thousandth of the output's RMS, rounding errors are not counted on a scaled probe:
#: saturated functions have none of their digits there (ONNX Runtime's Sigmoid at -12 has two).
_TELLING = 1e-6

#: An element matches within ATOL + RTOL * |reference|.
ATOL, RTOL = 1e-4, 1e-3

#: How grave a kind is beside others of one cell; what is not named is a fault of value.
STRUCTURAL = ("output-structure", "shape", "dtype")


@dataclasses.dataclass(frozen=True)
class Agreement:
    """One probe: the worst output decides and is named. ``kind`` is empty where structure,
    dtype and non-finite places agree; what the errors amount to is for ``band`` to say.
    ``dtype`` is that of the reference's output. ``at_most``: the best verdict it may have, where
    that is not the best there is. ``of_size``: mse over the square of the output's usual size, its
    largest RMS on any probe that is drawn at it. ``scaled``: on a probe of ``drawing.SCALED``.
    None: could not be had."""

    kind: str = ""
    message: str = ""
    output: str = ""
    dtype: str = ""
    at_most: str = ""
    mse: Optional[float] = None
    nmse: Optional[float] = None
    max_abs_err: Optional[float] = None
    cosine: Optional[float] = None
    match_fraction: Optional[float] = None
    top1_agreement: Optional[float] = None
    error_vs_fp64: Optional[float] = None
    worst_vs_fp64: Optional[float] = None
    of_size: Optional[float] = None
    scaled: bool = False


@dataclasses.dataclass(frozen=True)
class ProbeResult:
    """A probe's name, its worst run against the reference, and run against first run."""

    probe: str
    agreement: Agreement
    repeat: Agreement = Agreement()


@dataclasses.dataclass(frozen=True)
class Judgement:
    """Of a cell: verdict, kind, message, and the probe that decided with its figures."""

    verdict: str
    kind: str
    message: str
    worst_probe: str
    agreement: Agreement


def compare(
    reference: Mapping[str, np.ndarray],
    got: Mapping[str, np.ndarray],
    reference64: Optional[Mapping[str, np.ndarray]] = None,
    *,
    scales: Optional[Mapping[str, float]] = None,
    classifier: bool = False,
    limit: Optional[float] = None,
    capped: bool = False,
    scaled: bool = False,
) -> Agreement:
    """What the route gave on one probe against torch eager in the model's own dtype.

    ``reference64``: the same model in float64, which only scales. ``scales``: see
    ``rounding.scales``. ``classifier``: the first output's last axis holds class scores.
    ``limit``: see ``band``. ``capped``: floats without an ``error_vs_fp64`` are ``acceptable`` at
    most, since the bands alone would call a fault of a thousand rounding errors excellent.
    ``scaled``: the inputs are of a size that is not the model's own, see ``deciding_error``. Raises
    ValueError where the reference has no output, since that can prove nothing.
    """
    if not reference:
        raise ValueError("the reference has no outputs to compare")
    fault = structure_fault(reference, got)
    if fault:
        return dataclasses.replace(fault, scaled=scaled)
    results = []
    for place, (path, wanted) in enumerate(reference.items()):
        exact, scale = (reference64 or {}).get(path), (scales or {}).get(path, 0.0)
        pair = np.asarray(wanted), np.asarray(got[path])
        found = _value(path, *pair, exact, scale, classifier and place == 0)
        floats = found.mse is not None and found.dtype in DTYPES
        if capped and floats and found.error_vs_fp64 is None:
            found = dataclasses.replace(found, at_most="acceptable")
        results.append(dataclasses.replace(found, scaled=scaled))
    return max(results, key=lambda one: gravity(one, limit))


def band_scale(dtype: str) -> float:
    """What both bands are multiplied by for outputs of ``dtype``, 1 or more.

    The bands are tolerances of use, not multiples of a rounding error; they give way only where
    two honest answers, each ``HONEST_ROUNDINGS`` unit roundoffs u from the truth and independent,
    stand further apart than ``EXCELLENT``: an nmse of 2 (4 u)^2. That is 7.6e-6 in float16, whose
    bands are float32's, and 4.9e-4 in bfloat16, whose bands are 48.8 times as wide.
    """
    if dtype not in DTYPES:
        return 1.0
    roundoff = DTYPES[dtype][0] / 2
    return max(1.0, 2 * (HONEST_ROUNDINGS * roundoff) ** 2 / EXCELLENT)


def deciding_error(agreement: Agreement) -> float:
    """The error that ``band`` holds against the bands, and that ranks outputs and probes: the
    worse of mse and nmse, 0.0 where neither could be had. In 16 bits nmse alone where there is
    one, as it is for all but zeros: rounding is relative there to what the bands are, and the mse
    of large values is beyond any band without a fault. On a scaled probe mse over the square of
    the output's size alone, for that of its inputs is ours."""
    if agreement.scaled and agreement.of_size is not None:
        return agreement.of_size
    if agreement.dtype in SIXTEEN_BITS and agreement.nmse is not None:
        return agreement.nmse
    return max(agreement.mse or 0.0, agreement.nmse or 0.0)


def _beyond(agreement: Agreement) -> bool:
    """Whether the error is larger than what is ``acceptable``."""
    error = deciding_error(agreement)
    within = error < ACCEPTABLE * band_scale(agreement.dtype)
    return not within or bool(error and is_exact(agreement.dtype))


def as_near(agreement: Agreement) -> bool:
    """Whether torch's own answer is no nearer to float64 than the route's, so that an error beyond
    the bands is the model's: of outputs in the millions, or of what nearly cancels.

    Clearly so of a route that is at least as near. In 32 and 64 bits also up to what an honest
    route's rounding may be of torch's, where it is small beside the output's usual size: a model
    may magnify both (InstanceNorm of what hardly varies), and torch may have none by chance. On a
    scaled probe up to ``ROUNDING`` times torch's error however large: where a function saturates
    torch itself loses what it gives. Of integers and booleans, which are right or wrong, the places
    count that differ from float64's.
    """
    ratio = agreement.error_vs_fp64
    if ratio is None or ratio <= 1:
        return ratio is not None
    if agreement.scaled:
        return ratio <= ROUNDING
    rounds = agreement.dtype in DTYPES and agreement.dtype not in SIXTEEN_BITS
    small = agreement.of_size is not None and agreement.of_size < ACCEPTABLE
    return rounds and ratio <= DTYPES["float32"][1] and small


def band(agreement: Agreement, limit: Optional[float] = None) -> Tuple[str, str]:
    """(verdict, kind). ``limit``: the highest honest ``error_vs_fp64``, the dtype's own
    where None. Only that limit exceeded is ``precision``; a worse error is ``unexplained``
    until evidence names it, and so is a single element beyond it in 16 bits. Which error decides:
    see ``deciding_error``; one that is the model's own is ``acceptable``: see ``as_near``. Integers
    and booleans are right or wrong: the bands are tolerances of a rounding that they do not
    have."""
    if agreement.kind:
        return "investigate", agreement.kind
    error = deciding_error(agreement)
    scale = band_scale(agreement.dtype)
    beyond, near = _beyond(agreement), as_near(agreement)
    if beyond and not near:
        return "investigate", "unexplained"
    if limit is None and agreement.dtype in DTYPES:
        limit = DTYPES[agreement.dtype][1]
    if limit is not None and agreement.error_vs_fp64 is not None:
        if not agreement.error_vs_fp64 <= limit and error >= _TELLING * agreement.scaled:
            return "investigate", "precision"
    if agreement.worst_vs_fp64 is not None and torn(agreement.dtype, agreement.worst_vs_fp64):
        return "investigate", "unexplained"
    # What is torch's own at a size that is ours says nothing against a route.
    best = (error < EXCELLENT * scale and not beyond) or (agreement.scaled and near)
    return (agreement.at_most or "excellent" if best else "acceptable"), ""


def compare_repeat(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> Agreement:
    """A session's second answer to the same inputs against its first.

    Equal within the dtype's part of the larger of the element and the output's RMS, integers
    exactly, NaN and infinities in the same places; else ``unstable-across-runs``.
    """
    if not first and not second:
        return Agreement()
    new = Agreement("output-structure", "new outputs")
    fault = structure_fault(first, second) if first else new
    if fault:
        return Agreement("unstable-across-runs", "second run: " + fault.message, fault.output)
    for path, array in first.items():
        dtype = np.asarray(array).dtype.name
        one, two = as_float64(array), as_float64(second[path])
        if not same_places(one, two):
            message = f"second run: output {path!r} has NaN or infinities in other places"
            return Agreement("unstable-across-runs", message, path, dtype)
        finite = np.isfinite(one)
        part = DTYPES[dtype][2] if dtype in DTYPES else 0.0
        allowed = part * np.maximum(np.abs(one[finite]), rms(one))
        apart = distance(array, second[path])[finite]
        if np.any(apart > allowed):
            message = (
                f"second run: output {path!r} differs from the first in "
                f"{int(np.sum(apart > allowed))} of {apart.size} elements, "
                f"by up to {apart.max():.3g}"
            )
            return Agreement(
                "unstable-across-runs", message, path, dtype, max_abs_err=float(apart.max())
            )
    return Agreement()


def ask(
    probe: str,
    reference: Mapping[str, np.ndarray],
    runs: Sequence[Mapping[str, np.ndarray]],
    reference64: Optional[Mapping[str, np.ndarray]] = None,
    *,
    scales: Optional[Mapping[str, float]] = None,
    classifier: bool = False,
    limit: Optional[float] = None,
    scaled: bool = False,
) -> ProbeResult:
    """One probe asked once or more in a session: every run is judged, the worst is kept,
    and each is held against the first. Raises ValueError where ``runs`` is empty."""
    if not runs:
        raise ValueError(f"probe {probe!r} was never run")
    judged = [
        compare(
            reference,
            run,
            reference64,
            scales=scales,
            classifier=classifier,
            limit=limit,
            capped=True,
            scaled=scaled,
        )
        for run in runs
    ]
    worst = max(judged, key=lambda one: gravity(one, limit))
    repeats = [compare_repeat(runs[0], run) for run in runs[1:]]
    unstable = [repeat for repeat in repeats if repeat.kind]
    return ProbeResult(probe, worst, unstable[0] if unstable else Agreement())


def judge(probes: Sequence[ProbeResult], limit: Optional[float] = None) -> Judgement:
    """The cell's verdict: its worst probe, named.

    A fault of structure goes before an unstable answer (no second run can differ in value
    where the first has the wrong shape), that before non-finite values and errors (what
    cannot be reproduced cannot be diagnosed). Raises ValueError where nothing was asked.
    """
    if not probes:
        raise ValueError("no probe was asked")

    def rank(result: ProbeResult) -> tuple:
        found, unstable = result.agreement, bool(result.repeat.kind)
        verdict = "investigate" if unstable else band(found, limit)[0]
        structural = found.kind in STRUCTURAL
        # Of one verdict the model's own sizes go first: a row's figures are of them.
        own = VERDICTS.index(verdict), not found.scaled
        return (*own, structural, unstable, gravity(found, limit))

    worst = max(probes, key=rank)
    agreement = worst.agreement
    if worst.repeat.kind and agreement.kind not in STRUCTURAL:
        where = f"probe {worst.probe!r}: {worst.repeat.message}"
        return Judgement("investigate", worst.repeat.kind, where, worst.probe, agreement)
    verdict, kind = band(agreement, limit)
    own = not kind and _beyond(agreement) and not agreement.scaled
    message = ""
    if kind or agreement.at_most or own:
        message = f"probe {worst.probe!r}: {agreement.message}"
    if own:
        much = agreement.error_vs_fp64 > ROUNDING
        message += (
            ", which the model magnifies"
            if much
            else ", and torch's own answer is no nearer to float64"
        )
    if agreement.at_most and not kind:
        message += ", with no answer in float64 to tell its rounding by"
    return Judgement(verdict, kind, message, worst.probe, agreement)


def gravity(agreement: Agreement, limit: Optional[float] = None) -> tuple:
    """Sorts agreements from good to bad: verdict, structure, non-finite, error, rounding."""
    verdict, _ = band(agreement, limit)
    return (
        VERDICTS.index(verdict),
        agreement.kind in STRUCTURAL,
        bool(agreement.kind),
        deciding_error(agreement),
        agreement.error_vs_fp64 or 0.0,
    )


def structure_fault(reference: Mapping, got: Mapping) -> Optional[Agreement]:
    """The first fault of count, name, shape or dtype, in that order over all outputs."""
    missing = [path for path in reference if path not in got]
    extra = [path for path in got if path not in reference]
    if missing or extra:
        said = [f"output {path!r} is missing" for path in missing]
        said += [f"output {path!r} is not one of the model's" for path in extra]
        message = (
            "; ".join(said) + f" (torch gives {len(reference)}: {', '.join(reference)};"
            f" the route {len(got)}: {', '.join(got) or 'none'})"
        )
        return Agreement("output-structure", message, (missing + extra)[0])
    shapes: List[Agreement] = []
    dtypes: List[Agreement] = []
    for path in reference:
        wanted, given = np.asarray(reference[path]), np.asarray(got[path])
        name = wanted.dtype.name
        if wanted.shape != given.shape:
            text = f"output {path!r}: shape {wanted.shape} in torch, {given.shape} in the route"
            shapes.append(Agreement("shape", text, path, name))
        elif wanted.dtype != given.dtype:
            text = f"output {path!r}: {name} in torch, {given.dtype.name} in the route"
            dtypes.append(Agreement("dtype", text, path, name))
    return (shapes + dtypes + [None])[0]


def _value(path, wanted, given, wanted64, scale: float, top1: bool) -> Agreement:
    """The figures of one output whose shape and dtype agree."""
    dtype = wanted.dtype.name
    one, two = as_float64(wanted), as_float64(given)
    if not same_places(one, two):
        message = (
            f"output {path!r} ({one.size} elements): {np.isnan(one).sum()} NaN and "
            f"{np.isinf(one).sum()} infinite in torch, {np.isnan(two).sum()} and "
            f"{np.isinf(two).sum()} in the route, or in other places"
        )
        return Agreement("non-finite", message, path, dtype)
    finite = np.isfinite(one)
    a, b = one[finite], two[finite]
    if not a.size:
        return Agreement(output=path, dtype=dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        gap = distance(wanted, given)[finite]
        mse = float(np.mean(gap * gap))
        square, variance = float(np.mean(a * a)), float(np.var(a))
        lengths = float(np.linalg.norm(a)) * float(np.linalg.norm(b))
        cosine = float(np.dot(a, b)) / lengths if 0 < lengths < math.inf else None
    # `<=`: a reference of nothing but zeros has no variance to speak of either. In 16 bits one that
    # is constant is held to its own size instead: there mse alone says nothing of it.
    spread = variance if variance > 1e-12 * square else square * (dtype in SIXTEEN_BITS)
    nmse = mse / spread if spread else None
    ratio, worst = errors_vs_fp64(dtype, one, two, wanted64, scale)
    size = max(rms(one), scale)
    shown = [f"mse {mse:.3g}"]
    shown += [f"nmse {nmse:.3g}"] if nmse is not None else []
    if ratio is not None:
        exact = is_exact(dtype)
        what = "as many places wrong as torch's" if exact else "torch's own rounding error"
        shown.append(f"{ratio:.3g} times {what}")
    if worst is not None and torn(dtype, worst):
        shown.append(f"one element {worst:.3g} times torch's worst")
    rated = top1 and wanted.ndim and wanted.dtype.kind != "c" and wanted.shape[-1] > 1
    return Agreement(
        message=f"output {path!r}: " + ", ".join(shown),
        output=path,
        dtype=dtype,
        mse=mse,
        nmse=nmse,
        max_abs_err=float(gap.max()),
        cosine=cosine,
        match_fraction=float(np.mean(gap <= (0 if is_exact(dtype) else ATOL + RTOL * np.abs(a)))),
        top1_agreement=float(np.mean(one.argmax(-1) == two.argmax(-1))) if rated else None,
        error_vs_fp64=ratio,
        worst_vs_fp64=worst,
        of_size=mse / size**2 if size else None,
    )

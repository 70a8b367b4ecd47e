"""One verdict a cell, and every finding beside it. Pure: two tables in, a table out.

Judged in this order; the first that holds is the verdict:

``gone``, ``new``       planned on one side only (see ``pairing`` for what was never asked for).
                        ``gone`` is also what was done before and was not finished after: a
                        night that broke off has lost it as surely as one that left it out; and
                        what passed and has no usable reference now (``void``)
``not-comparable``      a side is not ``done`` or not judged; or its reference was ``void``,
                        which says nothing about the route; or one side's set could not host it
                        and the other's failed: which of the two is worse nobody can say
``broke``, ``fixed``    passed before and not now, and the reverse. ``unavailable`` does not
                        pass: whoever moves to a version set that cannot host the cell loses
                        it, whatever the reason, and must hear of it. ``broke`` is also what
                        passes both times and was measured before, where measuring it failed
                        now, if only in one launch or after the samples; the reverse is
                        ``fixed`` where it has no finding that is worse
``changed-failure``     failed on both sides, and stage, kind, verdict or signature differ
of cells that pass on both sides, every finding is kept, and the verdict is the worst of them:
``less-accurate``, ``onto-cpu``, ``slower``, ``more-memory``, and only where there is none of these
``more-accurate``, ``off-cpu``, ``faster``, ``less-memory``. So accuracy beats placement beats
timing beats memory, but no good news hides bad. What answers rightly at fewer sizes than before is
less accurate too: it gave the other size's answers, and does so no more. ``onto-cpu`` has a part on
the CPU (``placement_kind``) where the whole ran on the device before
``same``                nothing of the above
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from switchyard.compare.bands import SIXTEEN_BITS
from switchyard.compare.pairing import Pairs, Table
from switchyard.compare.thresholds import Thresholds
from switchyard.compare.timing import Timing, compare_timing
from switchyard.tables import schema
from switchyard.vocabulary import NATIVE, PASSING, SIGNATURE_LENGTH

if TYPE_CHECKING:
    import numpy
    import pandas

#: What makes a comparison end with status 1, the worst first.
WORSE = (
    "broke", "gone", "changed-failure", "less-accurate", "onto-cpu", "slower", "more-memory"
)  # fmt: skip
BETTER = ("fixed", "more-accurate", "off-cpu", "faster", "less-memory", "new")
VERDICTS = (*WORSE, *BETTER, "not-comparable", "same")

#: Several of these may be found of one cell, worse ones and better ones.
WORSENED = ("less-accurate", "onto-cpu", "slower", "more-memory")
BETTERED = ("more-accurate", "off-cpu", "faster", "less-memory")
FINDINGS = (*WORSENED, *BETTERED)

#: Of both sides, as ``before_NAME`` and ``after_NAME``.
OUTCOME = (
    "state", "stage", "kind", "verdict", "message", "signature", "dynamic", "dynamic_message",
    "placement_kind", "placement_message", "measure_kind", "measure_message",
)  # fmt: skip
FIGURES = (
    "mse", "nmse", "error_vs_fp64", "latency_median_ms", "ratio_to_native", "launches",
    "cores_busy", "memory_model_mib", "memory_peak_mib", "memory_model_data_mib",
    "memory_peak_data_mib", "gpu_peak_mib", "gpu_process_mib",
)  # fmt: skip

#: Which of these are memory that is judged, MiB, and what each is of. How many pages of a library
#: are resident is the page cache's affair: two installations of one lock differ by a tenth.
MEMORY = {
    "memory_model_data_mib": "model",
    "memory_peak_data_mib": "peak",
    "gpu_peak_mib": "tensors on the GPU",
    "gpu_process_mib": "process on the GPU",
}


#: What is shown instead where one of two tables is older and has program pages counted in. It is
#: never judged: the same packages installed anew differ there by 7 to 26%.
WITH_PROGRAM = {
    "memory_model_data_mib": "memory_model_mib",
    "memory_peak_data_mib": "memory_peak_mib",
}


#: What ``measure_kind`` says of what was measured: nothing, or that it was disturbed.
MEASURED = ("", "noisy")

#: A column of everything that is measured by itself, and may fail by itself: calls, each of the
#: device's further series of them, and training.
MEASUREMENTS = (
    "latency_median_ms", "latency_device_median_ms", "latency_from_host_median_ms",
    "latency_graph_median_ms", "running_mean_error_1",
)  # fmt: skip

#: Routes whose measured processes hold torch itself.
HOLD_TORCH = (NATIVE, "torch-compile", "hybrid-tf")

#: What the column ``dynamic`` says of another size, worst first; anything else says nothing.
SIZES = {"wrong": 0, "failed": 1, "specialised": 1, "ok": 2}


def judge(
    before: Table,
    after: Table,
    pairs: Pairs,
    hardware: Callable[[str], str],
    other_machine: Callable[[str], str],
    thresholds: Thresholds,
    other_builds: Collection[str] = (),
) -> pandas.DataFrame:
    """A row a pair: the cell's key (``version_set`` is that of ``after`` where it has the
    cell, ``before_version_set`` beside it), ``verdict``, ``reason`` where it is not
    comparable or not finished, ``OUTCOME`` and ``FIGURES`` of both sides, ``before_error`` and
    ``after_error``, a column of truths a finding, and ``timing``, ``timing_why``,
    ``change``, ``change_low``, ``change_high``, ``change_of``. ``*_data_mib`` hold the figures with
    program pages (``WITH_PROGRAM``) on both sides of a pair that has others on neither or on one;
    what these show beyond the thresholds is ``memory_ambiguous`` and no finding, since the pages of
    program files alone may differ as much. ``memory_with_program`` says which pairs have such a
    figure, ``memory_other_build`` which have a process that holds torch in another build
    (``other_builds``: version sets of ``after``), whose memory in the host is as little judged;
    ``memory_why`` is why a pair's memory is not judged at all.

    ``hardware`` says why timings of a device cannot be compared; ``other_machine`` why
    memory cannot: it is only where the hardware is known to be another, since thread pools
    take memory by the core, but no table need say whose it is.
    """
    import numpy
    import pandas

    old, new = _side(before.cells, pairs.before), _side(after.cells, pairs.after)
    with_program = _alike(old, new)
    here, there = pairs.before >= 0, pairs.after >= 0
    cells = {name: new[name].where(there, old[name]) for name in schema.KEY}
    cells["before_version_set"] = old["version_set"]
    cells["family"] = new["family"].where(there, old["family"])

    passed = [_among(side["verdict"], PASSING) for side in (old, new)]
    hosted = [~_among(side["verdict"], {"unavailable"}) for side in (old, new)]
    reason, lost = _reasons(old, new, here & there)
    both = here & there & (reason == "")
    for place in numpy.flatnonzero(both & ~passed[0] & ~passed[1] & (hosted[0] != hosted[1])):
        labels = ("before", "after") if hosted[1][place] else ("after", "before")
        reason[place] = "unavailable {}, and not passing {}".format(*labels)
    pass_both = both & passed[0] & passed[1]
    # Why neither set can host it is no failure of anybody's.
    failed_otherwise = both & ~passed[0] & ~passed[1] & (hosted[0] | hosted[1])
    failed_otherwise &= _ended_otherwise(old, new)

    errors = [_error(side) for side in (old, new)]
    other_build = _among(new["route"], HOLD_TORCH) & _among(new["version_set"], other_builds)
    timing = compare_timing(before, after, pairs, pass_both, hardware, thresholds)
    found = {
        **_accuracy(old, new, errors, pass_both, thresholds),
        **_placement(old, new, pass_both),
        **{name: timing.status == name for name in ("slower", "faster")},
    }
    weighed, notes = _memory(
        old, new, with_program, other_build, pass_both, other_machine, thresholds
    )
    found |= weighed
    rules = (
        ("gone", ~there | lost),
        ("new", ~here),
        ("not-comparable", reason != ""),
        ("broke", both & passed[0] & ~passed[1]),
        ("fixed", both & ~passed[0] & passed[1]),
        ("changed-failure", failed_otherwise),
        ("broke", pass_both & _failed_to_measure(new, old)),
        *((name, found[name]) for name in WORSENED),
        ("fixed", pass_both & _failed_to_measure(old, new)),
        *((name, found[name]) for name in BETTERED),
    )
    names, holds = zip(*rules)
    verdict = numpy.select(holds, names, default="same").astype(object)

    cells.update(verdict=verdict, reason=reason)
    for label, side, error in (("before", old, errors[0]), ("after", new, errors[1])):
        cells.update({f"{label}_{name}": side[name] for name in (*OUTCOME, *FIGURES)})
        cells[f"{label}_error"] = error
    cells |= {**found, **notes, **_timing_columns(timing)}
    return pandas.DataFrame(cells)


def _timing_columns(timing: Timing) -> dict[str, Any]:
    names = {"status": "timing", "why": "timing_why", "change": "change",
             "low": "change_low", "high": "change_high", "of": "change_of"}  # fmt: skip
    return {names[f.name]: getattr(timing, f.name) for f in dataclasses.fields(timing)}


def _side(cells: pandas.DataFrame, positions: numpy.ndarray) -> pandas.DataFrame:
    """The rows at ``positions``; where that is -1, empty texts and no numbers."""
    names = [*schema.KEY, "family", *OUTCOME, *FIGURES, *MEASUREMENTS, "nodes_on_device"]
    names = list(dict.fromkeys(names))
    absent = positions < 0
    if not len(cells):
        cells = cells.reindex([0])
    rows = cells[names].take(positions).reset_index(drop=True)  # -1 takes the last row ...
    if absent.any():  # ... which is blanked here
        for name in names:
            empty = "" if schema.BY_NAME[name].dtype == "text" else None
            rows[name] = rows[name].mask(absent, empty)
    return rows


def _alike(old: pandas.DataFrame, new: pandas.DataFrame) -> dict[str, numpy.ndarray]:
    """Have both sides count the same pages, in place; which pairs count those of program files,
    by the figure's name."""
    counted = {}
    for name, instead in WITH_PROGRAM.items():
        either = old[name].isna() | new[name].isna()
        known = old[instead].notna() & new[instead].notna()
        for side in (old, new):
            side[name] = side[name].mask(either, side[instead])
        counted[name] = (either & known).to_numpy(bool)
    return counted


def _among(texts: pandas.Series, values: Collection[str]) -> numpy.ndarray:
    return texts.isin(list(values)).to_numpy(bool)


def _not_comparable(side: pandas.DataFrame, label: str) -> numpy.ndarray:
    """Why a row cannot be judged; "" where it can."""
    import numpy

    reason = numpy.full(len(side), "", object)
    verdict, state = side["verdict"], side["state"].to_numpy(object)
    reason[(verdict == "").to_numpy(bool)] = f"nothing judged it {label}"
    reason[(verdict == "void").to_numpy(bool)] = f"its reference was unusable {label}"
    for one in set(state) - {"done"}:
        said = "not run" if one == "planned" else "interrupted"
        reason[state == one] = f"{said} {label}"
    return reason


def _reasons(
    old: pandas.DataFrame, new: pandas.DataFrame, paired: numpy.ndarray
) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Why pairs cannot be judged, "" where they can; and which were done before and are lost."""
    import numpy

    was, now = _not_comparable(old, "before"), _not_comparable(new, "after")
    lost = paired & (was == "") & (now != "")
    lost &= _among(old["verdict"], PASSING) | ~_among(new["verdict"], {"void"})
    reason = numpy.where(now == "", was, now)
    for place in numpy.flatnonzero((now != "") & (was != "")):
        reason[place] = f"{was[place]}, {now[place]}"
    reason[~paired] = ""
    return reason, lost


def _ended_otherwise(old: pandas.DataFrame, new: pandas.DataFrame) -> numpy.ndarray:
    """Where stage, kind, verdict or signature differ."""
    signatures = [side["signature"].str[:SIGNATURE_LENGTH].str.strip() for side in (old, new)]
    differs = signatures[0] != signatures[1]
    for name in ("stage", "kind", "verdict"):
        differs |= old[name] != new[name]
    return differs.to_numpy(bool)


def _failed_to_measure(side: pandas.DataFrame, other: pandas.DataFrame) -> numpy.ndarray:
    """Where measuring failed on one side and not on the other, or lost something that was measured
    there."""
    failed, too = (~_among(one["measure_kind"], MEASURED) for one in (side, other))
    lacking = ~too & other["latency_median_ms"].notna().to_numpy(bool)
    for name in MEASUREMENTS:
        lacking |= (side[name].isna() & other[name].notna()).to_numpy(bool)
    return failed & lacking


def _error(side: pandas.DataFrame) -> numpy.ndarray:
    """What ``bands.deciding_error`` is of each row; NaN where there is neither error."""
    import numpy

    mse, nmse = side["mse"].to_numpy(float), side["nmse"].to_numpy(float)
    alone = _among(side["precision"], SIXTEEN_BITS) & ~numpy.isnan(nmse)
    return numpy.where(alone, nmse, numpy.fmax(mse, nmse))


def _placement(
    old: pandas.DataFrame, new: pandas.DataFrame, eligible: numpy.ndarray
) -> dict[str, numpy.ndarray]:
    """What a session on the device has on the CPU on one side alone. Where a side could not find
    that out (it says why, and counted no nodes) nothing is known."""
    fell = [(side["placement_kind"] != "").to_numpy(bool) for side in (old, new)]
    known = eligible.copy()
    for side in (old, new):
        said = (side["placement_message"] != "") & side["nodes_on_device"].isna()
        known &= (side["placement_kind"] != "").to_numpy(bool) | ~said.to_numpy(bool)
    return {"onto-cpu": known & ~fell[0] & fell[1], "off-cpu": known & fell[0] & ~fell[1]}


def _accuracy(
    old: pandas.DataFrame,
    new: pandas.DataFrame,
    errors: list[numpy.ndarray],
    eligible: numpy.ndarray,
    thresholds: Thresholds,
) -> dict[str, numpy.ndarray]:
    """Another band, an error that grew or shrank by the factor and is above the floor, or other
    sizes than its own answered otherwise, or not at all for what befell the process (memory ran
    out, say); where one is better and another worse, it is worse."""
    import numpy

    was, now = errors
    band = [(side["verdict"] == "excellent").to_numpy(bool) for side in (old, new)]
    with numpy.errstate(invalid="ignore"):
        counts = numpy.fmax(was, now) > thresholds.accuracy_floor
        grew = counts & (now >= was * thresholds.accuracy_factor) & (now > was)
        shrank = counts & (was >= now * thresholds.accuracy_factor) & (was > now)
    same_band = band[0] == band[1]
    sizes = [side["dynamic"].map(SIZES).to_numpy(float) for side in (old, new)]
    lost = (old["dynamic"] == "ok") & (new["dynamic"] == "") & (new["dynamic_message"] != "")
    less = (band[0] & ~band[1]) | (same_band & grew) | (sizes[0] > sizes[1]) | lost.to_numpy(bool)
    more = (~band[0] & band[1]) | (same_band & shrank) | (sizes[0] < sizes[1])
    return {"less-accurate": eligible & less, "more-accurate": eligible & more & ~less}


def _memory(
    old: pandas.DataFrame,
    new: pandas.DataFrame,
    with_program: dict[str, numpy.ndarray],
    other_build: numpy.ndarray,
    eligible: numpy.ndarray,
    other_machine: Callable[[str], str],
    thresholds: Thresholds,
) -> tuple[dict[str, numpy.ndarray], dict[str, numpy.ndarray]]:
    """Findings of the model alone, at the peak, or on the GPU, beyond both thresholds; and notes on
    what is not judged.

    Where the host's peak moved it decides, since the peak is what kills; else, where one grew and
    another shrank, it is more memory. What only a figure with the pages of program files shows, or
    one of another build of torch, is ambiguous.
    """
    import numpy

    device = new["device"].to_numpy(object)
    why = numpy.full(len(eligible), "", object)
    for one in set(device[eligible]):
        why[eligible & (device == one)] = other_machine(one)
    fit = eligible & (why == "")
    more, less, unsure, whole = (numpy.zeros(len(fit), bool) for _ in range(4))
    moved = {}
    for name in MEMORY:
        was, now = (side[name].to_numpy(float) for side in (old, new))
        with numpy.errstate(invalid="ignore"):
            grew = (now - was > thresholds.memory_mib) & (now > was * thresholds.memory_ratio)
            shrank = (was - now > thresholds.memory_mib) & (was > now * thresholds.memory_ratio)
        moved[name] = grew, shrank
    (grew, shrank), peak = moved["memory_model_data_mib"], moved["memory_peak_data_mib"]
    # A peak that is itself not judged decides nothing.
    judged = ~with_program.get("memory_peak_data_mib", numpy.zeros(len(fit), bool))
    moved["memory_model_data_mib"] = grew & ~(peak[1] & judged), shrank & ~(peak[0] & judged)
    for name, (grew, shrank) in moved.items():
        program = with_program.get(name, numpy.zeros(len(fit), bool))
        unfit = program | (other_build & name.startswith("memory_"))
        more |= grew & ~unfit
        less |= shrank & ~unfit
        unsure |= (grew | shrank) & unfit
        whole |= program
    findings = {"more-memory": fit & more, "less-memory": fit & less & ~more}
    notes = {
        "memory_ambiguous": fit & unsure & ~more & ~less,
        "memory_with_program": eligible & whole,
        "memory_other_build": eligible & other_build,
        "memory_why": why,
    }
    return findings, notes

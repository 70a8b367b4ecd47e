"""Asking an artefact the probes, and judging what it answers: load, run, compare.

One session, each probe twice. The other sizes decide the column ``dynamic`` alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np

from models_zoo.entry import DEFAULT_SIZES
from switchyard import runtimes
from switchyard.vocabulary import KINDS, PASSING, Outcome, cast_to, signature_of
from switchyard.worker import agreement, batches, loading, placement, rounding, stochastic
from switchyard.worker.blame import ON_DEVICE_RULES, first_line, outcome_of
from switchyard.worker.drawing import RESIZED, SCALED
from switchyard.worker.loading import Loaded
from switchyard.worker.reference import (
    STOCHASTIC_PROBES,
    STOCHASTIC_RUNS,
    Reference,
    task_accuracy,
)

Arrays = Dict[str, np.ndarray]


def ask(job: Mapping[str, Any]) -> Dict[str, Any]:
    """The cell's outcome and the columns of its row. Raises what loading and running raise,
    with the stage on the exception, and without one what goes wrong in judging."""
    reference = Reference.read(job["reference"])
    try:
        asked = loading.load(runtimes.builtin()[job["runtime"]], job)
    except Exception as error:
        error.stage = getattr(error, "stage", "load")
        raise
    artefact = asked.artefact
    fields: Dict[str, Any] = {}
    if artefact is not None:
        fields["layout_basis"] = asked.manifest.layout_basis
        fields["artefact_bytes"] = artefact.size_bytes
    result = {"fields": fields, "figures": []}
    if reference.facts["stochastic"]:
        judged = _judge_spread(asked, reference)
        fields["dynamic"] = ""
    else:
        judged, answers, scales = _judge_probes(asked, reference, job, result["figures"])
        if judged.verdict not in PASSING:
            judged = _explained(judged, reference, answers, job, artefact)
        fields["dynamic"], fields["dynamic_message"] = _dynamic(asked, reference, job, scales)
    if artefact is not None and reference.facts.get("batches"):
        fields.update(batches.ask(asked.run, reference, result["figures"]))
    if job.get("device", "cpu") != "cpu":
        fields.update(placement.of_session(asked.session, asked.feeds(reference.inputs("example"))))
    found = judged.agreement
    for name in ("mse", "nmse", "max_abs_err", "cosine", "match_fraction", "top1_agreement",
                 "error_vs_fp64"):  # fmt: skip
        fields[name] = getattr(found, name)
    if not reference.facts["stochastic"]:  # those have no bands
        fields["band_scale"] = agreement.band_scale(found.dtype)
    fields["worst_probe"] = judged.worst_probe
    if "task_accuracy" in reference.facts:
        fields["task_accuracy_native"] = reference.facts["task_accuracy"]
        fields["task_accuracy"] = _task(asked, job)
    result["outcome"] = Outcome(
        stage="compare",
        verdict=judged.verdict,
        kind=judged.kind,
        message=(judged.message or _left_out(reference, job))[:1000],
        signature=signature_of(judged.message) if judged.kind else "",
    ).as_dict()
    return result


def _judge_probes(asked: Loaded, reference: Reference, job, figures: List[dict]):
    """The judgement over every probe that decides, what was answered to each, and the
    ``rounding.scales`` that it was judged by."""
    left = {RESIZED, *(SCALED if job["precision"] == "tf32" else ())}  # 10 bits of 23: as in 16
    probes = [probe for probe in reference.probes if probe not in left]
    wanted = {probe: reference.outputs(probe) for probe in probes}
    scales = rounding.scales(wanted)
    results, answers = [], {}
    for probe in probes:
        inputs = reference.inputs(probe)
        try:
            runs = [asked.run(inputs), asked.run(inputs)]
        except Exception as error:
            error.stage = getattr(error, "stage", "run")
            raise
        answers[probe] = runs[0]
        result = agreement.ask(
            probe,
            wanted[probe],
            runs,
            reference.outputs64(probe),
            scales=scales,
            classifier=job["classifier"],
            limit=rounding.limit_of(job["precision"]),
            scaled=probe in SCALED,
        )
        results.append(result)
        for metric in ("mse", "nmse", "max_abs_err", "error_vs_fp64"):
            value = getattr(result.agreement, metric)
            if value is not None and np.isfinite(value):
                figures.append({"condition": probe, "metric": metric, "value": value})
    judged = agreement.judge(results, rounding.limit_of(job["precision"]))
    reason = reference.facts.get("float64_reason")
    if reason and judged.verdict in PASSING and judged.agreement.at_most:
        judged = dataclasses.replace(judged, message=f"{judged.message}: {reason}")
    return judged, answers, scales


def _left_out(reference: Reference, job: Mapping[str, Any]) -> str:
    """Which probes torch did not take, in the row of torch's own route."""
    own = job["runtime"] == "torch-eager"
    reasons = reference.facts["left_out"] if own else {}
    return "; ".join(f"not asked {probe!r}: {why}" for probe, why in reasons.items())


def _judge_spread(asked: Loaded, reference: Reference):
    """The judgement of a stochastic model. Runs that stand apart by what may be chance are drawn
    once more, and decide: a night has some hundred of such comparisons."""
    wanted = {probe: reference.many(probe) for probe in STOCHASTIC_PROBES}
    judged = stochastic.judge(wanted, _drawn(asked, reference))
    if judged.kind in ("unexplained", "constant-baked"):
        judged = stochastic.judge(wanted, _drawn(asked, reference))
    return judged


def _drawn(asked: Loaded, reference: Reference) -> Dict[str, Arrays]:
    """By probe, output path -> runs, stacked on a new first axis."""
    got = {}
    for probe in STOCHASTIC_PROBES:
        inputs = reference.inputs(probe)
        try:
            runs = [asked.run(inputs) for _ in range(STOCHASTIC_RUNS)]
        except Exception as error:
            error.stage = getattr(error, "stage", "run")
            raise
        got[probe] = {path: np.stack([run[path] for run in runs]) for path in runs[0]}
    return got


def _explained(judged, reference: Reference, answers: Mapping[str, Arrays], job, artefact):
    """The judgement with the kind that evidence names, where it names one. What is known without an
    explanation stands where there was none to be had."""
    try:
        from switchyard.worker import diagnosis

        found = diagnosis.diagnose_cell(judged, reference, answers, job, artefact)
    except Exception as error:
        failed = f"{judged.message}; not explained, since that failed: {first_line(error)}"
        return dataclasses.replace(judged, message=failed)
    if found is None:
        return judged
    return dataclasses.replace(judged, kind=found.kind, message=found.why)


def _dynamic(
    asked: Loaded, reference: Reference, job, scales: Mapping[str, float]
) -> Tuple[str, str]:
    """Whether other sizes work, see DYNAMIC in the vocabulary, or "" where it is not known; and
    what was said of why not. ``scales``: those of the probes at the example's sizes, by which an
    output that vanishes at the others is held too."""
    if not job["dynamic"]:
        return "not-declared", ""
    facts = asked.manifest.facts if asked.manifest is not None else {}
    if facts.get("dynamic") == "specialised":
        return "specialised", facts.get("dynamic_reason", "")
    try:
        got = asked.run(reference.inputs(RESIZED))
    except Exception as error:  # whatever a runtime raises at another size, it does not work there
        rules = ON_DEVICE_RULES if job.get("device", "cpu") != "cpu" else ()
        stopped = outcome_of(error, "run", rules)
        # What befell the process or its card says nothing of the artefact.
        known = KINDS[stopped.kind] != "process"
        return "failed" if known else "", stopped.message
    limit = rounding.limit_of(job["precision"])
    wanted, wanted64 = reference.outputs(RESIZED), reference.outputs64(RESIZED)
    found = agreement.compare(wanted, got, wanted64, scales=scales, limit=limit)
    if agreement.band(found, limit)[0] in PASSING:
        return "ok", ""
    return "wrong", found.message


def _task(asked: Loaded, job) -> Optional[float]:
    """Task accuracy of the converted model, or None where its sizes do not fit the batch."""
    from switchyard.worker.building import import_zoo_file
    from switchyard.worker.casting import cast_entry

    if asked.model is not None:
        entry = asked.model.entry
    else:
        entry = next(one for one in import_zoo_file(job["file"]) if one.name == job["model"])
        entry = cast_entry(entry, cast_to(entry.precision, job["precision"]))
    # The example's batch is the one size that every artefact takes, and many take no other.
    example_batch, _ = entry.sizes.get("batch", DEFAULT_SIZES["batch"])
    try:
        return task_accuracy(entry, asked.run, batch=example_batch, fill=True)
    except Exception:  # the probes have judged the artefact; this column stays empty
        return None

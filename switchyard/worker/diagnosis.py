"""The kind of a cell that is wrong: the outputs are asked first, then the network itself."""

from __future__ import annotations

from typing import Callable, Mapping, Optional, Sequence

from switchyard.worker.agreement import Agreement, Judgement
from switchyard.worker.blame import first_line
from switchyard.worker.drawing import SCALED
from switchyard.worker.evidence import (
    EXAMPLE,
    Evidence,
    ProbeOutputs,
    aligned,
    constant_baked,
    from_outputs,
    layout_permuted,
    swapped,
)
from switchyard.worker.rounding import ROUNDING, limit_of, scales, torn

#: What ``judge`` says where it only measured: everything else is a fact already.
TO_EXPLAIN = ("", "precision", "unexplained")


def diagnose(
    judgement: Judgement,
    probes: Sequence[ProbeOutputs],
    inside: Sequence[Callable[[], Optional[Evidence]]] = (),
    example: str = EXAMPLE,
) -> Evidence:
    """The kind of a cell that ``judge`` called ``investigate``, and why.

    ``inside``: questions to the network itself, asked in order only where the outputs show
    nothing (``capture.explain``, ``trace_replay.replay_trace``). Faults of structure, unstable
    answers and non-finite values keep their kind: they are facts, not explanations, and
    what else is seen is added to the sentence. Outputs swapped are the one exception: with
    unequal shapes they look like a fault of shape. Empty where the verdict is good.
    """
    kind, message = judgement.kind, judgement.message
    if judgement.verdict != "investigate":
        return Evidence("", "nothing is wrong")
    if kind in TO_EXPLAIN:
        evidence = from_outputs(probes)
        looked = []
        if not evidence and not inside:
            evidence = constant_baked([probe for probe in probes if aligned(probe)], example)
        for question in inside:
            if evidence:
                break
            answer = question()
            if answer:
                evidence = answer
            elif answer is not None and answer.why:
                looked.append(answer.why)
        if evidence:
            return evidence
        rounding = _rounding(judgement.agreement)
        found = "precision" if kind == "precision" or rounding else "unexplained"
        return Evidence(found, "; ".join([rounding or message, *looked]))
    if kind in ("shape", "dtype"):
        exchanged = swapped(probes)
        if exchanged:
            return exchanged
    if kind == "shape":
        turned = layout_permuted(probes, same_shape=False)
        return Evidence(kind, message + (f"; {turned.why}" if turned else ""))
    return Evidence(kind, message)


def diagnose_cell(judgement: Judgement, reference, answers: Mapping, job: Mapping, artefact):
    """``diagnose`` for the worker: ``reference`` as read from disk, ``answers`` by probe.

    Only an artefact's network is looked into, torch's own routes have none. None where
    nothing is wrong; never raises for what happens inside the network. ``answers`` holds every
    probe that was judged, so that an output has the size here that it was judged by.
    """
    limit = limit_of(job.get("precision", ""))
    wanted = {name: reference.outputs(name) for name in answers}
    sizes = scales(wanted)
    probes = [
        ProbeOutputs(name, wanted[name], got, reference.outputs64(name), limit, sizes)
        for name, got in answers.items()
    ]
    if judgement.verdict == "investigate" and judgement.kind in TO_EXPLAIN:
        found = _keras_norms(job, artefact)
        if found:
            return found

    def inside() -> Evidence:
        try:
            from switchyard.worker import capture, trace_replay
            from switchyard.worker.building import build

            model = build(job["file"], job["model"], job.get("precision", ""))
            example = reference.inputs(EXAMPLE)
            inputs = {name: reference.inputs(name) for name in answers}
            seen = Evidence()
            if "onnx" in artefact.manifest.files:
                # Of a fault that shows at another size alone, the example has nothing to show.
                at = judgement.worst_probe if judgement.worst_probe in SCALED else EXAMPLE
                feeds = artefact.manifest.for_format("onnx").feeds(inputs[at])
                seen = capture.explain(model.module, inputs[at], artefact.file("onnx"), feeds)
                if at != EXAMPLE:
                    seen = Evidence(seen.kind, f"on probe {at!r}, {seen.why}")
            return seen or trace_replay.replay_trace(model, example, inputs, probes) or seen
        except Exception as error:
            return Evidence("", f"the network was not looked into: {first_line(error)}")

    # A fault that is whole at one size need not show at another, where it is lost in rounding.
    own_size = [probe for probe in probes if probe.probe not in SCALED]
    return diagnose(judgement, own_size, [inside] if artefact is not None else []) or None


def _keras_norms(job: Mapping, artefact) -> Evidence:
    """What the artefact's own BatchNorms say, where it is a twin: parameters that can be read off
    are no matter of inference."""
    try:
        if artefact is None or "keras" not in artefact.manifest.files:
            return Evidence()
        from switchyard.worker import capture, keras_norms
        from switchyard.worker.building import build

        model = build(job["file"], job["model"], job.get("precision", ""))
        ours = capture.torch_norms(model.module)
        return keras_norms.explain(ours, artefact.file("keras")) if ours else Evidence()
    except Exception as error:  # diagnosis must not fail the cell that it explains
        return Evidence("", f"Keras's BatchNorms: {first_line(error)}")


def _rounding(agreement: Agreement) -> str:
    """Why an error is of rounding's own order, empty where it is not.

    In 16 bits, or in a net that magnifies its own rounding, two honest answers may stand
    further apart than a band allows; each is then as near to float64 as the other.
    """
    ratio, worst = agreement.error_vs_fp64, agreement.worst_vs_fp64
    if ratio is None or ratio > ROUNDING or not agreement.nmse or agreement.nmse > 0.5:
        return ""
    if worst is None or torn(agreement.dtype, worst):
        return ""
    return f"{agreement.message}: no further from float64 than torch's own {agreement.dtype}"

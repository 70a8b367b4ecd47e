"""What a child may be asked to do: ``JOBS``.

Each job is a dict of plain values and returns one; the work itself stands in a module of
its own. An exception is an outcome here, never a traceback on somebody's terminal.
"""

from __future__ import annotations

import pathlib
import time
from typing import Any, Callable, Dict, Mapping

from switchyard import hops
from switchyard.manifest import Artefact
from switchyard.vocabulary import CAST
from switchyard.worker.blame import DTYPE_RULES, ON_DEVICE_RULES, outcome_of


class ConversionIncomplete(Exception):
    """A hop that wrote one of its formats and failed at another."""


def _describe(job: Mapping[str, Any]) -> Dict[str, Any]:
    """The entries of one zoo file, and the project files its import needed."""
    from switchyard.worker import files_read
    from switchyard.worker.building import import_zoo_file, project_sources

    files_read.note()
    entries = import_zoo_file(job["file"])
    return {"models": [entry.as_dict() for entry in entries], "sources": project_sources()}


def _lacks(job: Mapping[str, Any]) -> Dict[str, Any]:
    """Why the installed packages cannot run on the job's device, empty where they can."""
    from switchyard import runtimes

    runtime = runtimes.builtin()[job["runtime"]]
    for name in runtime.requires:
        hops.import_required(name)
    return {"reason": runtime.lacks(runtimes.Target.of_job(job))}


def _reference(job: Mapping[str, Any]) -> Dict[str, Any]:
    from switchyard.worker import files_read
    from switchyard.worker.reference import make_reference

    files_read.note()
    return make_reference(job)


def _preprocess(job: Mapping[str, Any]) -> Dict[str, Any]:
    from switchyard.worker import files_read
    from switchyard.worker.preprocessing import preprocess

    files_read.note()
    return preprocess(job)


def _convert(job: Mapping[str, Any]) -> Dict[str, Any]:
    """Run one hop; the artefact and its manifest lie in ``target`` afterwards."""
    from switchyard.worker import files_read, source_state
    from switchyard.worker.reference import Reference

    files_read.note()
    hop = hops.known(job["hop_files"])[job["hop"]]
    reference = Reference.read(job["reference"])
    model = None
    if hop.source == "torch":
        from switchyard.worker.building import build

        try:
            model = build(job["file"], job["model"], job.get("precision", ""))
        except Exception as error:  # the core could: this environment lacks what the model needs
            error.stage = "build"
            raise
        hop.prepare(model.module)
        before = source_state.take(model.module)
    target = pathlib.Path(job["target"])
    conversion = hops.Conversion(
        target=target,
        model_name=job["model"],
        example=reference.inputs("example"),
        dims={name: tuple(dims) for name, dims in job["dims"].items()},
        source=Artefact.read(job["source"]) if job["source"] else None,
        model=model,
        outputs=tuple(reference.facts["outputs"]),
    )
    started = time.monotonic()
    manifest = hop.convert(conversion)
    seconds = time.monotonic() - started
    changed = "" if model is None else source_state.changed(before, model.module)
    artefact = Artefact(target, manifest)
    for format in manifest.files:
        artefact.file(format)
    artefact.write()
    # A hop with several formats may fail at one: that stops the routes that need it, here.
    stopped = {
        format: outcome_of(ConversionIncomplete(reason), f"convert:{hop.name}", hop.refusals)
        for format, reason in manifest.facts.get("not_written", {}).items()
    }
    result = {
        "convert_seconds": seconds,
        "artefact_bytes": artefact.size_bytes,
        "facts": dict(manifest.facts),
        "source_changed": changed,
        "stopped": {format: outcome.as_dict() for format, outcome in stopped.items()},
    }
    return {**result, "sources": _sources()}


def _sources() -> Dict[str, str]:
    """The project files that this process has imported, on which its artefact or refusal rests."""
    from switchyard.worker.building import project_sources

    return project_sources()


def _ask(job: Mapping[str, Any]) -> Dict[str, Any]:
    from switchyard.worker.asking import ask

    return ask(job)


def _train(job: Mapping[str, Any]) -> Dict[str, Any]:
    from switchyard.worker.training import train

    return train(job)


def _nothing(job: Mapping[str, Any]) -> Dict[str, Any]:
    """The job that does nothing: what the harness itself costs."""
    return {}


JOBS: Dict[str, Callable[[Mapping[str, Any]], Dict[str, Any]]] = {
    "describe": _describe,
    "lacks": _lacks,
    "reference": _reference,
    "preprocess": _preprocess,
    "convert": _convert,
    "ask": _ask,
    "train": _train,
    "nothing": _nothing,
}

_STAGE_OF_JOB = {
    "describe": "import",
    "lacks": "import",
    "reference": "reference",
    "preprocess": "preprocess",
    "ask": "compare",  # loading and running say so themselves
    "train": "measure",
}


def run(job: Mapping[str, Any]) -> Dict[str, Any]:
    """Do ``job``; ``{"ok": True, ...}`` or ``{"ok": False, "outcome": {...}}``."""
    started = time.monotonic()
    try:
        result = {"ok": True, **JOBS[job["do"]](job)}
    except Exception as error:
        stage = getattr(error, "stage", "") or _STAGE_OF_JOB.get(job["do"], "")
        rules = ()
        if job["do"] == "convert":
            stage = getattr(error, "stage", "") or f"convert:{job['hop']}"
            rules = _refusals(job)
        if job["do"] == "ask" and job["precision"] in CAST:
            rules = DTYPE_RULES
        if job.get("device", "cpu") != "cpu":
            rules = (*ON_DEVICE_RULES, *rules)
        result = {"ok": False, "outcome": outcome_of(error, stage or "run", rules).as_dict()}
        if job["do"] == "describe":
            result["where"] = _where(error, job["file"])
        if job["do"] == "convert":
            result["sources"] = _sources()
    result["seconds"] = time.monotonic() - started
    return result


def _refusals(job: Mapping[str, Any]) -> Any:
    """What a hop says its tool's errors mean; nothing where its file is what could not be had."""
    try:
        return hops.known(job["hop_files"])[job["hop"]].refusals
    except Exception:
        return ()


def _where(error: BaseException, file: str) -> str:
    """``FILE:LINE`` of the last line of ``file`` that an error passed through."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == file:
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{file}:{line}" if line else file

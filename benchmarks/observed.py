"""A pytest plugin that notes what a run over ``bench/`` spends its time on.

Loaded by ``-p observed`` in the sessions that ``sessions.py`` starts; changes nothing that
the run does. Writes one JSON object to the file that $SWITCHYARD_OBSERVED names: lists of
``[began, ended, own]`` in seconds by the monotonic clock, by what was done, where ``own``
is what the process that did the work says it took; and ``marks`` between the phases.
"""

from __future__ import annotations

import functools
import json
import os
import pathlib
import time
from typing import Any, Callable, Dict, List

import pytest

#: "start" a fork server came up; "job" one forked job; "make" one reference or conversion, found
#: or made; "launch" having a measured process ready, and what is done with it; "ask" the wait for
#: one answer of it.
SPANS: Dict[str, List[List[float]]] = {name: [] for name in (
    "start", "job", "describe", "make", "launch", "ask")}  # fmt: skip
MARKS: Dict[str, float] = {}


def _spanned(owner: Any, attribute: str, name: Callable[..., str], own: Callable[..., float]):
    """Have calls of ``owner.attribute`` noted under ``name(args)`` with ``own(args, result,
    seconds)``."""
    plain = getattr(owner, attribute)

    @functools.wraps(plain)
    def noted(*args: Any, **options: Any) -> Any:
        began = time.monotonic()
        result = plain(*args, **options)
        ended = time.monotonic()
        SPANS[name(args)].append([began, ended, own(args, options, result, ended - began)])
        return result

    setattr(owner, attribute, noted)


def _own_of_job(args, options, finished, seconds: float) -> float:
    """By the child's clock; where it sent nothing, all of the wait for its end is the stage's."""
    return finished.result["seconds"] if finished.result else finished.seconds


def _own_of_question(args, options, reply, seconds: float) -> float:
    """Importing and loading are answered with their parts, so that the interpreter's own start
    is not the stage's; of imports side by side only what was waited for counts. Every other
    question is work from end to end."""
    parts = ("import_seconds", "load_seconds", "first_call_seconds")
    own = [reply["facts"][part] for part in parts if part in reply.get("facts", {})]
    return min(sum(own), seconds) if own else seconds


def _nothing(args, options, result, seconds: float) -> float:
    return 0.0


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    from switchyard.runner import measurements, standby, workers, yard

    def kind_of_job(args) -> str:
        return "describe" if args[1]["do"] == "describe" else "job"

    _spanned(workers.Worker, "_start", lambda args: "start", _nothing)
    _spanned(workers.Worker, "run", kind_of_job, _own_of_job)
    _spanned(yard.Yard, "_make", lambda args: "make", _nothing)
    _spanned(standby.MeasuredProcess, "answer", lambda args: "ask", _own_of_question)
    _spanned(standby.Standby, "take", lambda args: "launch", _nothing)
    _spanned(measurements, "launch", lambda args: "launch", _nothing)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    MARKS["collected"] = time.monotonic()


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    MARKS["finishing"] = time.monotonic()


def pytest_unconfigure(config: pytest.Config) -> None:
    target = os.environ.get("SWITCHYARD_OBSERVED")
    if target:
        pathlib.Path(target).write_text(json.dumps({"spans": SPANS, "marks": MARKS}))

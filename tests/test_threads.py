"""How many threads the jobs of a run compute with: shared side by side, all when measured."""

from __future__ import annotations

import types

import pytest

from switchyard.runner import crew as crew_
from switchyard.runner.variables import threads_side_by_side
from switchyard.runner.workers import Limits

NAMES = {"OMP_NUM_THREADS", "SWITCHYARD_INTRA_OP_THREADS", "TF_NUM_INTRAOP_THREADS",
         "TF_NUM_INTEROP_THREADS"}  # fmt: skip


@pytest.mark.parametrize(
    "jobs, cores, share", [(16, 16, "2"), (4, 16, "4"), (12, 16, "2"), (32, 64, "2"), (3, 16, "5")]
)
def test_jobs_side_by_side_share_the_cores_with_two_threads_at_least(jobs, cores, share):
    assert threads_side_by_side(jobs, cores, {}) == dict.fromkeys(NAMES, share)


@pytest.mark.parametrize("jobs, cores", [(1, 16), (1, 1), (2, 2), (8, 2)])
def test_where_that_is_all_there_are_nothing_is_set(jobs, cores):
    assert threads_side_by_side(jobs, cores, {}) == {}


def test_what_the_user_set_stays():
    found = threads_side_by_side(16, 16, {"OMP_NUM_THREADS": "7"})
    assert set(found) == NAMES - {"OMP_NUM_THREADS"}


def test_a_worker_is_told_and_a_measured_process_is_not(tmp_path, monkeypatch):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(crew_.os, "sched_getaffinity", lambda pid: set(range(16)))
    given = []
    monkeypatch.setattr(
        crew_, "Worker", lambda environment, variables, *_: given.append(variables)
    )
    environment = types.SimpleNamespace(
        version_set="set", name="core", bin="/bin", fingerprint="f", python="python"
    )
    monkeypatch.setattr(crew_.environments, "provision", lambda *_, **__: environment)
    staged = types.SimpleNamespace(path=tmp_path)
    crew = crew_.Crew(staged, tmp_path, tmp_path, Limits(1, 1), {}, lambda text: None, jobs=8)
    crew.environment("set", "core")
    crew.worker("set", "core")
    assert {name: given[0][name] for name in NAMES} == dict.fromkeys(NAMES, "2")
    assert not NAMES & set(crew.variables(environment))

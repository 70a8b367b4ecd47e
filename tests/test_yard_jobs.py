"""What the yard asks of a worker: a job names what its converter or runtime imports late."""

from __future__ import annotations

import types

import pytest

from switchyard import hops, runtimes
from switchyard.routes import named
from switchyard.runner import yard
from switchyard.runner.plan import Planned
from switchyard.runner.workers import Finished
from switchyard.runner.yard import Yard
from switchyard.vocabulary import COSTS, Cell, Outcome


class Crew:
    """Takes every job down, and answers it as if all had gone well."""

    def __init__(self, cache):
        self.cache, self.card, self.jobs = cache, None, []
        self.staged = types.SimpleNamespace(machinery="", digests={})

    def environment(self, version_set, name):
        return types.SimpleNamespace(fingerprint="one")

    def lacks(self, version_set, name, modules):
        return None

    def do(self, version_set, name, job, stage):
        self.jobs.append(job)
        answer = Outcome(stage="compare", verdict="excellent").as_dict()
        facts = {"facts": {}, "convert_seconds": 0.0, "artefact_bytes": 0, "outcome": answer}
        return Finished({"ok": True, "seconds": 0.0, **facts}, None, 0.0)

    def close(self):
        pass


def test_a_job_names_what_its_converter_and_its_runtime_import_late(tmp_path):
    known, runs, crew = hops.builtin(), runtimes.builtin(), Crew(tmp_path)
    model = {"sources": {}, "file": "zoo.py", "inputs": {}, "classifier": False, "precision": "float32", "sizes": {}}
    yard = Yard(crew, known, runs, [], 2, lambda text: lambda: None)
    try:
        yard.prepare([
            Planned(Cell("set", "cpu", "float32", "m", name), named(name, known, runs), model)
            for name in ("dynamo-ort", "torch-compile")
        ])  # fmt: skip
    finally:
        yard.close()
    asked = {job.get("hop") or job.get("runtime"): job.get("preloads") for job in crew.jobs}
    assert asked["dynamo"] == known["dynamo"].preloads != ()
    assert asked["torch-compile"] == runs["torch-compile"].preloads != ()
    assert crew.jobs[0]["do"] == "reference" and len(crew.jobs) == 4


def test_what_a_route_costs_most_is_started_first():
    first = yard._Work(lambda: None, after=[yard._Work(lambda: None, tier) for tier in COSTS])
    assert [work.tier for work in first.dearest_first()] == list(reversed(COSTS))


@pytest.mark.parametrize("card, side_by_side", [
    (None, 12),
    (types.SimpleNamespace(memory_mib=81_559, exclusive=False), 9),
    (types.SimpleNamespace(memory_mib=4_096, exclusive=False), 1),
    (types.SimpleNamespace(memory_mib=81_559, exclusive=True), 1),
])  # fmt: skip
def test_as_many_are_asked_on_a_card_at_once_as_it_takes(tmp_path, card, side_by_side):
    crew = Crew(tmp_path)
    crew.card = card
    yard = Yard(crew, {}, runtimes.builtin(), [], 12, lambda text: lambda: None)
    taken = 0
    while yard._turns.acquire(blocking=False):
        taken += 1
    yard.close()
    assert taken == side_by_side

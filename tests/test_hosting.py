"""What a cell's runtime cannot do on its device, asked once and before anything is converted."""

from __future__ import annotations

import types

import pytest

from switchyard.runner.hosting import Hosting
from switchyard.runner.workers import Finished
from switchyard.vocabulary import Outcome

GONE = Outcome(stage="run", verdict="failed", kind="crash", message="gone", signature="gone")


class Crew:
    """One that gives a written answer, and counts how often it is asked for it."""

    def __init__(self, result=None, outcome=None, missing=None, environment="there"):
        self._finished = Finished(result, outcome, 0.0)
        self._missing, self._environment = missing, environment
        self.asked = []

    def environment(self, version_set, name):
        return self._environment

    def lacks(self, version_set, name, modules):
        return self._missing

    def do(self, version_set, name, job, stage):
        self.asked.append(job)
        return self._finished


def planned(device="cuda", runtime="ort", precision="float32"):
    cell = types.SimpleNamespace(version_set="set", device=device, precision=precision)
    return types.SimpleNamespace(cell=cell, route=types.SimpleNamespace(runtime=runtime))


def hosting(crew):
    runtime = types.SimpleNamespace(
        name="ort", environment="core", devices=("cpu", "cuda"), elsewhere="", requires=("x",)
    )
    only = types.SimpleNamespace(name="litert", devices=("cpu",), elsewhere="no such backend")
    return Hosting(crew, {"ort": runtime, "litert": only})


def test_what_the_packages_lack_is_asked_once_for_all_cells_of_a_precision():
    crew = Crew({"ok": True, "reason": "built without CUDA"})
    ask = hosting(crew)
    first, again = ask(planned()), ask(planned())
    assert first == again and len(crew.asked) == 1
    assert (first.stage, first.verdict, first.kind) == (
        "import", "unavailable", "missing-dependency"
    )  # fmt: skip
    assert first.message == "built without CUDA"
    ask(planned(precision="tf32"))
    assert [job["precision"] for job in crew.asked] == ["float32", "tf32"]


def test_on_the_cpu_nothing_is_asked_and_a_runtime_without_the_device_needs_no_asking():
    crew = Crew({"ok": True, "reason": "never heard"})
    assert hosting(crew)(planned("cpu")) is None
    assert hosting(crew)(planned(runtime="litert")).message == "no such backend"
    assert not crew.asked


@pytest.mark.parametrize(
    "crew", [Crew({"ok": True, "reason": ""}), Crew(None, GONE), Crew({"ok": False, "outcome": {}})]
)
def test_nothing_lacking_and_an_answer_that_does_not_come_are_no_reason(crew):
    assert hosting(crew)(planned()) is None and len(crew.asked) == 1


def test_a_set_without_the_package_or_the_environment_says_that():
    for crew in (Crew(missing=GONE), Crew(environment=GONE)):
        assert hosting(crew)(planned()) is GONE and not crew.asked

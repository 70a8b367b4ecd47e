"""The hybrid deployment: TensorFlow asks torch in another process, and answers as torch does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from switchyard.compare.document import claims
from switchyard.runtimes import Recipe, hybrid
from switchyard.worker.blame import outcome_of

SERVED = Path(__file__).parent / "planted" / "served.py"


@pytest.fixture(scope="module")
def served(bench):
    suites = [f"bench/test_{name}.py" for name in ("conversion", "accuracy", "latency", "memory")]
    return bench("--zoo", SERVED, "--route", "hybrid-tf", files=suites)


def test_what_torch_answers_arrives_in_every_dtype_and_at_another_size(served):
    row = served.rows["of_many_types-hybrid-tf"]
    assert (row["verdict"], row["mse"], row["dynamic"]) == ("excellent", "0.0", "ok")
    assert row["convert_seconds"] == row["hops"] == row["artefact_bytes"] == ""


def test_memory_is_that_of_both_processes_and_latency_is_more_than_torchs_own(served):
    both, alone = (served.rows[f"of_many_types-{route}"] for route in ("hybrid-tf", "torch-eager"))
    assert float(both["memory_steady_mib"]) > 1.5 * float(alone["memory_steady_mib"])
    assert float(both["memory_peak_mib"]) >= float(both["memory_steady_mib"])
    assert both["heap_free_mib"] == "" != alone["heap_free_mib"]
    assert float(both["ratio_to_native"]) > 1


@pytest.mark.parametrize("model, outcome, said", [
    ("dies_there", ("run", "host-oom", "failed"), "the torch service: killed from outside"),
    ("refuses_there", ("run", "unexplained", "failed"), "ValueError: no such seat"),
    ("not_built_there", ("build", "missing-dependency", "unavailable"),
     "No module named 'absent_there'"),
])  # fmt: skip
def test_what_goes_wrong_in_the_service_is_that_cells_outcome(served, model, outcome, said):
    assert served.outcome(f"{model}-hybrid-tf") == outcome
    assert said in served.rows[f"{model}-hybrid-tf"]["message"]
    assert served.outcome(f"{model}-torch-eager")[2] == "excellent"


def test_no_service_outlives_its_cell(served):
    assert served.left_behind() == []


def test_a_quick_run_has_it_of_the_models_tagged_smoke(bench):
    listed = bench("--collect-only", "-q", files=["bench/test_accuracy.py"]).output
    cells = [line for line in listed.splitlines() if line.endswith("-hybrid-tf]")]
    assert len(cells) == 15


def test_packages_without_grpc_cannot_host_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        hybrid.TorchService(Recipe(str(SERVED), "of_many_types"))
    said = outcome_of(caught.value, caught.value.stage)
    assert (said.stage, said.kind, said.verdict) == (
        "import", "missing-dependency", "unavailable",
    )  # fmt: skip


def row(model, route, **more):
    return {"version_set": "s", "device": "cpu", "precision": "float32", "model": model,
            "route": route, "state": "done", "verdict": "excellent", **more}  # fmt: skip


def pair(model, overhead, times, verdict="excellent"):
    """A model's two rows: ``overhead`` ms more in ``times`` the memory."""
    return [
        row(model, "torch-eager", latency_median_ms=10.0, memory_peak_data_mib=400.0, launches=5),
        row(model, "hybrid-tf", latency_median_ms=10.0 + overhead,
            memory_peak_data_mib=400.0 * times, launches=5, verdict=verdict),
    ]  # fmt: skip


def judged(*pairs, about=None):
    rows = [row for both in pairs for row in both]
    abouts = {"s": about} if about else {}
    (found,) = [one for one in claims.judge({"s": rows}, abouts) if one.claim == "hybrid"]
    return found


def test_one_launch_says_nothing_of_latency():
    found = judged([{**one, "launches": 1} for one in pair("a", 30.0, 2.0)])
    assert found.verdict == "holds for 100% success, 2x memory"
    assert found.figure.endswith("not measured: 2 to 5 ms")


def test_the_claim_holds_where_all_three_do():
    found = judged(pair("a", 2.5, 1.8), pair("b", 4.5, 2.4), pair("c", 3.0, 2.0))
    assert found.verdict == "holds"
    assert found.figure == (
        "3 of 3 models pass; memory over torch eager's 400 MiB, with a build of torch that is "
        "not recorded: 2.0 (middle half 1.9 to 2.2); ms added to a request: 3.0 (middle half 2.8 "
        "to 3.8)"
    )


@pytest.mark.parametrize("pairs, said", [
    ([pair("a", 0.4, 2.0)], "holds for 100% success, 2x memory"),
    ([pair("a", 3.0, 2.9)], "holds for 100% success, 2 to 5 ms"),
    ([pair("a", 3.0, 2.0), pair("b", 3.0, 2.0, "failed")], "holds for 2x memory, 2 to 5 ms"),
    ([pair("a", 3.0, 2.0), pair("b", 3.0, 2.0, "unavailable")], "holds"),
    ([[row("a", "hybrid-tf", verdict="failed")]], "does not hold"),
])  # fmt: skip
def test_each_part_of_the_claim_stands_alone(pairs, said):
    assert judged(*pairs).verdict == said


@pytest.mark.parametrize("packages, build", [
    ({"torch": "2.13.0+cpu"}, "CPU"), ({"torch": "2.13.0", "nvidia-cublas-cu12": "12"}, "CUDA"),
])  # fmt: skip
def test_memory_is_told_with_the_build_of_torch_that_decides_it(packages, build):
    about = {"sets": {"s": {"environments": {"core": {"packages": packages}}}}}
    assert f", with the {build} build of torch: 2.0" in judged(pair("a", 3, 2), about=about).figure


def test_resident_pages_of_programs_say_nothing_of_memory():
    whole = {"memory_steady_mib": 400.0, "memory_peak_data_mib": None}
    found = judged([{**one, **whole} for one in pair("a", 3.0, 2.0)])
    assert found.verdict == "holds for 100% success, 2 to 5 ms"
    assert found.figure.endswith("not measured: 2x memory")

"""A CUDA build of torch beside the CPU's: what its processes hold is nobody's regression."""

from __future__ import annotations

import pytest
from made_tables import ABOUT, MACHINE, row, table

from switchyard.compare import sentences
from switchyard.compare.comparison import compare

SET = "torch2.13-tf2.21"
ROUTES = ("torch-eager", "torch-compile", "hybrid-tf", "dynamo-ort")


def run(held: float, *packages: str):
    about = {**ABOUT, "sets": {SET: {"environments": {"core": {
        "python": "3.11", "packages": dict.fromkeys(("torch", *packages), "1")}}}}}  # fmt: skip
    return table([row(route=route, memory_peak_data_mib=held) for route in ROUTES], about)


def found(*sides):
    comparison = compare(*sides)
    cells = comparison.cells
    return comparison, dict(zip(cells["route"], zip(cells["verdict"], cells["memory_ambiguous"])))


@pytest.mark.parametrize("cuda", ["before", "after"])
def test_memory_of_what_holds_torch_is_not_judged_across_its_builds(cuda):
    extra = {"before": ("nvidia-cublas-cu12",) if cuda == "before" else (),
             "after": ("nvidia-cublas",) if cuda == "after" else ()}  # fmt: skip
    sides = run(100.0, *extra["before"]), run(200.0, *extra["after"])
    comparison, verdicts = found(*sides)
    assert verdicts == {**dict.fromkeys(ROUTES[:3], ("same", True)),
                        "dynamo-ort": ("more-memory", False)}  # fmt: skip
    other = "after" if cuda == "before" else "before"
    said = f"torch in {SET} is a CUDA build {cuda} and the CPU's {other}"
    assert [one for one in comparison.conditions if one.startswith(said)]
    assert (
        "Memory of 3 cells whose processes hold torch is not judged, since one side's torch is "
        "another build. Ambiguous for that: 3 cells." in sentences.memory(comparison)
    )


def test_of_one_build_it_is_judged():
    for packages in ((), ("nvidia-cublas-cu12",), ("nvidia-ml-py",)):
        comparison, verdicts = found(run(100.0, *packages), run(200.0, *packages))
        assert verdicts == dict.fromkeys(ROUTES, ("more-memory", False))
        assert not any("CUDA build" in one for one in comparison.conditions)
    assert found(run(100.0), run(200.0, "nvidia-ml-py"))[1]["torch-eager"] == ("more-memory", False)


@pytest.mark.parametrize("other, said", [
    ({"machine": {**MACHINE, "cpu": "another"}}, "CPU some CPU against another"),
    ({"options": {"threads": 1}}, "other threads: "),
])  # fmt: skip
def test_why_no_memory_is_judged_is_said_and_what_the_end_then_does_not_speak_of(other, said):
    def weighed(held, about):
        return table([row(memory_peak_data_mib=held)], about)

    about = {**ABOUT, "options": {"threads": None}}
    before = weighed(100.0, about)
    alike, apart = (compare(before, weighed(200.0, {**about, **more})) for more in ({}, other))
    assert (alike.status, apart.status) == (1, 0)
    (why,) = [one for one in sentences.memory(apart) if one.startswith("Memory not judged in 1 ")]
    assert said in why
    assert not any("not judged" in one for one in sentences.memory(alike))
    assert sentences.conclusion(apart) == (
        "Nothing became worse; neither time nor memory was judged."
    )
    same = compare(before, before)
    assert sentences.conclusion(same) == "Nothing became worse; time was not judged."

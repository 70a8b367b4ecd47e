"""Claims about one package: which two tables stand for an update of it, and what broke between."""

from __future__ import annotations

import pytest
from test_claims import SET, judged, row

from switchyard.compare.swap_claims import swap_of

TORCH = f"{SET}+torch==2.1.2"
PACKAGES = {SET: {"torch": "2.0.1+cu117", "torchvision": "0.15.2", "onnx": "1.14.0"}}


def by_set(name, tables, packages=PACKAGES):
    from switchyard.compare import claims

    found = [one for one in claims.judge(tables, packages) if one.claim == name]
    return {one.version_set: one for one in found}


BEFORE = [row("a", "dynamo-ort"), row("b", "dynamo-ort", "failed"), row("c", "dynamo-ort")]
AFTER = [row("a", "dynamo-ort", "failed"), row("b", "dynamo-ort"), row("c", "dynamo-ort")]


def test_a_claim_about_one_package_rests_on_the_set_that_swaps_it_alone():
    tables = {SET: BEFORE, TORCH: AFTER, f"{SET}+onnx==1.15.0": BEFORE, "torch2.1-tf2.15": AFTER}
    found = by_set("torch-2.1", tables)
    assert found[TORCH].verdict == "holds"
    assert found[TORCH].rows == ("a-dynamo-ort", "b-dynamo-ort", "c-dynamo-ort")
    assert found[TORCH].figure == (
        f"torch 2.0.1 to 2.1.2 in {SET}: 1 of 3 cells broke, 1 mended; broke: a-dynamo-ort"
    )
    others = {name: one.verdict for name, one in found.items() if name != TORCH}
    assert set(others.values()) == {"not measured"} and len(others) == 3
    minor = {name: one.verdict for name, one in by_set("minor-updates", tables).items()}
    assert minor == {
        SET: "not measured", TORCH: "holds", f"{SET}+onnx==1.15.0": "does not hold",
        "torch2.1-tf2.15": "not measured",
    }  # fmt: skip


def test_an_update_starts_from_the_older_version_whichever_set_has_it():
    older = f"{SET}+onnx==1.13.1"
    (one,) = [by_set("minor-updates", {SET: AFTER, older: BEFORE})[older]]
    assert one.verdict == "holds" and "onnx 1.13.1 to 1.14.0" in one.figure
    assert by_set("minor-updates", {SET: BEFORE, older: BEFORE})[older].verdict == "does not hold"


def test_torch_2_1_in_a_newer_ones_place_says_nothing_of_an_update_to_it():
    packages = {SET: {"torch": "2.5.1"}}
    assert by_set("torch-2.1", {SET: BEFORE, TORCH: AFTER}, packages)[TORCH].verdict == (
        "not measured"
    )


def test_another_major_version_is_no_minor_update():
    numpy = f"{SET}+numpy==2.0.0"
    found = by_set("minor-updates", {SET: BEFORE, numpy: AFTER}, {SET: {"numpy": "1.26.4"}})
    assert found[numpy].verdict == "not measured" and "major" in found[numpy].figure


@pytest.mark.parametrize("verdict, said", [("void", "does not hold"), ("unavailable", "holds")])
def test_a_void_cell_says_nothing_and_a_lost_one_is_lost(verdict, said):
    after = [row("a", "dynamo-ort", verdict), row("c", "dynamo-ort")]
    assert by_set("minor-updates", {SET: BEFORE, TORCH: after})[TORCH].verdict == said


@pytest.mark.parametrize("pins, verdict", [
    ("torch==2.1.2+torchvision==0.16.2", "holds"),  # the one is built for the other
    ("onnx==1.15.0+torch==2.1.2", "not measured"),  # which of them broke it?
    ("torchvision==0.16.2", "not measured"),  # it is no torch
])  # fmt: skip
def test_what_is_built_for_one_torch_is_swapped_with_it_and_nothing_else_is(pins, verdict):
    name = f"{SET}+{pins}"
    tables = {SET: [row("a", "dynamo-ort")], name: [row("a", "dynamo-ort", "failed")]}
    assert by_set("torch-2.1", tables)[name].verdict == verdict


@pytest.mark.parametrize("name, packages, why", [
    (SET, PACKAGES, "one package alone"),
    (TORCH, {}, "which torch"),
    (f"{SET}+torch==2.0.1", {SET: {"torch": "2.0.1"}}, "own"),
    (f"{SET}+torch==two", PACKAGES, "two"),
])  # fmt: skip
def test_a_set_that_is_no_end_of_an_update_says_why(name, packages, why):
    assert why in swap_of(name, packages)


def test_a_swapped_set_without_its_base_is_not_judged():
    (one,) = judged("torch-2.1", {TORCH: BEFORE})
    assert one.verdict == "not measured" and SET in one.figure
    (one,) = by_set("torch-2.1", {TORCH: BEFORE}).values()
    assert one.verdict == "not measured" and SET in one.figure


def test_a_cell_on_another_device_is_no_counterpart():
    on_card = [{**one, "device": "cuda"} for one in AFTER]
    found = by_set("torch-2.1", {SET: BEFORE, TORCH: on_card})[TORCH]
    assert found.verdict == "not measured" and "no judged cell in common" in found.figure

"""Claims about one package: which two tables stand for an update of it, and what broke between."""

from __future__ import annotations

import pytest
from test_claims import SET, judged, row

from switchyard.compare.document import claims
from switchyard.compare.document.swaps import swap_of

TORCH = f"{SET}+torch==2.1.2"
OLD = {"torch": "2.0.1+cu117", "torchvision": "0.15.2", "onnx": "1.14.0"}


def about(version_set, packages, **more):
    """What a run says of itself, in which one set has these packages in its core."""
    made = {"core": {"python": "3.11.7", "packages": packages}}
    return {"sets": {version_set: {"environments": made}}, **more}


def by_set(name, tables, abouts=None):
    abouts = {SET: about(SET, OLD)} if abouts is None else abouts
    found = [one for one in claims.judge(tables, abouts) if one.claim == name]
    return {one.version_set: one for one in found}


BEFORE = [row("a", "dynamo-ort"), row("b", "dynamo-ort", "failed"), row("c", "dynamo-ort")]
AFTER = [row("a", "dynamo-ort", "failed"), row("b", "dynamo-ort"), row("c", "dynamo-ort")]


def test_a_claim_about_one_package_rests_on_the_set_that_swaps_it_alone():
    tables = {SET: BEFORE, TORCH: AFTER, f"{SET}+onnx==1.15.0": BEFORE, "torch2.1-tf2.15": AFTER}
    found = by_set("torch-2.1", tables)
    assert found[TORCH].verdict == "holds"
    assert found[TORCH].rows == ("a-dynamo-ort", "b-dynamo-ort", "c-dynamo-ort")
    assert found[TORCH].figure == (
        f"torch 2.0.1 to 2.1.2 in {SET}: 1 of 3 cells (1 of 3 models) broke, 1 (1) mended; "
        "broke: a-dynamo-ort; what else differs is not recorded"
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
    newer = {SET: about(SET, {"torch": "2.5.1"})}
    found = by_set("torch-2.1", {SET: BEFORE, TORCH: AFTER}, newer)[TORCH]
    assert found.verdict == "not measured"


def test_another_major_version_is_no_minor_update():
    numpy = f"{SET}+numpy==2.0.0"
    older = {SET: about(SET, {"numpy": "1.26.4"})}
    found = by_set("minor-updates", {SET: BEFORE, numpy: AFTER}, older)
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
    (SET, OLD, "one package alone"),
    (TORCH, {}, "which torch"),
    (f"{SET}+torch==2.0.1", {"torch": "2.0.1"}, "own"),
    (f"{SET}+torch==two", OLD, "two"),
])  # fmt: skip
def test_a_set_that_is_no_end_of_an_update_says_why(name, packages, why):
    assert why in swap_of(name, {SET: about(SET, packages)})


def test_what_is_no_export_says_nothing_of_an_export():
    def table(verdict):
        return [row("a", "dynamo-ort"), row("a", "torch-compile", verdict, hops=""),
                row("a", "hybrid-tf", verdict, hops=""), row("a", "manual-tf", verdict),
                row("a", "torch-eager", verdict)]  # fmt: skip

    tables = {SET: table("excellent"), TORCH: table("failed")}
    export = by_set("torch-2.1", tables)[TORCH]
    assert export.verdict == "does not hold" and export.rows == ("a-dynamo-ort",)
    any_update = by_set("minor-updates", tables)[TORCH]
    assert "3 of 4 cells (1 of 1 models) broke" in any_update.figure


def test_what_differs_beside_the_swapped_package_is_said():
    new = {**OLD, "torch": "2.1.2", "torchvision": "0.16.2", "onnx": "1.15.0", "triton": "2.1.0"}
    name = f"{TORCH}+torchvision==0.16.2"
    abouts = {SET: about(SET, OLD, sources={"zoo": "a"}, source={"commit": "0123"}),
              name: about(name, new, sources={"zoo": "b"}, source={"commit": "4567"})}  # fmt: skip
    abouts[SET]["sets"][SET]["environments"]["side"] = {"python": "3.11.7", "packages": {"x": "1"}}
    found = by_set("torch-2.1", {SET: BEFORE, name: AFTER}, abouts)[name]
    assert found.figure.endswith(
        "; 2 packages beside what is pinned differ (onnx, triton); the sources of the models of "
        "the zoo differ; Switchyard's commit differs: 0123 → 4567"
    )
    same = {SET: abouts[SET], name: {**abouts[SET], **about(name, {**OLD, "torch": "2.1.2"})}}
    assert by_set("torch-2.1", {SET: BEFORE, name: AFTER}, same)[name].figure.endswith(
        "broke: a-dynamo-ort"
    )


def test_a_swapped_set_without_its_base_is_not_judged():
    (one,) = judged("torch-2.1", {TORCH: BEFORE})
    assert one.verdict == "not measured" and SET in one.figure
    (one,) = by_set("torch-2.1", {TORCH: BEFORE}).values()
    assert one.verdict == "not measured" and SET in one.figure


def test_a_cell_on_another_device_is_no_counterpart():
    on_card = [{**one, "device": "cuda"} for one in AFTER]
    found = by_set("torch-2.1", {SET: BEFORE, TORCH: on_card})[TORCH]
    assert found.verdict == "not measured" and "no judged cell in common" in found.figure

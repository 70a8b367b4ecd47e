"""The yard's routes, and which cells a run has."""

from __future__ import annotations

import re
import types

import pytest

from switchyard import hops, routes, runtimes
from switchyard.hops import Hop
from switchyard.runner import plugin
from switchyard.runner.plan import NothingUsable, Zoo, chosen_routes, plan, with_natives
from switchyard.runner.summary import write_summary
from switchyard.vocabulary import Outcome, UnknownName, in_tier

HOPS, RUNTIMES = hops.builtin(), runtimes.builtin()
MISSING = Outcome("import", "unavailable", "missing-dependency")

NAMED = (
    "torch-eager", "torch-compile", "dynamo-ort", "torchscript-ort", "torchscript17-ort",
    "torchscript11-ort", "dynamo-onnxslim-ort", "torchscript-onnxsim-ort", "dynamo-onnx2tf-tf",
    "torchscript17-onnx2tf-tf", "torchscript17-onnx2tf-litert",
    "torchscript17-onnx2tf-tf2onnx-ort",
)  # fmt: skip


def entry(name, tier="quick", file="a.py", **more):
    return {"name": name, "tier": tier, "precision": "float32", "file": file, **more}


def test_float32_models_have_tf32_cells_beside_their_own_where_asked_for():
    zoos = {"a": zoo(entry("one"), entry("two", precision="float64"))}
    found = plan(zoos, {"torch-eager": routes.routes(HOPS, RUNTIMES)["torch-eager"]}, "cuda",
                 "quick", tf32=True)  # fmt: skip
    said = [(planned.cell.model, planned.cell.precision) for planned in found]
    assert said == [("one", "float32"), ("one", "tf32"), ("two", "float64")]


def test_a_model_for_gpus_is_planned_on_one_alone():
    zoos = {"a": zoo(entry("one"), entry("two", tags=["gpu"]))}
    for device, names in (("cpu", {"one"}), ("cuda", {"one", "two"})):
        found = plan(zoos, routes.routes(HOPS, RUNTIMES), device, "quick")
        assert {planned.cell.model for planned in found} == names
    with pytest.raises(NothingUsable, match="'two' .*--gpu"):
        plan(zoos, routes.routes(HOPS, RUNTIMES), "cpu", "quick", ["two"])


def zoo(*entries, errors=None):
    return Zoo({one["name"]: one for one in entries}, errors or {})


def planned(zoos, tier="quick", routes_=None, **more):
    found = plan(zoos, routes_ or routes.routes(HOPS, RUNTIMES), "cpu", tier, **more)
    return [one.cell.short for one in found]


@pytest.mark.parametrize("name", NAMED)
def test_a_promised_route_is_taken_without_being_asked_for(name):
    assert routes.routes(HOPS, RUNTIMES)[name].name == name


def test_a_route_is_its_hops_and_its_runtime():
    circle = routes.named("torchscript17-onnx2tf-tf2onnx-ort", HOPS, RUNTIMES)
    assert circle.hops == ("torchscript17", "onnx2tf", "tf2onnx") and circle.runtime == "ort"
    assert circle.prefixes[:2] == (("torchscript17",), ("torchscript17", "onnx2tf"))
    for route in routes.routes(HOPS, RUNTIMES, every=True).values():
        format = "torch"
        for hop in map(HOPS.get, route.hops):
            assert hop.source == format, route.name
            following = [HOPS[h].source for h in route.hops[route.hops.index(hop.name) + 1 :][:1]]
            format = (following or [RUNTIMES[route.runtime].format])[0]
            assert format in hop.targets, route.name
        assert RUNTIMES[route.runtime].format == format


def test_a_new_hop_is_in_every_route_that_can_use_it():
    class Rewriter(Hop):
        name, source, targets, after = "rewriter", "onnx", ("onnx",), ("dynamo",)

    more = {**HOPS, "rewriter": Rewriter()}
    assert "dynamo-rewriter-ort" in routes.routes(more, RUNTIMES)
    assert "torchscript-rewriter-ort" not in routes.routes(more, RUNTIMES)
    assert routes.named("torchscript-rewriter-ort", more, RUNTIMES).hops[1] == "rewriter"


def test_a_hop_in_no_route_of_the_run_is_said_with_the_routes_that_name_it():
    class Rewriter(Hop):
        name, source, targets, tier = "rewriter", "onnx", ("onnx",), "full-only"

    more, native = {**HOPS, "rewriter": Rewriter()}, routes.routes(HOPS, RUNTIMES).values()
    said = routes.unused("rewriter", native, more, RUNTIMES, "quick")
    assert said.startswith("hop 'rewriter' is in no cell of this run (tier quick, the models and")
    for name in re.search("--route: (.*) and [0-9]+ more$", said)[1].split(", "):
        assert "rewriter" in routes.named(name, more, RUNTIMES).hops
    Rewriter.after = ("torchscript",)
    assert "--route: torchscript-rewriter-ort, " in routes.unused("rewriter", native, more,
                                                                  RUNTIMES, "quick")  # fmt: skip
    with_it = routes.routes(more, RUNTIMES).values()
    assert routes.unused("rewriter", with_it, more, RUNTIMES, "full") == ""
    Rewriter.source, Rewriter.targets = "keras", ("exported_program",)
    assert routes.unused("rewriter", native, more, RUNTIMES, "full") == (
        "hop 'rewriter' is in no route: no hop makes the keras that it takes, or no runtime takes "
        "the exported_program that it makes"
    )


def test_two_hops_of_one_name_are_refused():
    with pytest.raises(ValueError, match="dynamo"):
        hops.register([HOPS["dynamo"], HOPS["dynamo"]])


@pytest.mark.parametrize("wrong, near", [
    ("dynamo-otr", "dynamo-ort"),
    ("torchscript18-ort", "torchscript17-ort"),
    ("torch-eagre", "torch-eager"),
])  # fmt: skip
def test_an_unknown_route_is_answered_with_the_nearest(wrong, near):
    with pytest.raises(UnknownName, match=near):
        chosen_routes([wrong], HOPS, RUNTIMES)


def test_an_unknown_model_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="did you mean resnet18"):
        planned({"set": zoo(entry("resnet18"), entry("vgg"))}, models=["resnet_18"])


def missing(*files, what="torch"):
    why = Outcome("import", "unavailable", "missing-dependency", message=f"No module named {what}",
                  detail=f"Traceback\n  first line\nNo module named {what}")  # fmt: skip
    return {file: (why, f"{file}:3") for file in files}


def test_a_model_that_no_set_could_look_for_is_answered_with_why():
    with pytest.raises(NothingUsable) as caught:
        planned({"bare": zoo(errors=missing("a.py", "b.py", "c.py"))}, models=["one"])
    assert str(caught.value) == (
        "unknown model 'one': nothing of the zoo could be used:\n"
        "  bare: No module named torch (a.py:3 and 2 more)"
    )
    lost = Zoo({}, {}, Outcome("resolve", "unavailable", "unsatisfiable-pins", message="no wheel"))
    with pytest.raises(NothingUsable, match="bare: No module named torch.*\n  lost: no wheel"):
        planned({"lost": lost, "bare": zoo(errors=missing("a.py"))}, models=["one"])


def test_a_model_that_may_stand_in_a_broken_file_is_answered_with_the_nearest_and_that():
    half = zoo(entry("resnet18"), errors=missing("b.py", what="timm"))
    with pytest.raises(NothingUsable, match="did you mean resnet18.*\n.*timm .b.py:3"):
        planned({"set": half}, models=["resnet_18"])
    # What another set could read holds no such model, whatever this one lacks.
    with pytest.raises(UnknownName, match="did you mean resnet18"):
        planned({"old": zoo(errors=missing("a.py")), "new": zoo(entry("resnet18"))},
                models=["resnet_18"])  # fmt: skip


def test_what_is_missing_in_every_file_is_printed_once_with_the_files():
    zoos = {
        "bare": zoo(errors={**missing("a.py", "b.py"), **missing("c.py", what="timm")}),
        "sound": zoo(entry("one")),
        "lost": Zoo({}, {}, Outcome("resolve", "unavailable", message="gone")),
    }
    printed, sections = [], []
    reporter = types.SimpleNamespace(section=lambda title, **_: sections.append(title),
                                     write_line=lambda line, **_: printed.append(line))  # fmt: skip
    run = types.SimpleNamespace(zoos=zoos, folder=None)
    write_summary(reporter, run, None)
    assert sections == ["2 zoo files could not be used", "a zoo file could not be used",
                        "lost could not be used"]  # fmt: skip
    assert printed[-1] == "gone; all its cells are unavailable"
    assert printed[:3] == ["No module named torch (bare)", "a.py:3, b.py:3", "the first of them:"]
    assert sum("torch" in line for line in printed) == 2
    assert "c.py:3 (bare): No module named timm" in printed


@pytest.mark.parametrize("unusable, status", [(None, 0), (Outcome("resolve", "unavailable"), 1)])
def test_a_set_that_could_not_be_used_beside_one_that_could_is_no_success(unusable, status):
    """Its cells are unavailable, which by itself fails nothing: each night would be green."""
    config = types.SimpleNamespace(stash=pytest.Stash())
    config.stash[plugin.PROGRESS] = types.SimpleNamespace(end=lambda: None)
    yard = types.SimpleNamespace(close=lambda: None)
    zoos = {"sound": zoo(entry("one")), "other": Zoo({}, {}, unusable)}
    config.stash[plugin.RUN] = types.SimpleNamespace(zoos=zoos, folder=None, yard=yard)
    session = types.SimpleNamespace(config=config, exitstatus=0)
    plugin.pytest_sessionfinish(session, pytest.ExitCode.OK)
    assert session.exitstatus == status


@pytest.mark.parametrize("model, route, wanted", [
    ("smoke", "smoke", "smoke"),
    ("quick", "quick", "quick"),
    ("smoke", "full", "quick"),
    ("full", "smoke", "quick"),
    ("full", "full", "full"),
    ("smoke", "full-only", "full"),
    ("full", "full-only", "full"),
    ("full-only", "smoke", "full"),
])  # fmt: skip
def test_a_cell_is_in_the_cheapest_tier_that_can_pay_for_it(model, route, wanted):
    tiers = ("smoke", "quick", "full")
    taken = [in_tier(model, route, tier) for tier in tiers]
    assert taken == [place >= tiers.index(wanted) for place in range(3)]


def test_a_full_run_holds_a_quick_run_and_that_a_smoke_run():
    tiers = {"a": "smoke", "b": "quick", "c": "full"}
    twin = {"weights": True, "chain": False}
    models = [entry(name, tier, twin=twin, tags=["mode"]) for name, tier in tiers.items()]
    zoos = {"set": zoo(*models)}
    smoke, quick, full = (set(planned(zoos, tier)) for tier in ("smoke", "quick", "full"))
    assert smoke and smoke < quick < full
    every = routes.routes(HOPS, RUNTIMES).values()
    assert full == {f"{one['name']}-{to.name}" for one in models for to in every if to.takes(one)}


def test_a_quick_run_sends_the_tagged_models_alone_down_the_dear_routes():
    zoos = {"set": zoo(entry("tagged", "smoke"), entry("plain", "quick"), entry("rare", "full"))}
    quick = planned(zoos, "quick")
    assert "tagged-torchscript17-onnx2tf-tf" in quick
    assert "plain-torchscript17-onnx2tf-tf" not in quick and "plain-torchscript17-ort" in quick
    assert "rare-torchscript-ort" in quick and "rare-torchscript17-ort" not in quick


def test_what_is_asked_for_by_name_costs_nothing_towards_the_tier():
    zoos = {"set": zoo(entry("dear", "full"))}
    dear = chosen_routes(["torchscript17-onnx2tf-tf"], HOPS, RUNTIMES)
    more = {"models": ["dear"], "routes_named": True}
    assert planned(zoos, "smoke", dear, **more) == ["dear-torchscript17-onnx2tf-tf"]
    assert planned(zoos, "smoke", dear) == []


def test_the_native_baseline_has_a_row_before_any_route_of_its_model():
    chosen = chosen_routes(["dynamo-ort", "torchscript-ort"], HOPS, RUNTIMES)
    found = plan({"set": zoo(entry("a"), entry("b"))}, chosen, "cpu", "quick")
    assert [one.cell.short for one in with_natives(found, RUNTIMES)] == [
        "a-torch-eager", "a-dynamo-ort", "a-torchscript-ort",
        "b-torch-eager", "b-dynamo-ort", "b-torchscript-ort",
    ]  # fmt: skip


def test_a_baseline_that_was_selected_is_not_planned_twice():
    every = plan({"set": zoo(entry("a"))}, routes.routes(HOPS, RUNTIMES), "cpu", "quick")
    cells = [one.cell for one in with_natives(every, RUNTIMES)]
    assert len(cells) == len(set(cells)) and cells[0].route == "torch-eager"


def test_a_model_that_one_set_cannot_import_has_its_rows_there_all_the_same():
    zoos = {
        "new": zoo(entry("a")),
        "old": zoo(errors={"a.py": (MISSING, "a.py:1")}),
    }
    found = plan(zoos, chosen_routes(["dynamo-ort"], HOPS, RUNTIMES), "cpu", "full")
    by_set = {one.cell.version_set: one for one in found}
    assert by_set["new"].missing is None and by_set["old"].missing == MISSING


def test_a_model_that_its_file_declares_in_one_set_only_is_unavailable_in_the_other():
    zoos = {"new": zoo(entry("a"), entry("b")), "old": zoo(entry("b"))}
    found = plan(zoos, chosen_routes(["dynamo-ort"], HOPS, RUNTIMES), "cpu", "full")
    missing = {(one.cell.version_set, one.cell.model): one.missing for one in found}
    said = missing.pop(("old", "a"))
    assert set(missing.values()) == {None}
    assert (said.verdict, said.kind) == ("unavailable", "missing-dependency")
    assert said.message == "a.py declares no model 'a' in old"


def test_cells_that_differ_in_the_set_alone_stand_together_behind_their_natives():
    zoos = {"old": zoo(entry("a"), entry("b")), "new": zoo(entry("a"), entry("b"))}
    found = plan(zoos, chosen_routes(["torch-eager", "dynamo-ort"], HOPS, RUNTIMES), "cpu", "full")
    assert [(one.cell.model, one.cell.route, one.cell.version_set) for one in found] == [
        (model, route, version_set)
        for model in ("a", "b")
        for route in ("torch-eager", "dynamo-ort")
        for version_set in ("old", "new")
    ]


def test_a_set_that_cannot_be_installed_is_a_whole_column_of_its_own_reason():
    why = Outcome("resolve", "unavailable", "unsatisfiable-pins", message="no such torch")
    zoos = {"broken": Zoo({}, {}, why), "sound": zoo(entry("one"), entry("two", tier="smoke"))}
    found = plan(zoos, routes.routes(HOPS, RUNTIMES), "cpu", "quick")
    cells = {name: [each for each in found if each.cell.version_set == name] for name in zoos}
    assert [each.cell.short for each in cells["broken"]] == [
        each.cell.short for each in cells["sound"]]  # fmt: skip
    assert {each.missing for each in cells["broken"]} == {why}
    assert {each.missing for each in cells["sound"]} == {None}


def test_where_no_set_can_be_installed_each_ones_reason_is_said():
    lost = {name: Zoo({}, {}, Outcome("resolve", "unavailable", "unsatisfiable-pins",
                                      detail=f"{name}: no such torch")) for name in "ab"}  # fmt: skip
    with pytest.raises(NothingUsable, match="a: no such torch\nb: no such torch"):
        plan(lost, routes.routes(HOPS, RUNTIMES), "cpu", "quick")

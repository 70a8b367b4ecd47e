"""The source document's claims: each verdict by rows made for it, and none without any."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_folders import new_run

from switchyard.cli import main
from switchyard.cli.claims import _RULES
from switchyard.compare import bands
from switchyard.compare.document import claims, hybrid, modes
from switchyard.vocabulary import Cell

SET = "torch2.0-tf2.13"


def row(model, route, verdict="excellent", **more):
    hops = ">".join(route.split("-")[:-1]) if route != "torch-eager" else ""
    return {"version_set": SET, "device": "cpu", "precision": "float32", "model": model,
            "route": route, "hops": hops, "verdict": verdict, "state": "done", **more}  # fmt: skip


def rows(route, passed, failed, **more):
    return [row(f"m{i}", route, "excellent" if i < passed else "failed", **more)
            for i in range(passed + failed)]  # fmt: skip


def judged(name, tables):
    return [one for one in claims.judge(tables) if one.claim == name]


def verdict(name, own, **others):
    (one,) = [j for j in judged(name, {SET: own, **others}) if j.version_set in ("", SET)]
    return one.verdict


@pytest.mark.parametrize("name", [claim.name for claim in claims.CLAIMS])
def test_nothing_is_judged_that_was_not_measured(name):
    (one,) = judged(name, {SET: rows("torch-eager", 5, 0)})
    assert one.verdict == "not measured" and one.figure and not one.rows
    (one,) = judged(name, {})
    assert one.verdict == "not measured"


NO = "does not hold"


@pytest.mark.parametrize("passed, said, side", [
    (14, "holds", "48.1 to 85.5%)"), (20, NO, "83.9 to 100.0%, more)"),
    (2, NO, "2.8 to 30.1%, less)"),
])  # fmt: skip
def test_a_rate_holds_where_it_lies_in_the_interval_else_it_is_said_on_which_side(
    passed, said, side
):
    (one,) = judged("export-rate", {SET: rows("dynamo-ort", passed, 20 - passed)})
    assert one.verdict == said and one.figure.endswith(side), one.figure


def test_a_rate_may_hold_for_one_route_alone_and_counts_a_model_in_its_own_precision():
    table = rows("dynamo-ort", 20, 0) + rows("torchscript-ort", 14, 6)
    table.append(row("half", "dynamo-ort", "excellent", precision="float16"))
    table.append(row("m0", "dynamo-ort", "failed", precision="float16"))  # cast from float32
    (one,) = judged("export-rate", {SET: table})
    assert one.verdict == "holds for torchscript-ort"
    assert "dynamo-ort 21 of 21" in one.figure and len(one.rows) == 41


def test_what_is_unavailable_or_unfinished_counts_for_nothing():
    table = rows("dynamo-ort", 14, 6) + [row("x", "dynamo-ort", "unavailable"),
                                         row("y", "dynamo-ort", "void"),
                                         row("z", "dynamo-ort", state="planned")]  # fmt: skip
    (one,) = judged("export-rate", {SET: table})
    assert "14 of 20" in one.figure


@pytest.mark.parametrize("failed, said", [(0, "holds"), (1, "does not hold")])
def test_a_hundred_percent_is_every_one(failed, said):
    assert verdict("manual-rate", rows("manual-tf", 20, failed)) == said


def test_what_never_works_holds_for_the_models_looked_at_and_is_refuted_by_one_that_does():
    table = [row("grid_sample", "torchscript11-ort", "refused"),
             row("grid_sample_volume", "torchscript11-ort", "refused")]  # fmt: skip
    assert verdict("grid-sample", table) == "holds for grid_sample, grid_sample_volume"
    assert verdict("grid-sample", table + [row("grid_sample", "dynamo-ort")]) == (
        "holds for grid_sample_volume"
    )
    both = table + [row("grid_sample", "dynamo-ort"), row("grid_sample_volume", "dynamo-ort")]
    assert verdict("grid-sample", both) == "does not hold"
    aligned = row("grid_sample_aligned", "torchscript11-ort", "refused")
    assert verdict("grid-sample", [*both, aligned]) == "holds for grid_sample_aligned"


@pytest.mark.parametrize("dynamic", ["wrong", "failed", "specialised"])
def test_a_loop_that_is_right_at_its_own_length_alone_does_not_work(dynamic):
    table = [row("loop_over_length", "torchscript-ort", dynamic=dynamic)]
    (one,) = judged("variable-loops", {SET: table})
    assert one.verdict == "holds for loop_over_length"
    assert ("at another size alone" in one.figure) is (dynamic == "wrong")
    table = [row("loop_over_length", "torchscript-ort", dynamic="ok")]
    assert verdict("variable-loops", table) == "does not hold"


def test_pairs_of_preprocessing_that_were_not_measured_are_named_and_do_not_hold():
    def picture(model, **more):
        return row(model, "manual-tf", "unavailable", family="pictures", **more)

    apart = picture("resized", stage="preprocess", preprocess_mse=0.1)
    agrees = picture("shifted", stage="compare", preprocess_mse=0.0)
    assert verdict("preprocessing", [apart]) == "holds"
    assert verdict("preprocessing", [apart, agrees]) == "holds for resized"
    no_picture = row("net", "dynamo-ort", family="pictures")
    assert verdict("preprocessing", [apart, no_picture]) == "holds"
    (one,) = judged("preprocessing", {SET: [apart, picture("scaled", stage="import")]})
    assert one.verdict == "holds for resized" and "not measured: scaled" in one.figure


def test_a_set_that_did_not_measure_a_claim_says_so_beside_one_that_did():
    tables = {SET: [row("a", "torch-eager")], "torch2.1-tf2.15": rows("manual-tf", 3, 0)}
    said = {one.version_set: one.verdict for one in judged("manual-rate", tables)}
    assert said == {SET: "not measured", "torch2.1-tf2.15": "holds"}


def test_longer_roads_are_no_export():
    table = [row("grid_sample", "dynamo-ort", "refused"), row("grid_sample", "dynamo-onnx2tf-tf")]
    assert verdict("grid-sample", table) == "holds for grid_sample"


@pytest.mark.parametrize("ratio, said", [(1.0, "holds"), (0.3, NO), (2, NO)])
def test_as_fast_as_native_is_a_band_on_both_sides(ratio, said):
    table = [row(f"m{i}", "dynamo-ort", ratio_to_native=ratio + i / 1000, launches=5)
             for i in range(9)]  # fmt: skip
    assert verdict("ort-as-fast", table) == said
    assert verdict("ort-as-fast", [{**one, "launches": 1} for one in table]) == "not measured"


FEW = bands.FEWEST_MODELS


def within(error, models=FEW, wrong=0, **more):
    """As many models with that error, the first ``wrong`` of which do not pass."""
    fault = {"verdict": "investigate", "kind": "precision"}
    return [row(f"m{i}", "dynamo-ort", mse=error, **(fault if i < wrong else {}), **more)
            for i in range(models)]  # fmt: skip


def test_the_band_fails_where_a_small_error_answers_wrongly():
    good = within(1e-9) + [row("b", "torch-eager", "void", mse=0.0)]
    assert verdict("bands", good) == "holds"
    (one,) = judged("bands", {SET: within(1e-9, wrong=1)})
    assert one.verdict == NO and "m0-dynamo-ort (precision)" in one.figure
    assert "1 of 5 models" in one.figure
    void = good + [row("void", "dynamo-ort", "void", mse=1e-9)]
    assert verdict("bands", void) == "holds"


def test_a_mistake_on_purpose_that_a_band_lets_through_is_called_one():
    mistake = row("m0", "manual_default_eps-tf", "investigate", mse=1e-9, kind="channel-affine")
    (one,) = judged("bands", {SET: [*within(1e-9), mistake]})
    assert one.verdict == NO
    assert "m0-manual_default_eps-tf (channel-affine, a mistake on purpose)" in one.figure


@pytest.mark.parametrize("wrong, said", [(0, "holds"), (3, "holds"), (4, NO)])
def test_acceptable_for_most_is_for_half_of_the_models_at_least(wrong, said):
    table = within(1e-4, models=6, wrong=wrong)
    assert verdict("bands-acceptable", table) == said
    assert verdict("bands", table) == "not measured"


def test_exports_of_few_models_judge_no_band_however_many_they_are():
    hops = ("dynamo", "torchscript", "torchscript17")
    table = [row(f"m{i}", f"{hop}-ort", "investigate", mse=1e-4, kind="unexplained")
             for hop in hops for i in range(FEW - 1)]  # fmt: skip
    (one,) = judged("bands-acceptable", {SET: table})
    assert one.verdict == "not measured"
    assert "4 of 4 models" in one.figure and "(12 of 12)" in one.figure
    assert verdict("bands-acceptable", [*table, row("m4", "dynamo-ort", mse=1e-4)]) == NO


def test_bands_are_of_float32_whose_errors_they_were_made_for():
    halves = within(1e-4, wrong=FEW, precision="float16")
    assert verdict("bands-acceptable", halves) == "not measured"


def test_the_two_halves_of_the_opset_claim_are_judged_apart():
    def table(eleven, sixteen):
        return [row("a", "manual-tf2onnx11-ort", eleven), row("a", "manual-tf2onnx16-ort", sixteen)]

    assert verdict("opset", table("excellent", "failed")) == "holds"
    assert verdict("opset", table("excellent", "excellent")) == "holds for 11 is safe"
    assert verdict("opset", table("failed", "failed")) == "does not hold"


def test_the_command_reads_the_newest_whole_run_of_each_set_and_writes_what_it_is_asked_for(
    tmp_path, capsys
):
    results = tmp_path / "results"
    run = new_run(results)
    cell = Cell("torch2.13-tf2.21", "cpu", "float32", "grid_sample", "dynamo-ort")
    run.plan({cell: {"family": "sampling", "hops": "dynamo", "tier": "quick"}})
    run.update(cell, verdict="excellent", mse=1e-13)
    run.state(cell, "done")
    run.close(whole=True)
    files = {kind: tmp_path / f"claims.{kind}" for kind in ("markdown", "json")}
    assert main(["claims", "--results", str(results), "--markdown", str(files["markdown"]),
                 "--json", str(files["json"])]) == 0  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert "grid_sample: 0% success rate torch2.13-tf2.21: does not hold 1 of 1 exports" in printed
    assert f"torch2.13-tf2.21: {run.path.name}: 1 cells, quick tier, cpu" in printed
    assert f"- `torch2.13-tf2.21`: {run.path.name}: 1 cells, quick tier, cpu\n" in (
        files["markdown"].read_text()
    )
    assert "| grid_sample: 0% success rate | torch2.13-tf2.21 |" in files["markdown"].read_text()
    found = json.loads(files["json"].read_text())
    (one,) = [one for one in found if one["claim"] == "grid-sample"]
    assert one["rows"] == ["grid_sample-dynamo-ort"] and one["run"] == run.path.name


def test_the_page_states_the_numbers_that_claims_are_judged_by():
    page = " ".join(" ".join(line.split()) for line in _RULES)
    assert hybrid.TWICE == (1.5, 2.5) and "1.5 to 2.5 times torch eager's" in page
    assert modes.SAME == 1e-4 and "one to 1e-4 after 100 steps" in page
    assert FEW == 5 and "fewer than five" in page


@pytest.mark.parametrize("devices, what", [(("cpu",), "count twice"), (("cpu", "cuda"), "device")])
def test_what_would_count_a_model_twice_is_refused(tmp_path, capsys, devices, what):
    for times in range(2 if len(devices) == 1 else 1):
        run = new_run(tmp_path)
        for device in devices:
            cell = Cell("torch2.13-tf2.21", device, "float32", "grid_sample", "dynamo-ort")
            run.plan({cell: {"family": "sampling", "hops": "dynamo", "tier": "quick"}})
            run.update(cell, verdict="excellent", mse=1e-13)
            run.state(cell, "done")
        run.close(whole=True)
    folders = [str(path.parent) for path in sorted(tmp_path.rglob("cells.csv"))]
    assert main(["claims", *folders]) == 2
    assert what in capsys.readouterr().err


def test_no_table_is_an_error_and_not_an_empty_page(tmp_path, capsys):
    assert main(["claims", "--results", str(tmp_path)]) == 2
    assert "no whole run" in capsys.readouterr().err
    assert main(["claims", str(Path(tmp_path) / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err

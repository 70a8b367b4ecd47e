"""``switchyard compare`` as it is typed: status and output."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from compared_runs import BAD, GOOD, NATIVE, REAL, REAL_CELLS, ROOT, A, B, a_run, said  # noqa: F401
from made_tables import MACHINE

from switchyard.cli import main
from switchyard.tables import schema

# what it says, and how it ends


def test_a_table_against_itself_is_the_same(said):
    status, out, _ = said("compare", REAL, REAL)
    assert status == 0
    assert f"{REAL_CELLS} cells: {REAL_CELLS} same\n" in out
    assert " same\nNothing became worse; memory was not judged.\n" in out
    assert "Packages: none differs." in out


def test_what_broke_is_said_with_its_error_and_how_to_run_it_again(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: BAD, B: BAD}, hours=1)
    status, out, _ = said("compare", before, after)
    assert status == 1
    assert out.count("boom at 3") == 1  # one cause behind two cells is one line
    assert "broke: 2 cells passing before, and not now\n  2 cells, one error:\n  boom at 3\n" in out
    assert "    dynamo-ort: excellent → run crash failed\n      a, b\n" in out
    assert "    again: pytest bench/ --model a --route dynamo-ort\n" in out
    assert out.endswith("2 cells: 2 broke\nWorse: 2 cells.\n")
    assert "before 2 passed (100.0% of attempted, 100.0% of planned); after 0 passed" in out


def test_the_packages_that_differ_stand_at_the_top_and_torch_first(said, tmp_path):
    def with_packages(**packages):
        core = {"python": "3.11.7", "packages": packages}
        return {"sets": {"torch2.13-tf2.21": {"environments": {"core": core}}}}

    old = with_packages(torch="2.12.0", absl="1")
    before = a_run(tmp_path, {A: GOOD}, provenance=old)
    after = a_run(tmp_path, {A: GOOD}, provenance=with_packages(torch="2.13.0", absl="2"))
    _, out, _ = said("compare", before, after)
    assert "Packages that differ (2): torch 2.12.0 → 2.13.0, absl 1 → 2.\n" in out


@pytest.mark.parametrize("boots, noted", [(("a", "b"), 1), (("a", "a"), 0), (("a", None), 0)])
def test_another_start_of_a_machine_is_said(said, tmp_path, boots, noted):
    machines = [{"machine": {**MACHINE, "boot": boot}} for boot in boots]
    runs = [a_run(tmp_path, {A: GOOD}, hours=hours, provenance=machine)
            for hours, machine in enumerate(machines)]  # fmt: skip
    status, out, _ = said("compare", *runs)
    assert status == 0 and " ".join(out.split()).count("the machine was started anew") == noted


def test_how_memory_moved_over_all_cells_is_one_sentence(said, tmp_path):
    def of(*mib):
        return {name: {**GOOD, "memory_peak_mib": one} for name, one in zip((A, B), mib)}

    before, after = a_run(tmp_path, of(100.0, 200.0)), a_run(tmp_path, of(150.0, 500.0), hours=1)
    status, out, _ = said("compare", before, after)
    out = " ".join(out.split())
    assert "Memory, peak: 2.00 times in 2 cells (median; middle half 1.75 to 2.25)." in out
    assert "Memory, model" not in out
    # once said, and not judged
    assert out.count("counts the pages of program files") == 1
    assert "Ambiguous for that: 2 cells beyond 1.1 times." in out
    assert status == 0 and "2 cells: 2 same" in out
    found = json.loads(said("compare", before, after, "--json", "-")[1])
    assert [cell["memory"] for cell in found["cells"]] == ["ambiguous", "ambiguous"]


def test_pages_of_program_files_are_left_out_where_both_tables_tell_them_apart(said, tmp_path):
    def of(whole, data):
        held = {"memory_peak_mib": whole, "memory_peak_data_mib": data}
        return {name: {**GOOD, **held} for name in (A, B)}

    before, after = (a_run(tmp_path, of(*mib), hours=hours)
                     for hours, mib in enumerate([(54.0, 22.0), (62.0, 22.0)]))  # fmt: skip
    status, out, _ = said("compare", before, after)
    assert status == 0 and "Memory, peak: 1.00 times in 2 cells" in " ".join(out.split())
    assert "program files" not in out


def test_two_runs_of_several_launches_are_timed(said, tmp_path):
    steady, slow = [1e-3, 1.1e-3, 0.9e-3, 1e-3, 1.05e-3], [3e-3, 3.2e-3, 2.9e-3, 3.1e-3, 2.8e-3]
    timed = {**GOOD, "launches": 5, "latency_median_ms": 1.0}
    outcomes = {("a", NATIVE): timed, A: timed}
    before = a_run(tmp_path, outcomes, samples={("a", NATIVE): steady, A: steady})
    after = a_run(tmp_path, outcomes, hours=1, samples={("a", NATIVE): steady, A: slow})
    status, out, _ = said("compare", before, after)
    assert status == 1
    assert re.search(
        r"slower: 1 cell slower\n  a-dynamo-ort  2.9\d? times", out
    )
    (after / "samples.parquet").unlink()
    status, out, _ = said("compare", before, after)
    assert status == 0 and "after: the run's samples.parquet is missing" in out
    (after / "samples.parquet").write_bytes(b"PAR1 and no more")
    status, out, err = said("compare", before, after)
    assert (status, out) == (2, "") and "samples.parquet cannot be read" in err


def test_a_single_launch_is_said_to_be_not_comparable(said, tmp_path):
    once = {**GOOD, "launches": 1, "latency_median_ms": 1.0}
    before = a_run(tmp_path, {A: once, ("a", NATIVE): once})
    after = a_run(tmp_path, {A: {**once, "latency_median_ms": 9.0}, ("a", NATIVE): once})
    status, out, _ = said("compare", before, after)
    assert status == 0
    assert re.search(r"Timing not comparable in 1 cell: a single launch a cell", out)


def test_a_run_that_was_killed_is_compared_by_what_it_has(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: GOOD, B: {"state": "planned"}}, hours=1)
    status, out, _ = said("compare", before, after)
    assert status == 1
    assert "2 cells: 1 gone, 1 same" in out
    assert "dynamo-ort (1 excellent, not run after): b" in out


@pytest.mark.parametrize("width", [80, 120])
def test_every_line_fits_the_terminal(said, tmp_path, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    routes = [f"a-rather-long-route-name-{i:02}-tf" for i in range(14)]
    models = [f"model_with_a_longish_name_{i}" for i in range(9)]
    long = {**BAD, "message": "words and more words " * 20}
    before = {(m, r): GOOD for m in models for r in routes}
    after = {
        (m, r): long if i % 3 == 0 else {**GOOD, "mse": 1e-6} if i % 3 == 1 else GOOD
        for i, (m, r) in enumerate(before)
    }
    _, out, _ = said("compare", a_run(tmp_path, before), a_run(tmp_path, after, hours=1))
    lines = [
        line for line in out.splitlines()
        if "pytest bench/" not in line and str(tmp_path) not in line  # what is cut cannot be used
    ]  # fmt: skip
    assert len(lines) > 60 and max(map(len, lines)) <= width


def test_who_wins_where_is_a_square_or_where_that_is_too_wide_the_widest_pairs(
    said, tmp_path, monkeypatch
):
    outcomes = {
        (model, route): GOOD if model == "both" or route == "dynamo-ort" else BAD
        for model in ("both", "one", "two")
        for route in ("dynamo-ort", "torchscript-ort")
    }
    run = a_run(tmp_path, outcomes)
    _, out, _ = said("compare", run, run)
    assert " 1  dynamo-ort       ·  2\n 2  torchscript-ort  0  ·\n" in out
    routes = [f"a-rather-long-route-name-{i:02}-tf" for i in range(20)]
    many = {(m, r): BAD if r == routes[7] and m == "x" else GOOD for r in routes for m in "xy"}
    monkeypatch.setenv("COLUMNS", "80")
    run = a_run(tmp_path, many, hours=1)
    _, out, _ = said("compare", run, run)
    winner = f"  {routes[0]} passes 1 model that\n    {routes[7]} does not; 0 the other way\n"
    assert "  and 180 more pairs: all of them stand in --json" in out[out.index(winner) :]


# what is left out


def test_only_narrows_what_is_listed_and_not_the_status(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD, B: BAD})
    after = a_run(tmp_path, {A: BAD, B: GOOD}, hours=1)
    status, out, _ = said("compare", before, after, "--only", "fixed")
    assert status == 1 and "fixed: 1 cell" in out and "broke: 1 cell" not in out
    assert "2 cells: 1 broke, 1 fixed" in out
    status, _, err = said("compare", before, after, "--only", "brok")
    assert status == 2 and "unknown verdict 'brok'; did you mean broke" in err


def test_ignored_cells_are_said_to_be(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD, B: GOOD})
    after = a_run(tmp_path, {A: BAD, B: GOOD}, hours=1)
    status, out, _ = said("compare", before, after, "--ignore", "a-*", "--ignore", "zzz")
    assert status == 0 and "1 cell: 1 same" in out
    assert "Ignored by 'a-*': 1 cell." in out and "Ignored by 'zzz': no cell at all" in out


def test_where_all_cells_are_ignored_that_is_what_is_said(said, tmp_path):
    before, after = a_run(tmp_path, {A: GOOD, B: GOOD}), a_run(tmp_path, {A: GOOD}, hours=1)
    status, out, _ = said("compare", before, after, "--ignore", "*-*")
    assert status == 2 and "All cells were ignored: none is left to compare." in out
    assert "No cell is planned in both tables" not in out
    status, out, _ = said("compare", before, after, "--ignore", "a-*")
    assert status == 2
    assert "No cell that was not ignored is planned in both tables. Not among them: 1 gone." in out
    apart = a_run(tmp_path, {B: GOOD}, hours=2)
    assert "No cell is planned in both tables. Not among" in said("compare", after, apart)[1]


def test_mistakes_on_purpose_are_said_not_to_be_among_the_cells_of_the_rates(said, tmp_path):
    made = {("a", "traced_in_train-ort"): GOOD, ("b", "manual_default_eps-tf"): BAD}
    before, after = a_run(tmp_path, {A: GOOD, **made}), a_run(tmp_path, {A: GOOD, **made}, hours=1)
    _, out, _ = said("compare", before, after)
    assert "Of 1 cell planned in both: " in out
    assert "Not among them: 2 of mistakes made on purpose. 3 cells: 3 same" in " ".join(out.split())
    page = said("compare", before, after, "--markdown", "-")[1]
    assert "Mistakes made on purpose count for no route and have no line." in page
    for report in ((), ("--markdown", "-")):
        _, out, _ = said("compare", before, after, "--ignore", "*_*", *report)
        assert "made on purpose" not in out


def test_a_mistake_on_purpose_that_ends_otherwise_is_told_and_makes_nothing_worse(said, tmp_path):
    made = ("a", "traced_in_train-ort")
    before = a_run(tmp_path, {A: GOOD, made: GOOD})
    after = a_run(tmp_path, {A: GOOD, made: BAD}, hours=1)
    status, out, _ = said("compare", before, after)
    assert status == 0 and "Nothing became worse; neither time nor memory was judged." in out
    words = "and not now (1 by mistakes made on purpose, which count for nothing)"
    assert words in " ".join(out.split())
    assert words in said("compare", before, after, "--markdown", "-")[1]
    assert json.loads(said("compare", before, after, "--json", "-")[1])["worse"] == 0
    assert 'failures="0"' in said("compare", before, after, "--junit", "-")[1]
    status, out, _ = said("compare", before, a_run(tmp_path, {A: BAD, made: BAD}, hours=2))
    assert status == 1 and "Worse: 1 cell." in out


def test_thresholds_come_from_a_file(said, tmp_path):
    before = a_run(tmp_path, {A: {**GOOD, "mse": 1e-8}})
    after = a_run(tmp_path, {A: {**GOOD, "mse": 4e-8}}, hours=1)
    file = tmp_path / "thresholds.toml"
    file.write_text("accuracy_factor = 3\n")
    assert said("compare", before, after)[0] == 0
    assert said("compare", before, after, "--thresholds", file)[0] == 1
    for text, message in (
        ("acuracy_factor = 3", "did you mean accuracy_factor"),
        ("accuracy_factor = 'x'", "accuracy_factor is a number"),
        ("accuracy_factor", "thresholds.toml: "),
    ):
        file.write_text(text)
        status, _, err = said("compare", before, after, "--thresholds", file)
        assert status == 2 and message in err
    assert said("compare", before, after, "--thresholds", tmp_path / "none")[0] == 2


def test_the_thresholds_of_the_readme_are_the_defaults(tmp_path):
    from switchyard.cli.sides import read_thresholds
    from switchyard.compare.thresholds import Thresholds

    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "t.toml").write_text(block)
    assert read_thresholds(str(tmp_path / "t.toml")) == Thresholds()
    assert block.count(" = ") == len(dataclasses.fields(Thresholds))


# which tables


def test_a_sets_name_is_its_newest_whole_run_of_the_others_tier(said, tmp_path):
    old = a_run(tmp_path, {A: BAD}, hours=0, set_name="torch2.0-tf2.13")
    a_run(tmp_path, {A: GOOD}, hours=1, set_name="torch2.0-tf2.13", whole=False)
    full = a_run(tmp_path, {A: GOOD}, hours=2, set_name="torch2.0-tf2.13", tier="full")
    new = a_run(tmp_path, {A: GOOD}, hours=3)
    sets = ("torch2.0-tf2.13", "torch2.13-tf2.21", "--results", tmp_path)
    status, out, _ = said("compare", *sets)
    assert status == 0 and f"before  {old} (the newest whole run of torch2.0-tf2.13)" in out
    assert f"after   {new}" in out and "1 cell: 1 fixed" in out
    # beside a folder of the full tier the name means the full run
    _, out, _ = said("compare", "torch2.0-tf2.13", full, "--results", tmp_path)
    assert "1 cell: 1 same" in out
    status, _, err = said("compare", "torch2.1", new, "--results", tmp_path)
    assert status == 2 and "no whole run of torch2.1" in err and "torch2.0-tf2.13" in err
    status, _, err = said("compare", "torch2.0-tf2.13", "torch2.0-tf2.13", "--results", tmp_path)
    assert status == 2 and "twice is one run" in err


def test_a_run_is_found_by_its_name_alone_where_results_lie(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD})
    after = a_run(tmp_path / "runs", {A: BAD}, hours=1)
    status, out, _ = said("compare", before.name, after.name, "--results", tmp_path)
    assert status == 1 and f"before  {before}" in out and f"after   {after}" in out


def test_one_run_by_its_folder_and_by_its_sets_name_is_one_table(said, tmp_path):
    run = a_run(tmp_path, {A: GOOD})
    _, out, _ = said("compare", run, "torch2.13-tf2.21", "--results", tmp_path)
    assert "one and the same table" in out
    other = a_run(tmp_path, {A: GOOD}, hours=1)
    _, out, _ = said("compare", run, other, "--results", tmp_path)
    assert "one and the same table" not in out


def test_a_runs_name_and_a_sets_name_go_by_the_runs_tier(said, tmp_path):
    run = a_run(tmp_path, {A: GOOD}, set_name="torch2.0-tf2.13", tier="smoke")
    a_run(tmp_path, {A: GOOD}, tier="smoke", hours=1)
    a_run(tmp_path, {A: BAD}, tier="quick", hours=2)
    for word in (run, run.name):
        status, out, _ = said("compare", word, "torch2.13-tf2.21", "--results", tmp_path)
        assert status == 0 and "1 cell: 1 same" in out


def test_a_cells_csv_brings_its_run_json_and_a_lone_one_does_not(said, tmp_path):
    before = a_run(tmp_path, {A: GOOD})
    after = a_run(tmp_path, {A: GOOD}, hours=1)
    assert "no run.json" not in said("compare", before / "cells.csv", after)[1]
    alone = tmp_path / "alone.csv"
    alone.write_bytes((after / "cells.csv").read_bytes())
    status, out, _ = said("compare", before, alone)
    assert status == 0 and out.count("no run.json beside it") == 1
    assert "Packages: not recorded on both sides" in out


def test_two_tiers_are_said_to_differ(said, tmp_path):
    quick = a_run(tmp_path, {A: GOOD})
    full = a_run(tmp_path, {A: GOOD, B: GOOD}, hours=1, tier="full")
    status, out, _ = said("compare", full, quick)
    assert status == 0 and "1 cell: 1 same" in out
    assert "Tiers differ (full → quick): only cells of both are compared." in out
    assert "1 cell left out: after is quick, and no table says which only the full tier" in out


def _damage(kind: str, folder: Path) -> Path:
    table = folder / "cells.csv"
    content = table.read_bytes()
    if kind == "cut":
        table.write_bytes(content[:-7])
    elif kind == "newer":
        now = f"\n{schema.SCHEMA_VERSION},".encode()
        table.write_bytes(content.replace(now, b"\n99,"))
    elif kind == "foreign":
        table.write_bytes(b"name,median\nx,1\n")
    elif kind == "doubled":
        (folder / "run.json").unlink()
        table.write_bytes(content + content.splitlines(keepends=True)[1])
        return table
    elif kind == "missing":
        return folder / "nothing.csv"
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "middle of a line"),
        ("newer", "update Switchyard"),
        ("foreign", "not a table of Switchyard's cells"),
        ("doubled", "rows too many"),
        ("missing", "does not exist"),
    ],
)
def test_a_table_that_cannot_be_trusted_is_refused_on_either_side(said, tmp_path, kind, message):
    good = a_run(tmp_path, {A: GOOD})
    bad = _damage(kind, a_run(tmp_path, {A: GOOD}, hours=1))
    for pair in ((good, bad), (bad, good)):
        status, out, err = said("compare", *pair)
        assert (status, out) == (2, "") and message in err and err.startswith("switchyard: ")
    assert said("report", bad)[0] == 2


def test_wrong_arguments_end_with_two_as_well(capsys):
    for arguments in (["compare"], ["compare", "a", "b", "--nonsense"], ["nonsense"], []):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2

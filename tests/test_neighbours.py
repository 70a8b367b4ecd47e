"""``switchyard neighbours``: several tables, each against the next, on one page."""

from __future__ import annotations

from compared_runs import BAD, GOOD, A, B, a_run, said  # noqa: F401

OLD, MIDDLE, NEW = "torch2.5-tf2.18", "torch2.9-tf2.20", "torch2.13-tf2.21"
UNAVAILABLE = {"verdict": "unavailable", "stage": "import", "kind": "missing-dependency",
               "message": "no tool", "signature": "no tool"}  # fmt: skip


def three(tmp_path):
    return [
        a_run(tmp_path, {A: GOOD, B: UNAVAILABLE}, set_name=OLD),
        a_run(tmp_path, {A: BAD, B: GOOD}, set_name=MIDDLE, hours=1),
        a_run(tmp_path, {A: GOOD, B: GOOD}, set_name=NEW, hours=2),
    ]


def test_each_step_has_what_it_broke_and_mended(said, tmp_path):  # noqa: F811
    status, page, _ = said("neighbours", *three(tmp_path))
    assert status == 0
    first, second = page.split(f"## {MIDDLE} → {NEW}")
    assert f"## {OLD} → {MIDDLE}" in first
    assert "### broke: 1 cell" in first and "`boom at 3`" in first
    assert "### broke" not in second and "### fixed: 1 cell" in second


def test_rates_and_verdicts_of_all_sets_stand_first_side_by_side(said, tmp_path):  # noqa: F811
    _, page, _ = said("neighbours", *three(tmp_path))
    assert "| dynamo-ort | 1/1 (100.0%) | 1/2 (50.0%) | 2/2 (100.0%) |" in page
    assert "| broke | passing before, and not now | 1 | 0 |" in page


def test_the_names_of_sets_mean_their_newest_whole_runs_and_the_page_is_a_file(
    said, tmp_path  # noqa: F811
):
    three(tmp_path)
    page = tmp_path / "page.md"
    status, out, _ = said("neighbours", OLD, NEW, "--results", tmp_path, "--markdown", page)
    assert (status, out) == (0, "")
    assert f"## {OLD} → {NEW}" in page.read_text()


def test_every_name_means_a_run_of_one_tier(said, tmp_path):  # noqa: F811
    a_run(tmp_path, {A: GOOD}, set_name=OLD, tier="quick")
    a_run(tmp_path, {A: BAD}, set_name=OLD, tier="smoke", hours=1)
    a_run(tmp_path, {A: GOOD}, set_name=MIDDLE, tier="quick", hours=2)
    a_run(tmp_path, {A: BAD}, set_name=MIDDLE, tier="smoke", hours=3)
    a_run(tmp_path, {A: GOOD}, set_name=NEW, tier="smoke", hours=4)
    status, page, _ = said("neighbours", OLD, MIDDLE, NEW, "--results", tmp_path)
    assert status == 0 and page.count("smoke tier") == 3 and "quick tier" not in page
    _, page, _ = said("neighbours", OLD, MIDDLE, "--results", tmp_path)
    assert page.count("smoke tier") == 2  # the last one's newest run decides


def test_a_run_of_several_sets_is_a_table_of_each(said, tmp_path):  # noqa: F811
    run = a_run(tmp_path, {A: (GOOD, BAD)}, set_name=NEW, after_set=OLD)
    page = said("neighbours", run)[1]  # in the order in which the run was asked for them
    assert f"## {NEW} → {OLD}" in page and "### broke: 1 cell" in page
    cells = said("neighbours", run / "cells.csv")[1]
    assert cells == page


def test_runs_that_meet_in_a_set_keep_each_its_own_step(said, tmp_path):  # noqa: F811
    first = a_run(tmp_path, {A: (GOOD, BAD)}, set_name=OLD, after_set=MIDDLE)
    second = a_run(tmp_path, {A: (GOOD, GOOD)}, set_name=MIDDLE, after_set=NEW, hours=1)
    status, page, _ = said("neighbours", first, second)
    assert status == 0
    assert [line for line in page.splitlines() if line.startswith("## ") and "→" in line] == [
        f"## {OLD} → {MIDDLE}",
        f"## {MIDDLE} → {NEW}",
    ]
    # what broke in the first run was not fixed in the second: there it never failed
    assert "### broke: 1 cell" in page and "### fixed" not in page
    listed = [line.split(": ")[0] for line in page.splitlines() if line.startswith("- `torch")]
    assert listed == [f"- `{name}`" for name in (OLD, MIDDLE, MIDDLE, NEW)]
    assert "Of a set with two tables the first ends a step" in page
    assert "| dynamo-ort | 1/1 (100.0%) | 0/1 (0.0%) | 1/1 (100.0%) |" in page


def test_runs_that_do_not_meet_and_a_run_of_one_set_have_the_step_between(
    said, tmp_path  # noqa: F811
):
    alone = a_run(tmp_path, {A: GOOD}, set_name=OLD)
    both = a_run(tmp_path, {A: (BAD, GOOD)}, set_name=MIDDLE, after_set=NEW, hours=1)
    page = said("neighbours", alone, both)[1]
    assert f"## {OLD} → {MIDDLE}" in page and f"## {MIDDLE} → {NEW}" in page
    assert "Of a set with two tables" not in page
    again = a_run(tmp_path, {A: GOOD}, set_name=MIDDLE, hours=2)
    page = said("neighbours", again, both)[1]  # of one set, asked for: its own step
    assert f"## {MIDDLE} → {MIDDLE}" in page and "### broke: 1 cell" in page


def test_a_run_of_several_devices_has_no_one_rate(said, tmp_path):  # noqa: F811
    run = a_run(tmp_path, {A: GOOD}, set_name=NEW, devices=("cpu", "cuda:0"))
    status, _, err = said("neighbours", three(tmp_path)[0], run)
    assert status == 2 and "is of cpu and cuda:0, and each model would count once" in err


def test_one_table_has_no_neighbour(said, tmp_path):  # noqa: F811
    status, _, err = said("neighbours", three(tmp_path)[0])
    assert status == 2 and "two tables or more" in err


def test_tables_with_nothing_in_common_are_said_and_end_in_two(said, tmp_path):  # noqa: F811
    runs = [a_run(tmp_path, {A: GOOD}, set_name=OLD),
            a_run(tmp_path, {B: GOOD}, set_name=NEW, hours=1)]  # fmt: skip
    status, _, err = said("neighbours", *runs)
    assert status == 2 and "nothing to compare" in err

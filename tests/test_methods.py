"""The four methods as a table measured them: rates, seconds and errors of the right rows."""

from __future__ import annotations

import pytest
from compared_runs import GOOD, A, a_run, said  # noqa: F401

from switchyard.compare import bands
from switchyard.compare.as_markdown import by_set
from switchyard.compare.document.methods import markdown_lines, measured


def row(model, route, verdict, **more):
    return {"model": model, "route": route, "verdict": verdict, **more}


ROWS = [
    row("a", "manual-tf", "excellent", mse=1e-12, nmse=3e-12, convert_seconds=2.0),
    row("b", "manual-tf", "acceptable", mse=1e-4, nmse=None, convert_seconds=4.0),
    row("c", "manual-tf", "investigate", mse=7.0, convert_seconds=9.0),
    row("d", "manual-tf", "unavailable"),
    row("a", "torchax-tf", "refused"),
    row("a", "hybrid-tf", "excellent", mse=0.0),
]


def test_a_method_is_rated_over_what_was_attempted_and_timed_over_what_passed():
    found = measured(ROWS, "manual-tf")
    assert (found.passed, found.attempted) == (2, 3)
    assert found.seconds == (3.0, 4.0)
    assert found.worst_passing == 1e-4 and found.worst == 7.0


def test_a_route_that_never_answered_has_no_error():
    found = measured(ROWS, "torchax-tf")
    assert (found.passed, found.attempted) == (0, 1)
    assert found.seconds is found.worst_passing is found.worst is None


@pytest.mark.parametrize("precision, nmse, error", [
    ("float32", 1e-7, 5.0), ("float16", 1e-7, 1e-7), ("bfloat16", 1e-7, 1e-7),
    ("float16", None, 5.0),
])  # fmt: skip
def test_in_16_bits_the_error_is_the_nmse_alone_where_there_is_one(precision, nmse, error):
    one = row("a", "manual-tf", "excellent", mse=5.0, nmse=nmse, precision=precision)
    assert measured([one], "manual-tf").worst_passing == bands.deciding_error(one) == error


def test_the_error_that_decides_is_the_workers():
    from switchyard.worker import agreement

    assert bands.SIXTEEN_BITS == agreement.SIXTEEN_BITS
    for dtype in agreement.DTYPES:
        for mse, nmse in ((5.0, 1e-7), (1e-7, 5.0), (5.0, None), (None, 1e-7)):
            worked = agreement.deciding_error(agreement.Agreement(dtype=dtype, mse=mse, nmse=nmse))
            assert bands.deciding_error({"precision": dtype, "mse": mse, "nmse": nmse}) == worked
    assert bands.deciding_error({"precision": "float32"}) is None


def test_a_route_out_of_somebody_elses_table_ends_no_cell_of_the_page():
    rows = [*ROWS, row("a", "a|`b`|-tf", "excellent", mse=0.0)]
    (line,) = [line for line in markdown_lines(rows) if "b&#96;" in line]
    assert line.startswith("| other | | a&#124;&#96;b&#96;&#124;-tf | 1 of 1 |")
    assert line.count("|") == 9


def test_an_exact_answer_has_the_error_zero():
    assert measured([row("a", "manual-tf", "excellent", mse=0.0)], "manual-tf").worst == 0.0


@pytest.mark.parametrize("line", [
    "| Manual recreation | 100% | `manual-tf` | 2 of 3 | 67%, 21 to 94% | 3.0 (4) "
    "| 1.0e-04 | 7.0e+00 |",
    "| Weight transfer | 60% | `weight-transfer-tf` | not attempted | | | |  |",
    "| Hybrid deployment | 100% | `hybrid-tf` | 1 of 1 | 100%, 21 to 100% |  | 0.0e+00 | 0.0e+00 |",
    "| other | | `torchax-tf` | 0 of 1 | 0%, 0 to 79% |  |  |  |",
])  # fmt: skip
def test_every_method_and_every_other_road_to_tensorflow_has_a_line(line):
    assert line in markdown_lines(ROWS)


def test_a_mistake_on_purpose_is_no_road_to_tensorflow():
    mistake = row("a", "manual_default_eps-tf", "investigate", hops="manual_default_eps")
    assert not any("default_eps" in line for line in markdown_lines([*ROWS, mistake]))


def test_of_several_sets_each_has_its_own_table_in_which_a_model_counts_once():
    rows = [{**one, "version_set": name} for one in ROWS for name in ("old_set", "new")]
    lines = by_set(rows, markdown_lines)
    assert [line for line in lines if line.startswith("#")] == ["## old_set", "## new"]
    assert [line for line in lines if "`manual-tf`" in line] == [
        "| Manual recreation | 100% | `manual-tf` | 2 of 3 | 67%, 21 to 94% | 3.0 (4) "
        "| 1.0e-04 | 7.0e+00 |",
    ] * 2
    assert by_set(rows[::2], markdown_lines) == markdown_lines(ROWS)


@pytest.mark.parametrize("page", ["--methods", "--mistakes", "--preprocessing", "--silent"])
def test_a_report_on_a_table_of_two_sets_has_a_part_for_each(page, said, tmp_path):  # noqa: F811
    head, row, *_ = (a_run(tmp_path, {A: GOOD}) / "cells.csv").read_text().splitlines()
    name = row.split(",")[2]
    both = tmp_path / "both.csv"
    both.write_text("\n".join([head, row, row.replace(name, "other_set")]) + "\n")
    status, out, err = said("report", both, page, "-")
    assert status == 0, err
    headings = [line for line in out.splitlines() if line.startswith("## ")]
    assert headings == [f"## {name}", "## other_set"]

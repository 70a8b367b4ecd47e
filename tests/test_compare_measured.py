"""Cells that pass on both sides and can no longer be measured, or run in part on the CPU."""

from __future__ import annotations

import json

import pytest
from compared_runs import GOOD, NATIVE, A, B, a_run, said  # noqa: F401
from made_tables import row, table, timed

from switchyard.compare.comparison import compare
from switchyard.compare.saying import figures

TIMED = {"latency_median_ms": 1.0, "launches": 1}
LOST = {"measure_kind": "device-oom", "measure_message": "no 512 MiB left"}


def verdict(before: dict, after: dict) -> str:
    (found,) = compare(table([row(**before)]), table([row(**after)])).counts
    return found


@pytest.mark.parametrize(
    ("before", "after", "there", "back"),
    [
        (TIMED, LOST, "broke", "fixed"),
        (TIMED, {**TIMED, "measure_kind": "noisy"}, "same", "same"),
        (TIMED, {}, "same", "same"),  # nobody asked to measure it
        ({}, LOST, "same", "same"),
        (LOST, LOST, "same", "same"),
        # the first series was taken, and the card was lost behind it
        ({**TIMED, "latency_from_host_median_ms": 2.0}, {**TIMED, **LOST}, "broke", "fixed"),
        (TIMED, {**TIMED, **LOST}, "broke", "fixed"),
        ({**TIMED, **LOST}, {**TIMED, **LOST}, "same", "same"),
        ({**TIMED, "running_mean_error_1": 0.1}, {**TIMED, **LOST}, "broke", "fixed"),
        # what is worse beside it
        ({**TIMED, "mse": 1e-9}, {**LOST, "mse": 1e-7}, "broke", "fixed"),
        ({**TIMED, "mse": 1e-7}, {**LOST, "mse": 1e-9}, "broke", "less-accurate"),
    ],
)
def test_what_passes_and_can_no_longer_be_measured_is_broken(before, after, there, back):
    assert verdict(before, after) == there
    assert verdict(after, before) == back


def test_it_is_said_with_the_error_and_as_one_cause(said, tmp_path):  # noqa: F811
    good, lost = {**GOOD, **TIMED}, {**GOOD, **LOST}
    before = a_run(tmp_path, {A: good, B: good})
    also = {**lost, "measure_message": "no 768 MiB left"}
    after = a_run(tmp_path, {A: lost, B: also}, hours=1)
    status, out, _ = said("compare", before, after)
    assert status == 1
    assert (
        "broke: 2 cells passing before, and not now (2 pass as before, and measuring them "
        "failed)\n  2 cells, one error:\n  no 512 MiB left\n"
        "    dynamo-ort: excellent → excellent, measure device-oom\n      a, b\n"
    ) in out
    assert "Timing not comparable in 2 cells: after: not timed." in out
    assert "single launch" not in out
    page = said("compare", before, after, "--markdown", "-")[1]
    assert "- 2 cells: `no 512 MiB left`" in page
    cells = json.loads(said("compare", before, after, "--json", "-")[1])["cells"]
    assert {cell["after"]["measure_kind"] for cell in cells} == {"device-oom"}
    out = said("compare", after, before)[1]
    assert "fixed: 2 cells not passing before, and passing now (2 passed before as well" in out


def test_a_remark_of_a_cell_that_passes_does_not_hide_why_it_was_not_measured(said, tmp_path):  # noqa: F811
    remark = {"message": "no answer in float64 to tell its rounding by"}
    before = a_run(tmp_path, {A: {**GOOD, **TIMED, **remark}})
    after = a_run(tmp_path, {A: {**GOOD, **LOST, **remark}}, hours=1)
    out = said("compare", before, after)[1]
    assert "no 512 MiB left" in out
    assert "no answer in float64" not in out


def test_a_launch_that_failed_leaves_no_time_to_compare():
    steady = (1.0, 1.1, 0.9)
    cells = {("fft", NATIVE): steady, ("fft", A[1]): steady}
    before, after = timed(cells), timed({**cells, ("fft", A[1]): [9 * one for one in steady]})
    lost = (after.cells["route"] == A[1]).to_numpy()
    after.cells.loc[lost, ["latency_median_ms", "measure_kind"]] = [float("nan"), "timeout"]
    cell = compare(before, after).cells.iloc[1]
    assert (cell["verdict"], cell["timing"], cell["timing_why"]) == (
        "broke", "not-comparable", "after: not timed",
    )  # fmt: skip


SINGLE = "a single launch a cell has no spread (--launches 5 in both runs gives one)"
NONE = "no launch of any cell"


@pytest.mark.parametrize(
    ("launches", "whys"),
    [
        ((1, 1), (SINGLE, SINGLE)),
        ((5, 1), ("several launches, and the other side has a single one", SINGLE)),
        ((5, None), ("several launches, and the other side has none", NONE)),
        ((None, None), (NONE, NONE)),
    ],
)
def test_why_launches_are_not_read_is_true_of_both_sides(launches, whys):
    from switchyard.cli.sides import single

    one, other = (table([row(launches=count)] if count else []) for count in launches)
    assert (single(one, other).why_no_launches, single(other, one).why_no_launches) == whys


# where it ran

ON_CPU = {"placement_kind": "cpu-fallback", "placement_message": "on the CPU: Gather",
          "nodes_on_device": 9, "nodes_on_cpu": 1}  # fmt: skip
WHOLE = {"nodes_on_device": 10, "nodes_on_cpu": 0}
UNKNOWN = {"placement_message": "could not be determined: RuntimeError: no profile"}


@pytest.mark.parametrize(
    ("before", "after", "there", "back"),
    [
        (WHOLE, ON_CPU, "onto-cpu", "off-cpu"),
        ({}, ON_CPU, "onto-cpu", "off-cpu"),
        (ON_CPU, {**ON_CPU, "nodes_on_cpu": 2}, "same", "same"),
        (UNKNOWN, ON_CPU, "same", "same"),
        ({**WHOLE, "placement_message": "on the CPU, for sizes alone: Shape"}, ON_CPU,
         "onto-cpu", "off-cpu"),
        ({**WHOLE, "mse": 1e-9}, {**ON_CPU, "mse": 1e-6}, "less-accurate", "more-accurate"),
        ({**WHOLE, "mse": 1e-6}, {**ON_CPU, "mse": 1e-9}, "onto-cpu", "less-accurate"),
    ],
)  # fmt: skip
def test_a_part_that_went_onto_the_cpu_is_worse_and_the_reverse_better(before, after, there, back):
    sides = [{"device": "cuda", **side} for side in (before, after)]
    assert (verdict(*sides), verdict(*reversed(sides))) == (there, back)


def test_what_went_onto_the_cpu_is_named():
    both = [table([row(device="cuda", **side)]) for side in (WHOLE, ON_CPU)]
    there, back = compare(*both), compare(*reversed(both))
    assert figures(there.cells.iloc[0]) == "on the CPU: Gather" and there.status == 1
    assert figures(back.cells.iloc[0]) == "before on the CPU: Gather" and back.status == 0

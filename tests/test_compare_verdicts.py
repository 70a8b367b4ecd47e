"""One verdict a cell: each at least once, and what must not become one."""

from __future__ import annotations

import pytest
from made_tables import ABOUT, row, table

from switchyard.compare.comparison import compare
from switchyard.compare.saying import figures
from switchyard.compare.thresholds import Thresholds
from switchyard.compare.verdicts import BETTER, VERDICTS, WORSE
from switchyard.vocabulary import UnknownName


def failing(**more) -> dict:
    return row(verdict=more.pop("verdict", "failed"), **more)


def both(before: dict, after: dict, **more):
    """The one cell of two tables of one cell each."""
    comparison = compare(table([before]), table([after]), **more)
    assert len(comparison.cells) == 1
    return comparison.cells.iloc[0]


CASES = [
    # what stopped, and what no longer does
    (row(), failing(), "broke"),
    (row(verdict="acceptable"), row(verdict="investigate", stage="compare"), "broke"),
    (row(), row(verdict="unavailable", stage="import"), "broke"),
    (failing(), row(), "fixed"),
    (row(verdict="unavailable", stage="import"), row(verdict="acceptable"), "fixed"),
    (failing(), failing(), "same"),
    (failing(), failing(signature="other"), "changed-failure"),
    (failing(), failing(message="other words, one signature"), "same"),
    # as tables of before have it: cut where the paths in it, one machine's, let it be
    (failing(signature=160 * "s" + "/home"), failing(signature=160 * "s"), "same"),
    (failing(signature=159 * "s" + " and on"), failing(signature=159 * "s"), "same"),
    (failing(), failing(stage="load"), "changed-failure"),
    (failing(), failing(kind="timeout"), "changed-failure"),
    (failing(), failing(verdict="refused"), "changed-failure"),
    # what nothing can be said of
    (row(), row(verdict="void", stage="reference"), "gone"),
    (failing(), row(verdict="void", stage="reference"), "not-comparable"),
    (row(verdict="void", stage="reference"), failing(), "not-comparable"),
    (failing(), row(verdict="unavailable", stage="import"), "not-comparable"),
    (row(verdict="unavailable", stage="import"), failing(verdict="refused"), "not-comparable"),
    (row(verdict="unavailable"), row(verdict="unavailable", kind="timeout"), "same"),
    (row(), row(verdict="", state="planned"), "gone"),
    (row(), row(verdict="", state="running"), "gone"),
    (row(state="interrupted"), row(), "not-comparable"),
    (row(), row(verdict=""), "gone"),
    (row(verdict="", state="planned"), row(verdict="", state="planned"), "not-comparable"),
    (row(verdict="void", stage="reference"), row(verdict="", state="planned"), "not-comparable"),
    # accuracy: the band, or ten times the worse of mse and nmse
    (row(mse=1e-7), row(mse=2e-4, verdict="acceptable"), "less-accurate"),
    (row(mse=2e-4, verdict="acceptable"), row(mse=1e-7), "more-accurate"),
    (row(mse=1e-8), row(mse=1e-7), "less-accurate"),
    (row(mse=1e-8), row(mse=0.99e-7), "same"),
    (row(mse=1e-7), row(mse=1e-8), "more-accurate"),
    (row(mse=1e-7), row(mse=1.01e-8), "same"),
    (row(mse=1e-16), row(mse=0.9e-9), "same"),  # nine million times of nothing
    (row(mse=1e-16), row(mse=1.1e-9), "less-accurate"),
    (row(mse=0.0), row(mse=1e-8), "less-accurate"),
    (row(mse=1e-8), row(mse=0.0), "more-accurate"),
    (row(mse=0.0), row(mse=0.0), "same"),
    (row(mse=1e-12, nmse=1e-8), row(mse=1e-12, nmse=1e-6), "less-accurate"),
    (row(mse=1e-6, nmse=1e-12), row(mse=1e-6, nmse=1e-8), "same"),  # mse is the worse of both
    # in 16 bits nmse alone, since the mse of large values says nothing there
    *((row(precision=name, mse=1e-6, nmse=1e-8), row(precision=name, mse=1e-4, nmse=1e-8), "same")
      for name in ("float16", "bfloat16")),
    (row(precision="float16", mse=1e-4, nmse=1e-8), row(precision="float16", mse=1e-4, nmse=1e-6),
     "less-accurate"),
    (row(precision="float16", mse=1e-8), row(precision="float16", mse=1e-6), "less-accurate"),
    (row(mse=None), row(mse=1e-6), "same"),  # not measured is not zero
    (row(mse=1e-6), row(mse=None), "same"),
    # another size than its own
    (row(dynamic="ok"), row(dynamic="failed"), "less-accurate"),
    (row(dynamic="ok"), row(dynamic="specialised"), "less-accurate"),
    (row(dynamic="ok"), row(dynamic="wrong"), "less-accurate"),
    (row(dynamic="failed"), row(dynamic="wrong"), "less-accurate"),  # an error is heard of
    (row(dynamic="failed"), row(dynamic="specialised"), "same"),  # either takes one size
    (row(dynamic="specialised"), row(dynamic="ok"), "more-accurate"),
    (row(dynamic="ok"), row(dynamic="not-declared"), "same"),  # nobody asked
    (row(dynamic=""), row(dynamic="wrong"), "same"),
    (row(dynamic="ok", mse=1e-4, verdict="acceptable"), row(dynamic="wrong"), "less-accurate"),
    # memory: beyond the share and beyond the MiB
    (row(memory_model_data_mib=50.0), row(memory_model_data_mib=56.0), "more-memory"),
    (row(memory_model_data_mib=50.0), row(memory_model_data_mib=54.9), "same"),  # not by a tenth
    (row(memory_model_data_mib=10.0), row(memory_model_data_mib=13.9), "same"),  # not by 4 MiB
    (row(memory_model_data_mib=56.0), row(memory_model_data_mib=50.0), "less-memory"),
    (row(memory_peak_data_mib=100.0), row(memory_peak_data_mib=150.0), "more-memory"),
    (row(memory_peak_data_mib=None), row(memory_peak_data_mib=150.0), "same"),
    (row(gpu_peak_mib=100.0), row(gpu_peak_mib=150.0), "more-memory"),
    (row(gpu_process_mib=900.0), row(gpu_process_mib=500.0), "less-memory"),
    (
        row(memory_peak_data_mib=100.0, memory_model_data_mib=50.0),
        row(memory_peak_data_mib=150.0, memory_model_data_mib=20.0),
        "more-memory",
    ),
    (
        row(memory_peak_data_mib=381.0, memory_model_data_mib=88.0),
        row(memory_peak_data_mib=272.0, memory_model_data_mib=98.0),
        "less-memory",
    ),
    # without the pages of program files; where one does not tell them apart it is ambiguous
    (
        row(memory_peak_mib=54.0, memory_peak_data_mib=22.0),
        row(memory_peak_mib=62.0, memory_peak_data_mib=22.0),
        "same",
    ),
    (
        row(memory_model_mib=8.0, memory_model_data_mib=2.0),
        row(memory_model_mib=13.0, memory_model_data_mib=7.0),
        "more-memory",
    ),
    (
        row(memory_peak_mib=54.0),
        row(memory_peak_mib=62.0, memory_peak_data_mib=22.0),
        "same",
    ),
    (
        row(memory_peak_mib=62.0, memory_peak_data_mib=22.0),
        row(memory_peak_mib=54.0),
        "same",
    ),
    (row(memory_model_mib=50.0), row(memory_model_mib=90.0), "same"),
    (  # what is told apart is judged all the same
        row(memory_peak_mib=54.0, memory_model_mib=8.0, memory_model_data_mib=2.0),
        row(memory_peak_mib=54.0, memory_model_mib=18.0, memory_model_data_mib=12.0),
        "more-memory",
    ),
    (
        row(memory_peak_mib=54.0, gpu_peak_mib=100.0),
        row(memory_peak_mib=54.0, gpu_peak_mib=150.0),
        "more-memory",
    ),
]


@pytest.mark.parametrize(("before", "after", "verdict"), CASES)
def test_a_cell_gets_its_verdict(before, after, verdict):
    assert both(before, after)["verdict"] == verdict


def test_memory_that_counts_program_files_is_ambiguous_beyond_the_thresholds():
    cell = both(row(memory_peak_mib=54.0), row(memory_peak_mib=62.0, memory_peak_data_mib=22.0))
    assert cell["memory_ambiguous"] and cell["memory_with_program"]
    cell = both(row(memory_peak_mib=54.0), row(memory_peak_mib=55.0))
    assert not cell["memory_ambiguous"] and cell["memory_with_program"]
    known = {"memory_peak_mib": 62.0, "memory_peak_data_mib": 22.0}
    for pair in ((row(**known), row(**known)), (row(), row())):
        cell = both(*pair)
        assert not cell["memory_ambiguous"] and not cell["memory_with_program"]


def test_the_verdicts_are_the_closed_list():
    worse = {"broke", "changed-failure", "less-accurate", "onto-cpu", "slower", "more-memory",
             "gone"}  # fmt: skip
    better = {"fixed", "more-accurate", "off-cpu", "faster", "less-memory", "new"}
    assert (set(WORSE), set(BETTER)) == (worse, better)
    assert set(VERDICTS) == {*worse, *better, "same", "not-comparable"}


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (row(), row(verdict="", state="planned"), "not run after"),
        (row(verdict="", state="running"), row(), "interrupted before"),
        (row(), row(verdict=""), "nothing judged it after"),
        (row(), row(verdict="void"), "its reference was unusable after"),
        (
            row(verdict="", state="planned"),
            row(verdict="void"),
            "not run before, its reference was unusable after",
        ),
        (row(verdict="unavailable"), failing(), "unavailable before, and not passing after"),
        (failing(), row(verdict="unavailable"), "unavailable after, and not passing before"),
    ],
)
def test_what_is_not_comparable_says_why(before, after, reason):
    assert both(before, after)["reason"] == reason


def test_good_news_hides_no_bad_news_and_every_finding_is_kept():
    before = row(mse=1e-6, memory_model_data_mib=50.0)
    cell = both(before, row(mse=1e-9, memory_model_data_mib=80.0))
    assert cell["verdict"] == "more-memory"
    assert cell["more-accurate"] and cell["more-memory"] and not cell["less-memory"]
    cell = both(before, row(mse=1e-4, memory_model_data_mib=80.0, verdict="acceptable"))
    assert cell["verdict"] == "less-accurate" and cell["more-memory"]
    cell = both(before, row(mse=1e-9, memory_model_data_mib=20.0))
    assert cell["verdict"] == "more-accurate" and cell["less-memory"]


def test_another_size_that_was_lost_with_its_process_is_less_accurate():
    good = row(mse=1e-9, dynamic="ok")
    lost = row(mse=1e-9, dynamic="", dynamic_message="CUDA out of memory")
    cell = both(good, lost)
    assert cell["verdict"] == "less-accurate"
    assert figures(cell).endswith("another size ok → not known (CUDA out of memory)")
    assert both(lost, good)["verdict"] == "same"  # what was not known is no progress
    assert both(good, row(mse=1e-9, dynamic=""))["verdict"] == "same"  # nobody asked


def test_a_band_that_fell_by_itself_is_said_with_its_reason():
    fell = row(mse=1e-12, verdict="acceptable", message="no float64 answer to judge by")
    said = figures(both(row(mse=1e-12), fell))
    assert said == (
        "error 1e-12 → 1e-12 (excellent → acceptable): no float64 answer to judge by"
    )


def test_a_size_that_is_lost_is_said():
    cell = both(row(mse=1e-9, dynamic="ok"), row(mse=1e-9, dynamic="specialised"))
    assert figures(cell) == "error 1e-09 → 1e-09, another size ok → specialised"
    cell = both(row(mse=1e-9, dynamic="ok"),
                row(mse=1e-9, dynamic="failed", dynamic_message="ValueError: 3 is not 2"))  # fmt: skip
    assert figures(cell).endswith("another size ok → failed (ValueError: 3 is not 2)")
    assert "size" not in figures(both(row(mse=1e-9, dynamic="ok"), row(mse=1e-5, dynamic="ok")))


def test_a_failing_cell_has_no_findings():
    cell = both(row(memory_model_data_mib=10.0), failing(memory_model_data_mib=90.0, mse=1.0))
    assert cell["verdict"] == "broke" and not cell["more-memory"] and not cell["less-accurate"]


# pairing


def test_what_one_side_alone_planned_is_new_or_gone():
    comparison = compare(table([row("a"), row("b")]), table([row("b"), row("c")]))
    assert dict(zip(comparison.cells["model"], comparison.cells["verdict"], strict=True)) == {
        "a": "gone",
        "b": "same",
        "c": "new",
    }
    assert comparison.status == 1


def test_a_cell_is_told_by_device_and_precision_too():
    before = [row(), row(precision="float16"), row(device="cuda", verdict="failed")]
    after = [row(), row(precision="float16", verdict="failed"), row(device="cuda")]
    cells = compare(table(before), table(after)).cells
    assert list(cells["verdict"]) == ["same", "broke", "fixed"]


def test_one_set_each_is_paired_across_sets():
    comparison = compare(
        table([row(version_set="torch2.0-tf2.13")]), table([row(verdict="failed")])
    )
    assert comparison.by == ("device", "precision", "model", "route")
    assert comparison.counts == {"broke": 1}
    assert comparison.cells["before_version_set"][0] == "torch2.0-tf2.13"
    assert comparison.cells["version_set"][0] == "torch2.13-tf2.21"


def test_several_sets_are_paired_each_with_itself():
    sets = [row(version_set="one"), row(version_set="two")]
    after = [row(version_set="two", verdict="failed"), row(version_set="three")]
    comparison = compare(table(sets), table(after))
    assert comparison.by[0] == "version_set"
    found = dict(zip(comparison.cells["version_set"], comparison.cells["verdict"], strict=True))
    assert found == {"one": "gone", "two": "broke", "three": "new"}


def test_a_set_that_the_other_run_was_not_of_is_neither_gone_nor_new():
    both_sets = table([row(version_set="one"), row(version_set="two")],
                      {**ABOUT, "version_sets": ["one", "two"]})  # fmt: skip
    one_set = table([row(version_set="one")], {**ABOUT, "version_sets": ["one"]})
    comparison = compare(both_sets, one_set)
    assert comparison.counts == {"same": 1} and comparison.status == 0
    assert comparison.outside == {"of version sets that after is not of": 1}
    comparison = compare(one_set, both_sets)
    assert comparison.counts == {"same": 1}
    assert comparison.outside == {"of version sets that before is not of": 1}
    # asked of both, and one of them is missing whole
    lost = table([row(version_set="one")], {**ABOUT, "version_sets": ["one", "two"]})
    assert compare(both_sets, lost).counts == {"same": 1, "gone": 1}


def test_of_two_tiers_only_what_the_smaller_plans_can_be_missing():
    quick = table([row("a"), row("b")])
    full = table([row("a", tier="full"), row("c", tier="full")])
    up = compare(quick, full)
    assert up.counts == {"gone": 1, "same": 1}  # full plans all that quick does, so b is gone
    of_full = "and no table says which only the full tier plans"
    assert up.outside == {f"before is quick, {of_full}": 1}
    down = compare(full, quick)
    assert down.counts == {"new": 1, "same": 1}
    assert down.outside == {f"after is quick, {of_full}": 1}
    assert down.status == 0


def test_what_a_selection_left_out_is_not_gone():
    one_model = table([row("a")], {**ABOUT, "whole_selection": False})
    comparison = compare(table([row("a"), row("b")]), one_model)
    assert comparison.counts == {"same": 1} and comparison.status == 0
    assert comparison.outside == {"not selected in after": 1}


# exit status


@pytest.mark.parametrize(
    ("before", "after", "status"),
    [
        ([row()], [row()], 0),
        ([failing()], [row()], 0),
        ([row()], [row(), row("new_one")], 0),
        ([row()], [failing()], 1),
        ([row(), row("b")], [row()], 1),
        ([row()], [row("another")], 2),  # nothing in common: gone and new, but nothing compared
        ([row()], [], 2),
        ([], [], 2),
        ([row()], [row(verdict="", state="planned")], 2),  # an empty night is never green
    ],
)
def test_the_status_says_whether_anything_is_worse(before, after, status):
    assert compare(table(before), table(after)).status == status


def test_ignored_cells_are_counted_and_judged_nowhere():
    before = [row("a"), row("b"), row("c")]
    after = [row("a"), row("b", verdict="failed"), row("c")]
    patterns = ["b-*", "cpu:nothing", "*:cpu:float32:c-*"]
    comparison = compare(table(before), table(after), ignore=patterns)
    assert comparison.counts == {"same": 1} and comparison.status == 0
    assert comparison.ignored == {"b-*": 1, "cpu:nothing": 0, "*:cpu:float32:c-*": 1}
    assert comparison.routes["planned"].sum() == 1
    assert compare(table(before), table(after), ignore=["*"]).status == 2


# thresholds


def test_thresholds_move_the_verdicts():
    assert both(row(mse=1e-8), row(mse=3e-8), thresholds=Thresholds(accuracy_factor=2))[
        "verdict"
    ] == "less-accurate"  # fmt: skip
    pair = (row(memory_model_data_mib=10.0), row(memory_model_data_mib=12.0))
    assert both(*pair)["verdict"] == "same"
    assert both(*pair, thresholds=Thresholds(memory_mib=1))["verdict"] == "more-memory"


def test_an_unknown_threshold_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match="latency_ration.*did you mean latency_ratio"):
        Thresholds.from_mapping({"latency_ration": 2})
    for bad in ({"latency_ratio": 1.0}, {"latency_confidence": 95}, {"memory_mib": "4"},
                {"accuracy_factor": True}):  # fmt: skip
        with pytest.raises(ValueError, match="is a number between"):
            Thresholds.from_mapping(bad)


def with_packages(**packages) -> dict:
    environment = {"python": "3.11.7", "packages": packages}
    return {**ABOUT, "sets": {"torch2.13-tf2.21": {"environments": {"core": environment}}}}


def test_packages_that_differ_are_named():
    before = table([row()], with_packages(torch="2.13.0+cpu", onnx="1.0", rich="1"))
    after = table([row()], with_packages(torch="2.13.0", onnx="1.0", extra="2"))
    found = compare(before, after).packages
    assert [(c.package, c.before, c.after) for c in found] == [
        ("extra", "", "2"),
        ("rich", "1", ""),
        ("torch", "2.13.0+cpu", "2.13.0"),
    ]
    assert compare(before, table([row()], None)).packages is None  # unknown is not "none"


def test_what_stopped_at_preprocessing_counts_for_no_route():
    stopped = row(stage="preprocess", verdict="failed")
    comparison = compare(table([stopped]), table([stopped]))
    (route,) = comparison.routes.to_dict("records")
    assert (route["planned"], route["before_attempted"], route["after_attempted"]) == (1, 0, 0)

"""Two version sets of one run, whose launches took turns: times are compared as they are."""

from __future__ import annotations

import datetime

import pytest
from compared_runs import GOOD, NATIVE, A, a_run, said  # noqa: F401
from made_tables import ABOUT, MACHINE, timed
from run_folders import STARTED, new_run

from switchyard.compare.comparison import compare
from switchyard.compare.saying import figures
from switchyard.compare.sentences import timing
from switchyard.compare.timing import RATIO, TIME
from switchyard.vocabulary import Cell

STEADY = (1.0, 1.02, 0.98, 1.01, 0.99)
TOGETHER = {**ABOUT, "started": "2026-11-27T00:00:00+00:00", "sets_in_turn": True}


def one_run(native: float, own: float, about=TOGETHER, other=TOGETHER):
    """The two sets' tables, torch eager and a route that take so many times as long after."""
    before = {("fft", NATIVE): STEADY, ("fft", "dynamo-ort"): STEADY}
    after = {("fft", NATIVE): [native * s for s in STEADY],
             ("fft", "dynamo-ort"): [own * s for s in STEADY]}  # fmt: skip
    return compare(
        timed(before, about, version_set="old"), timed(after, other, version_set="new")
    )


def statuses(comparison) -> dict[str, str]:
    return dict(zip(comparison.cells["route"], comparison.cells["timing"]))


def test_torch_eager_that_became_slower_is_slower_and_its_routes_are_not_faster():
    comparison = one_run(native=3, own=1)
    assert statuses(comparison) == {NATIVE: "slower", "dynamo-ort": "as-before"}
    assert set(comparison.cells["change_of"]) == {TIME}
    cell = comparison.cells.iloc[0]
    assert cell["change"] == pytest.approx(3)
    assert figures(cell).startswith("3 times the time (")


def test_a_pool_of_threads_that_is_no_longer_used_is_said():
    before = timed({("fft", NATIVE): STEADY}, TOGETHER, version_set="old", cores_busy=1.9)
    slow = {("fft", NATIVE): [3 * s for s in STEADY]}
    for busy, words in ((1.0, ", cores busy 1.9 → 1"), (1.7, ""), (None, "")):
        after = timed(slow, TOGETHER, version_set="new", cores_busy=busy)
        assert figures(compare(before, after).cells.iloc[0]).partition(")")[2] == words


def test_what_became_slower_with_torch_eager_is_slower_all_the_same():
    assert statuses(one_run(native=3, own=3)) == {NATIVE: "slower", "dynamo-ort": "slower"}


def test_a_state_of_the_machine_that_both_launches_of_a_round_share_falls_out():
    states = (1.0, 2.0, 2.0, 1.0, 2.0)
    cells = {("fft", NATIVE): STEADY, ("fft", "dynamo-ort"): STEADY}
    before = {key: [s * t for s, t in zip(states, own)] for key, own in cells.items()}
    after = {key: [1.5 * s for s in own] for key, own in before.items()}
    pair = [timed(before, TOGETHER, version_set="old"), timed(after, TOGETHER, version_set="new")]
    assert set(statuses(compare(*pair)).values()) == {"slower"}
    turned = {key: own[1:] + own[:1] for key, own in after.items()}  # no longer side by side
    cell = compare(pair[0], timed(turned, TOGETHER, version_set="new")).cells.iloc[0]
    assert (cell["timing"], cell["timing_why"]) == ("ambiguous", "the launches disagree")


def test_launches_that_one_side_lacks_leave_nothing_to_compare():
    cells = {("fft", NATIVE): STEADY, ("fft", "dynamo-ort"): STEADY}
    fewer = {**cells, ("fft", "dynamo-ort"): STEADY[:1]}
    sides = [timed(one, TOGETHER, version_set=name) for one, name in ((cells, "o"), (fewer, "n"))]
    comparison = compare(*sides)
    assert statuses(comparison) == {NATIVE: "as-before", "dynamo-ort": "not-comparable"}
    assert comparison.cells["timing_why"][1] == "fewer than two launches that both sets have"


def test_it_is_said_by_what_was_compared():
    together = timing(one_run(native=3, own=1))
    assert together == [
        "Timing: 2 cells each by its own time, over several launches that took turns in one run, "
        "95% intervals.",
        "torch eager itself took 3.00 times as long (geometric mean of 1 models).",
    ]
    apart = timing(one_run(native=3, own=1, about=ABOUT, other=ABOUT))
    assert apart[0].startswith("Timing: 1 cell by the ratio to torch eager")
    assert apart[1].endswith("that is divided out.")


@pytest.mark.parametrize(
    "pair",
    [
        {"other": {**TOGETHER, "started": "2026-11-28T00:00:00+00:00"}},
        dict.fromkeys(("about", "other"), {**TOGETHER, "sets_in_turn": False}),
        {"about": ABOUT, "other": ABOUT},
    ],
)
def test_two_runs_or_one_whose_sets_took_no_turns_are_compared_by_the_yardstick(pair):
    comparison = one_run(native=3, own=1, **pair)
    assert statuses(comparison) == {NATIVE: "not-comparable", "dynamo-ort": "faster"}
    assert set(comparison.cells["change_of"]) == {RATIO}


SETS = ("torch2.9-tf2.20", "torch2.13-tf2.21")


def in_turn(tmp_path, sets=SETS):
    """A run of these sets, in whose second one a route takes three times as long."""
    run = new_run(tmp_path, STARTED + datetime.timedelta(hours=1), version_sets=sets)
    keys = (("a", NATIVE), A)
    cells = [Cell(name, "cpu", "float32", *key) for key in keys for name in sets]
    run.plan({cell: {"family": "gaps", "tier": "quick"} for cell in cells})
    for cell in cells:
        factor = 3.0 if cell.version_set != sets[0] and cell.route == A[1] else 1.0
        run.update(cell, **GOOD, latency_median_ms=1e3 * factor, launches=5)
        for launch, seconds in enumerate(STEADY):
            run.samples(cell, launch, [factor * seconds] * 3)
        run.state(cell, "done")
    run.close(True, machine=MACHINE, whole_selection=True, sets_in_turn=True)
    return run.path


def test_the_names_of_two_sets_mean_the_one_run_that_has_both(tmp_path, said):  # noqa: F811
    in_turn(tmp_path)
    status, out, _ = said("compare", *SETS, "--results", tmp_path, "--json", "-")
    assert status == 1 and '"change_of": "time"' in out
    status, out, _ = said("compare", *SETS, "--results", tmp_path)
    assert status == 1 and "times the time" in out, out
    assert "Both are of one run." in out and "one and the same table" not in out


def test_of_two_newer_runs_the_one_in_which_both_took_turns_is_named(tmp_path, said):  # noqa: F811
    folder = in_turn(tmp_path)
    note = f"Note: these are two runs, and in {folder} both sets took turns"
    newer = a_run(tmp_path, {A: GOOD}, hours=2, set_name=SETS[0])
    assert note in said("compare", *SETS, "--results", tmp_path)[1].replace("\n  ", " ")
    assert note not in said("compare", newer, folder)[1].replace("\n  ", " ")  # as asked for
    page = said("neighbours", *SETS, "--results", tmp_path)[1]
    assert "took turns, launch by launch" in page


def test_a_run_that_was_gone_on_with_says_why_its_sets_took_no_turns():
    resumed = {**TOGETHER, "version_sets": ["old", "new"], "sets_in_turn": False}
    note = "the run was gone on with (--resume), so that its sets did not take turns"
    assert note not in one_run(1, 1, resumed, resumed).conditions
    resumed["resumed_by"] = ["pytest bench/ --resume"]
    assert note in one_run(1, 1, resumed, resumed).conditions


def test_a_run_alone_is_its_first_set_against_its_second(tmp_path, said):  # noqa: F811
    folder = in_turn(tmp_path)
    status, out, _ = said("compare", folder)
    assert status == 1 and "times the time" in out
    assert f"before  {folder} ({SETS[0]})" in out and f"after   {folder} ({SETS[1]})" in out


@pytest.mark.parametrize("sets, of", [(SETS[:1], SETS[0]), ((*SETS, "nightly"), "and nightly")])
def test_a_run_of_one_set_or_of_three_needs_its_counterpart_named(tmp_path, said, sets, of):  # noqa: F811
    status, _, err = said("compare", in_turn(tmp_path, sets))
    assert status == 2 and "where it is a run of two version sets" in err and of in err

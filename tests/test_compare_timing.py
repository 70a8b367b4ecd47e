"""Times of two runs: what is slower or faster, and what cannot be told."""

from __future__ import annotations

import pytest
from made_tables import ABOUT, MACHINE, row, table, timed

from switchyard.compare.comparison import compare
from switchyard.compare.thresholds import Thresholds

SLOW = (1.0, 1.1, 0.9, 1.05, 0.95)


def two_runs(factor: float = 3.0, launches: int = 5, about=ABOUT, other=ABOUT):
    native = ("fft", "torch-eager")
    before = {native: SLOW[:launches], ("fft", "dynamo-ort"): SLOW[:launches]}
    after = {**before, ("fft", "dynamo-ort"): [factor * s for s in SLOW[:launches]]}
    return timed(before, about), timed(after, other)


def timing_of(comparison):
    cells = comparison.cells
    return cells[cells["route"] == "dynamo-ort"].iloc[0]


def test_three_times_as_slow_is_slower_and_the_reverse_faster():
    before, after = two_runs()
    cell = timing_of(compare(before, after))
    assert cell["verdict"] == "slower" and cell["change"] == pytest.approx(3)
    assert 1 < cell["change_low"] < 3 < cell["change_high"]
    assert timing_of(compare(after, before))["verdict"] == "faster"


@pytest.mark.parametrize("route, said", [
    ("dynamo-ort", "after: the samples were disturbed (noisy)"),
    ("torch-eager", "after: the samples of torch-eager were disturbed (noisy)"),
])  # fmt: skip
def test_what_was_disturbed_each_time_it_was_taken_is_not_judged(route, said):
    before, after = two_runs()
    after.cells.loc[after.cells["route"] == route, "measure_kind"] = "noisy"
    cell = timing_of(compare(before, after))
    assert (cell["verdict"], cell["timing"], cell["timing_why"]) == ("same", "not-comparable", said)


def test_a_change_below_the_threshold_is_none_however_sure():
    cell = timing_of(compare(*two_runs(1.2)))
    assert (cell["verdict"], cell["timing"]) == ("same", "as-before")
    assert cell["change_low"] > 1  # sure, but small
    sharper = compare(*two_runs(1.2), Thresholds(latency_ratio=1.1))
    assert timing_of(sharper)["verdict"] == "slower"


def test_a_large_change_on_little_evidence_is_ambiguous():
    wide = (0.5, 2.0, 1.0)
    native, own = ("fft", "torch-eager"), ("fft", "dynamo-ort")
    before = timed({native: wide, own: wide})
    after = timed({native: wide, own: [2 * s for s in wide]})
    cell = timing_of(compare(before, after))
    assert (cell["verdict"], cell["timing"]) == ("same", "ambiguous")
    assert cell["timing_why"] == "the launches of both runs overlap"


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (two_runs(launches=1), "after: a single launch has no spread"),
        (two_runs(other={**ABOUT, "machine": {**MACHINE, "cpu": "another"}}),
         "other hardware: CPU some CPU against another"),
        (two_runs(other={**ABOUT, "machine": {**MACHINE, "cores_logical": 64}}),
         "other hardware: logical cores 2 against 64"),
        (two_runs(about=None), "the hardware of before is not recorded"),
    ],
)  # fmt: skip
def test_what_cannot_be_timed_says_why_and_is_not_worse(pair, why):
    comparison = compare(*pair)
    cell = timing_of(comparison)
    assert (cell["verdict"], cell["timing"], cell["timing_why"]) == ("same", "not-comparable", why)
    assert comparison.status == 0


def test_a_gpu_matters_only_for_what_ran_on_it():
    card = {**ABOUT, "gpus": {"cards": [{"name": "H100", "memory_mib": 81559}]}}
    assert timing_of(compare(*two_runs(other=card)))["verdict"] == "slower"
    before, after = (timed({("fft", "torch-eager"): SLOW, ("fft", "dynamo-ort"): own}, about,
                           device="cuda")
                     for about, own in ((ABOUT, SLOW), (card, [3 * s for s in SLOW])))  # fmt: skip
    assert "GPU none against H100 81559 MiB" in timing_of(compare(before, after))["timing_why"]


def test_the_card_that_a_run_was_on_counts_and_not_its_neighbours():
    large, small = ({"name": "H100", "memory_mib": 81559}, {"name": "A100", "memory_mib": 40960})

    def run_on(card, *cards, times=SLOW):
        about = {**ABOUT, "gpus": {"cards": list(cards)}, "card": card}
        own = {("fft", "torch-eager"): SLOW, ("fft", "dynamo-ort"): times}
        return timed(own, about, device="cuda")

    before, slow = run_on(large, large, small), [3 * s for s in SLOW]
    for after, verdict in (
        (run_on(small, large, small, times=slow), "same"),
        (run_on(large, large, times=slow), "slower"),
    ):
        assert timing_of(compare(before, after))["verdict"] == verdict


def test_memory_is_not_compared_between_machines_known_to_differ():
    pair = row(memory_model_data_mib=10.0), row(memory_model_data_mib=90.0)
    elsewhere = {**ABOUT, "machine": {**MACHINE, "cores_logical": 64}}
    assert compare(table([pair[0]]), table([pair[1]], elsewhere)).counts == {"same": 1}
    assert compare(table([pair[0]], None), table([pair[1]], None)).counts == {"more-memory": 1}


def test_torch_eager_itself_is_the_yardstick():
    native = ("fft", "torch-eager")
    before, after = timed({native: SLOW}), timed({native: [9 * s for s in SLOW]})
    comparison = compare(before, after)
    assert comparison.counts == {"same": 1}
    assert comparison.cells["timing_why"][0] == "torch-eager is the yardstick of the others"
    assert comparison.native == {"ratio": pytest.approx(9), "models": 1}


def test_a_native_that_was_launched_once_leaves_nothing_to_compare_with():
    native, own = ("fft", "torch-eager"), ("fft", "dynamo-ort")
    before = timed({native: SLOW[:1], own: SLOW})
    cell = timing_of(compare(before, two_runs()[1]))
    assert cell["timing_why"] == "before: a single launch of torch-eager has no spread"

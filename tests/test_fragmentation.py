"""The three numbers of fragmentation and the leak, on states made by hand."""

from __future__ import annotations

import pytest

from switchyard.runtimes.torch_cuda import figures
from switchyard.worker.fragmentation import external, free_blocks, internal, slack, slope

MIB = 2**20


def segment(*blocks, device=0, stream=0, pool=(0, 0), kind="large"):
    return {
        "device": device, "stream": stream, "segment_pool_id": pool, "segment_type": kind,
        "blocks": [{"size": size, "state": state} for size, state in blocks],
    }  # fmt: skip


def test_slack_is_what_was_reserved_and_not_handed_out():
    assert slack(6, 8) == 0.25
    assert slack(8, 8) == 0  # known, and nothing: not the same as not known


def test_internal_is_what_was_handed_out_and_never_asked_for():
    assert internal(3, 6) == 0.5


@pytest.mark.parametrize("part, whole", [(None, 8), (6, None), (0, 0), (None, None)])
def test_what_is_not_known_or_divides_by_nothing_is_none(part, whole):
    assert slack(part, whole) is None and internal(part, whole) is None


@pytest.mark.parametrize("free, found", [
    ({}, None),
    ({"a": []}, None),
    ({"a": [4]}, 0.0),
    ({"a": [1, 1, 2]}, 0.5),
    ({"a": [4], "b": [4]}, 0.0),           # each pool is in one piece: two pools are no fragments
    ({"a": [2, 2], "b": [4]}, 0.25),       # weighed by free bytes: half of a half
])  # fmt: skip
def test_external_is_what_lies_outside_each_pools_largest_block(free, found):
    assert external(free) == found


def test_only_inactive_blocks_are_free_and_pools_are_kept_apart():
    snapshot = [
        segment((4, "inactive"), (2, "active_allocated"), (1, "active_pending_free")),
        segment((3, "inactive"), (5, "active_awaiting_free")),
        segment((7, "inactive"), stream=1),
        segment((8, "inactive"), kind="small"),
        segment((9, "inactive"), pool=(0, 1)),
        segment((2, "active_allocated"), device=1),
    ]
    assert sorted(map(sorted, free_blocks(snapshot).values())) == [[3, 4], [7], [8], [9]]


def test_a_snapshot_of_an_older_torch_without_private_pools_is_read():
    old = {"device": 0, "stream": 0, "segment_type": "large",
           "blocks": [{"size": 4, "state": "inactive"}]}  # fmt: skip
    assert list(free_blocks([old]).values()) == [[4]]


def test_the_figures_of_torchs_allocator():
    found = figures(
        {
            "allocated_bytes.all.current": 6 * MIB, "allocated_bytes.all.peak": 7 * MIB,
            "reserved_bytes.all.current": 8 * MIB, "requested_bytes.all.current": 3 * MIB,
            "inactive_split_bytes.all.current": 2 * MIB, "num_alloc_retries": 1, "num_ooms": 0,
        },
        [segment((1.5 * MIB, "inactive"), (0.5 * MIB, "inactive"), (6 * MIB, "active_allocated"))],
    )  # fmt: skip
    assert (found["allocated_mib"], found["reserved_mib"], found["peak_mib"]) == (6, 8, 7)
    assert (found["slack"], found["internal_fragmentation"]) == (0.25, 0.5)
    assert (found["external_fragmentation"], found["free_blocks"]) == (0.25, 2)
    assert (found["alloc_retries"], found["ooms"]) == (1, 0)


def test_what_an_older_torch_does_not_say_is_none():
    found = figures({"allocated_bytes.all.current": MIB, "reserved_bytes.all.current": MIB}, [])
    assert found["requested_mib"] is found["internal_fragmentation"] is found["ooms"] is None
    assert found["external_fragmentation"] is None and found["slack"] == 0


def test_a_leak_is_the_slope_of_what_is_held():
    assert slope([10, 20, 30], [100, 200, 300]) == pytest.approx(10)
    assert slope([10, 20, 30], [64, 64, 64]) == 0
    assert slope([10, 20, 30, 40], [0, 10, 0, 10]) == pytest.approx(0.2)


@pytest.mark.parametrize("calls, held", [
    ([1, 2], [1, 2]), ([1, 2, 3], [1, None, 3]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [1, 2]),
])  # fmt: skip
def test_no_slope_from_too_little(calls, held):
    assert slope(calls, held) is None

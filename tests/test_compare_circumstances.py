"""What lies around two tables and may be why they differ."""

from __future__ import annotations

import pytest
from made_tables import ABOUT, MACHINE, row, table, timed

from switchyard.compare import as_text
from switchyard.compare.comparison import compare
from switchyard.compare.rendering import Terminal
from switchyard.compare.thresholds import Thresholds
from switchyard.tables import provenance


def test_a_run_that_another_went_on_beside_is_named_among_the_conditions():
    disturbed = table([row()], {**ABOUT, "other_runs": 1})
    assert compare(disturbed, table([row()])).conditions == [
        "another run went on beside before, which disturbs what is timed"
    ]
    assert compare(table([row()], {**ABOUT, "other_runs": 0}), table([row()])).conditions == []


NATIVE, OWN = ("fft", "torch-eager"), ("fft", "dynamo-ort")
SECONDS = (0.010, 0.0101, 0.0099, 0.0102, 0.0098)


def started(boot, **machine):
    return {**ABOUT, "machine": {**MACHINE, "boot": boot, **machine}}


def three_times_as_slow(before, after, **thresholds):
    slow = {NATIVE: SECONDS, OWN: [3 * second for second in SECONDS]}
    tables = timed({NATIVE: SECONDS, OWN: SECONDS}, before), timed(slow, after)
    return compare(*tables, Thresholds(**thresholds))


def judged(comparison):
    cell = comparison.cells[comparison.cells["route"] == "dynamo-ort"].iloc[0]
    return cell["verdict"], cell["timing"], cell["timing_why"]


def test_two_starts_of_a_virtual_machine_are_ambiguous_unless_it_is_asked_for():
    one, other = started("a", virtual=True), started("b", virtual=True)
    found = three_times_as_slow(one, other)
    assert judged(found) == ("same", "ambiguous", "two starts of a virtual machine")
    assert found.status == 0
    said = " ".join(" ".join(as_text._ambiguous(found, Terminal())).split())
    assert "1 cell beyond 1.25 times (1 slower, 0 faster) and the launches are sure" in said
    assert "too little evidence" not in said
    asked = three_times_as_slow(one, other, latency_across_starts=True)
    assert judged(asked) == ("slower", "slower", "") and asked.status == 1


@pytest.mark.parametrize("before, after", [
    (started("a", virtual=True), started("a", virtual=True)),
    (started("a", virtual=False), started("b", virtual=False)),
    (started("a"), started("b")),      # of before it was written down
    (ABOUT, started("b", virtual=True)),
])  # fmt: skip
def test_one_start_or_no_virtual_machine_is_judged(before, after):
    assert judged(three_times_as_slow(before, after))[0] == "slower"


def test_this_machine_says_whether_it_is_virtual():
    said = provenance.machine().get("virtual")
    flags = [line for line in open("/proc/cpuinfo") if line.startswith("flags")]
    assert said == ("hypervisor" in flags[0].split() if flags else None)


def test_a_switch_takes_no_number():
    with pytest.raises(ValueError, match="latency_across_starts is true or false, not 1"):
        Thresholds(latency_across_starts=1)

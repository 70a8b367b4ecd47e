"""What lies around two tables and may be why they differ."""

from __future__ import annotations

from made_tables import ABOUT, row, table

from switchyard.compare.comparison import compare


def test_a_run_that_another_went_on_beside_is_named_among_the_conditions():
    disturbed = table([row()], {**ABOUT, "other_runs": 1})
    assert compare(disturbed, table([row()])).conditions == [
        "another run went on beside before, which disturbs what is timed"
    ]
    assert compare(table([row()], {**ABOUT, "other_runs": 0}), table([row()])).conditions == []

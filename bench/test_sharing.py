"""Can torch and TensorFlow hold this model on one card, and what does sharing it cost?

Every arrangement is a row of ``sharing.csv``; one that runs out of memory is a finding there and no
failure. What fails is a framework that does not run alone.
"""

import pytest

pytestmark = pytest.mark.suite("sharing")


def test_sharing(cell):
    # one on a card capped at what suffices is a finding too: it may take a multiple of that
    rows = cell.shared()
    alone = [row for row in rows if row["arrangement"].startswith("alone") and not row["cap"]]
    assert alone
    for row in alone:
        assert row["turns_done"] == row["turns_asked"], f"{row['arrangement']}: {row['message']}"

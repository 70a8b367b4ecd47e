"""Can torch and TensorFlow hold this model on one card, and what does sharing it cost? Can torch
alone hold it on one that is too small, and what helps?

Every arrangement is a row of ``sharing.csv``; one that runs out of memory is a finding there and no
failure. What fails is a framework that does not run alone.
"""

import pytest

pytestmark = pytest.mark.suite("sharing")


def test_sharing(cell):
    cell.shares_the_card()

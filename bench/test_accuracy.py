"""Does what arrived answer as torch eager does, on every probe, twice?"""

import pytest

pytestmark = pytest.mark.suite("accuracy")


def test_accuracy(cell):
    cell.answers_as_torch_does()

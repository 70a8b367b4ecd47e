"""Do BatchNorm's running statistics move in the Keras twin as they do in torch?

How far they part is a figure of the table, judged there: momentum left at a default is no failure.
What fails is a difference that neither momentum nor Keras's biased variance explains, and a
training that ended in NaN (which the worker raises: its columns are empty).
"""

import pytest

pytestmark = pytest.mark.suite("training")


def test_training(cell):
    cell.trains_as_torch_does()

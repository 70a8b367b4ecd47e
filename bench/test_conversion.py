"""Does the model get through every converter of its route?"""

import pytest

pytestmark = pytest.mark.suite("conversion")


def test_conversion(cell):
    cell.converts()

"""What does one loaded model hold, apart from its runtime's imports?"""

import pytest

pytestmark = pytest.mark.suite("memory")


def test_memory(cell):
    cell.memory()

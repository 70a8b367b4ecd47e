"""What does one loaded model hold, apart from its runtime's imports?"""

import pytest

pytestmark = pytest.mark.suite("memory")


def test_memory(cell):
    held = cell.memory()
    assert held["memory_peak_mib"] >= held["memory_steady_mib"] > 0

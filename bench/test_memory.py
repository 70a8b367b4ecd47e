"""What does one loaded model hold, apart from its runtime's imports?"""

import pytest

pytestmark = pytest.mark.suite("memory")


def test_memory(cell):
    held = cell.memory()
    assert held["memory_steady_mib"] > 0
    if held["memory_peak_mib"] is not None:  # some sandboxes' kernels do not say
        assert held["memory_peak_mib"] >= held["memory_steady_mib"]

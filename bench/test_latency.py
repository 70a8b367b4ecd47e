"""How long does one inference take, in a fresh process with that runtime alone?"""

import pytest

pytestmark = pytest.mark.suite("latency")


def test_latency(cell, replay, benchmark):
    benchmark.pedantic(replay.next, rounds=replay.count, iterations=1)

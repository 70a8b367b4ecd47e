"""What the benchmark of simulated launches counts as a false alarm."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pandas
import pytest

from switchyard.compare import comparison

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.mark.parametrize("said, slower", [("faster", 0), ("slower", 9)])
def test_identical_code_that_is_called_faster_is_a_false_alarm_too(
    monkeypatch, capsys, said, slower
):
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.setattr(sys, "argv", ["slower_found.py", "--rounds", "1"])
    found = types.SimpleNamespace(
        counts={said: 1}, cells=pandas.DataFrame({"verdict": [said], "route": ["route1-ort"]})
    )
    monkeypatch.setattr(comparison, "compare", lambda before, after: found)
    import slower_found

    slower_found.main()
    out = capsys.readouterr().out
    assert "of 9 comparisons of identical code 9 say slower or faster" in out
    share = f"{100 * slower / 9:.3g}" if slower < 9 else "100.0"
    assert f"comparisons of identical code that say slower: {share} %" in out

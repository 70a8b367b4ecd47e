"""What memory is counted as a process tree's own, and the limit that is held against it."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import pytest

from switchyard.runner import private_memory
from switchyard.runner.private_memory import private_mib
from switchyard.runner.workers import Limits, kill_tree

SHARING = """
import os, signal
held = bytearray(b"x") * (200 << 20)
child = os.fork()
if child:
    print(child, flush=True)
signal.pause()
"""


def test_what_a_child_shares_with_its_server_is_told_from_its_own_by_the_exact_count_alone():
    server = subprocess.Popen(
        [sys.executable, "-c", SHARING], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        child = int(server.stdout.readline())
        assert private_mib(child, exact=False) > 200 > 50 > private_mib(child, exact=True)
        assert Limits(60, 200).overstepped(child, math.inf) is None
        assert Limits(60, 0.01).overstepped(child, math.inf)[0] == "host-oom"
        assert Limits(60, 200).overstepped(child, 0.0)[0] == "timeout"
    finally:
        kill_tree(server.pid)
        server.wait()
        server.stdout.close()


@pytest.fixture
def untold(tmp_path, monkeypatch):
    """``untold(pid, swapped)``: the kernel says of that process what is swapped out, in MiB, and
    has no smaps_rollup."""

    def untold(pid, swapped):
        (tmp_path / str(pid)).mkdir()
        text = f"Name:\tpython\nVmSwap:\t{swapped * 1024} kB\n"
        (tmp_path / str(pid) / "status").write_text(text)
        monkeypatch.setattr(private_memory, "PROC", str(tmp_path))

    return untold


def test_what_is_swapped_out_counts_and_what_has_no_exact_count_is_not_without_memory(untold):
    held = private_mib(os.getpid(), exact=False)
    untold(os.getpid(), 1000)
    for exact in (False, True):
        assert private_mib(os.getpid(), exact) == pytest.approx(held + 1000, abs=held / 2)
    assert Limits(60, 1000).overstepped(os.getpid(), math.inf)[0] == "host-oom"


def test_a_process_that_has_ended_holds_nothing(untold):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    untold(ended.pid, 1000)
    assert private_mib(ended.pid, exact=False) == private_mib(ended.pid, exact=True) == 0

"""CPU time of a process and of those beside it."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from switchyard.worker.processor_time import cpu_seconds

#: Under a name that /proc's fields must not be split by; computes, says how long, and waits.
COMPUTING = """
import ctypes, sys, time
ctypes.CDLL(None).prctl(15, b"a ) b", 0, 0, 0)  # PR_SET_NAME
while time.process_time() < 0.5:
    pass
print(time.process_time(), flush=True)
sys.stdin.read()
"""


def test_a_companions_time_counts_and_its_waiting_does_not():
    command = [sys.executable, "-c", COMPUTING]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as beside:
        said = float(beside.stdout.readline())
        before = time.process_time()
        found = cpu_seconds([beside.pid])
        after = time.process_time()
        beside.stdin.close()
    assert said - 0.02 + before <= found <= said + 0.05 + after


def test_a_process_that_is_gone_is_said_to_be():
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait()
    with pytest.raises(FileNotFoundError):
        cpu_seconds([gone.pid])

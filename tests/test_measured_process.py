"""A measured process at its limits: a real one, of the tests' own interpreter."""

from __future__ import annotations

import os

import pytest
from live_workers import FAKE, gone

from switchyard.runner.standby import Ended, MeasuredProcess
from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import Limits

MODULE = """
import argparse, os, signal
from switchyard import wire

parser = argparse.ArgumentParser()
parser.add_argument("--read", type=int)
parser.add_argument("--write", type=int)
asked = parser.parse_args()
while True:
    job = wire.receive(asked.read)
    if job["do"] == "hang":
        signal.pause()
    if job["do"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job["do"] == "leave":
        os._exit(3)
    if job["do"] == "eat":
        eaten = bytearray(os.urandom(1)) * (400 << 20)
        signal.pause()
    wire.send(asked.write, {"ok": True, "did": job["do"]})
"""


@pytest.fixture
def process(tmp_path, staged):
    """``process(limits)`` starts one."""
    (tmp_path / "answering.py").write_text(MODULE)
    variables = environment_variables(FAKE, staged.path, tmp_path / "cache")
    variables["PYTHONPATH"] += os.pathsep + str(tmp_path)
    started = []

    def start(seconds=120.0, memory_mib=4096.0):
        limits = Limits(seconds, memory_mib)
        started.append(
            MeasuredProcess(FAKE, variables, tmp_path / "log", limits, module="answering")
        )
        return started[-1]

    yield start
    for one in started:
        one.close()
        assert gone(one.pid)


def ended(process, **job):
    with pytest.raises(Ended) as raised:
        process.ask(**job)
    return raised.value.args


def test_frames_are_answered_one_by_one(process):
    one = process()
    assert [one.ask(do=what)["did"] for what in ("this", "that")] == ["this", "that"]


@pytest.mark.parametrize("do, status", [("die", -9), ("leave", 3)])
def test_one_that_ends_is_a_crash_that_says_how(process, do, status):
    assert ended(process(), do=do) == (
        "crash", f"the measured process ended with status {status}")  # fmt: skip


def test_one_that_hangs_is_a_timeout_and_its_late_answer_is_nobodys(process):
    one = process()
    one.ask(do="this")  # started by now, however busy the machine
    one._limits = Limits(0.5, 4096.0)
    one.begin()
    said = ("timeout", "no end after 0.5 s (--stage-timeout)")
    assert ended(one, do="hang") == said
    assert ended(one, do="this") == said and one.alive


def test_the_time_of_a_stage_counts_from_its_beginning(process):
    one = process()
    one.ask(do="this")
    one._deadline = 0.0  # what an earlier stage took
    assert ended(one, do="hang")[0] == "timeout"
    again = process()
    again._deadline = 0.0
    again.begin()
    assert again.ask(do="this")["ok"]


def test_one_that_holds_too_much_is_out_of_memory(process):
    kind, message = ended(process(memory_mib=200.0), do="eat")
    assert kind == "host-oom" and "where 200 are allowed (--memory-limit)" in message

"""A measured process at its limits: a real one, of the tests' own interpreter."""

from __future__ import annotations

import os
import time

import pytest
from live_workers import FAKE, gone, until

from switchyard.runner import standby, workers
from switchyard.runner.standby import Ended, MeasuredProcess
from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import Limits

MODULE = """
import argparse, os, signal, subprocess, sys
from switchyard import wire

parser = argparse.ArgumentParser()
parser.add_argument("--read", type=int)
parser.add_argument("--write", type=int)
asked = parser.parse_args()
while True:
    job = wire.receive(asked.read)
    print("asked to", job["do"])
    if job["do"] == "hang":
        signal.pause()
    if job["do"] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job["do"] == "fall":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job["do"] == "leave":
        os._exit(3)
    if job["do"] == "leave-behind":
        sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
        left = subprocess.Popen(sleeper, stdout=subprocess.DEVNULL)
        wire.send(asked.write, {"ok": True, "pid": left.pid})
        os._exit(3)
    if job["do"] == "eat":
        eaten = bytearray(os.urandom(1)) * (400 << 20)
        signal.pause()
    if job["do"] == "fail":
        outcome = {"kind": "device-oom", "message": "no room", "detail": "the traceback"}
        wire.send(asked.write, {"ok": False, "outcome": outcome})
        continue
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

    start.started = started
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


def test_one_that_is_closed_can_be_closed_once_more(process):
    one = process()
    one.close()
    one.close()
    assert not one.alive


def test_an_answer_that_is_an_error_ends_only_what_demanded_another(process):
    one = process()
    reply = one.ask(do="fail")
    assert not reply["ok"] and one.demand(do="this")["did"] == "this"
    with pytest.raises(Ended) as raised:
        one.demand(do="fail")
    assert raised.value.args == ("device-oom", "no room") and one.alive
    assert raised.value.detail == reply["outcome"]["detail"] == f"its log: {one.log}\nthe traceback"


@pytest.mark.parametrize("do", ["die", "leave", "hang", "eat"])
def test_whatever_ended_it_leads_to_its_log_and_says_what_it_was_doing(process, do):
    one = process(memory_mib=200.0)
    one.ask(do="this")
    one._limits = Limits(0.5 if do == "hang" else 120.0, 200.0)
    one.begin()
    with pytest.raises(Ended) as raised:
        one.ask(do=do)
    assert raised.value.detail == f"its log: {one.log}\nasked to this\nasked to {do}"


def test_what_it_shares_with_its_own_children_is_not_counted_as_its_own(process, monkeypatch):
    monkeypatch.setattr(workers, "private_mib", lambda pid, exact: 50.0 if exact else 5000.0)
    one = process()
    one.ask(do="this")
    one._limits = Limits(0.5, 200.0)
    one.begin()
    assert ended(one, do="hang")[0] == "timeout"


@pytest.mark.parametrize("do, said", [
    ("die", ("host-oom", "killed from outside, most likely by the kernel for memory")),
    ("fall", ("crash", "the process was ended by SIGSEGV")),
    ("leave", ("no-result", "exit 3 with no result")),
])  # fmt: skip
def test_one_that_ends_says_how_as_any_process_of_a_stage_does(process, do, said):
    assert ended(process(), do=do) == said


def test_one_that_hangs_is_a_timeout_and_its_late_answer_is_nobodys(process):
    one = process()
    one.ask(do="this")  # started by now, however busy the machine
    one._limits = Limits(0.5, 4096.0)
    one.begin()
    said = ("timeout", "no end after 0.5 s (--stage-timeout)")
    assert ended(one, do="hang") == said
    assert ended(one, do="this") == said and one.alive


@pytest.mark.parametrize("between, most", [(None, 2), (60.0, 0)])
def test_what_is_awaited_is_looked_at_seldom_and_its_deadline_kept(
    process, monkeypatch, between, most
):
    """Every look takes from what is being timed."""
    looked = []
    monkeypatch.setattr(workers, "private_mib", lambda pid, exact: looked.append(pid) or 0.0)
    one = process()
    one.ask(do="this")
    looked.clear()
    if between:
        monkeypatch.setattr(standby, "LOOK_SECONDS", between)
    one._limits = Limits(1.5, 4096.0)
    one.begin()
    began = time.monotonic()
    assert ended(one, do="hang")[0] == "timeout"
    assert len(looked) <= most and 1.5 <= time.monotonic() - began < 30


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


@pytest.mark.parametrize("notice", [
    lambda one: until(lambda: not one.alive),
    lambda one: ended(one, do="this"),
])  # fmt: skip
def test_what_one_that_died_left_behind_ends_when_that_is_noticed_and_its_number_is_let_go(
    process, monkeypatch, notice
):
    one = process()
    left = one.ask(do="leave-behind")["pid"]
    notice(one)
    assert gone(left)
    killed = []  # from here on its number may be anybody's
    monkeypatch.setattr(standby, "kill_tree", killed.append)
    monkeypatch.setattr(standby, "kill_session", killed.append)
    process.started.remove(one)
    one.close()
    assert not one.alive and killed == []

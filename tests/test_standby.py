"""Measured processes that stand by: who is started when, and what a failure there means."""

from __future__ import annotations

import pytest

from switchyard.runner.launches import launch
from switchyard.runner.standby import Ended, Standby

TORCH, ORT, TF = ("set", "core", "torch-eager"), ("set", "core", "ort"), ("set", "core", "tf")


class Fake:
    """A measured process that answers what it is told to, and notes what it was asked."""

    def __init__(self, key, log, prepared=None):
        self.key, self.log, self.prepared, self.alive = key, log, prepared, True
        log.append(("start", key))

    def begin(self):
        pass

    def send(self, do, runtime):
        self.log.append((do, runtime))

    def answer(self):
        self.log.append(("wait", self.key))
        if isinstance(self.prepared, Exception):
            raise self.prepared
        return {"ok": True, "memory": {}, "facts": {}}

    def close(self):
        self.log.append(("close", self.key))


@pytest.fixture
def log():
    return []


def counted(log, what):
    return [key for did, key in log if did == what]


def test_imports_begin_together_and_have_all_ended_before_one_is_measured(log):
    standby = Standby(lambda key: Fake(key, log), width=3)
    ready = standby.take(TORCH, [ORT, TF, ORT])
    assert ready.process.key == TORCH and ready.ended is None
    assert log == [
        ("start", TORCH), ("start", ORT), ("start", TF),
        ("prepare", "torch-eager"), ("prepare", "ort"), ("prepare", "tf"),
        ("wait", TORCH), ("wait", ORT), ("wait", TF),
    ]  # fmt: skip


def test_what_stands_by_is_used_before_anything_is_started(log):
    standby = Standby(lambda key: Fake(key, log), width=2)
    standby.take(ORT, [ORT, ORT])
    assert counted(log, "start") == [ORT, ORT]
    standby.take(ORT, [ORT])
    assert counted(log, "start") == [ORT, ORT]
    standby.take(ORT)
    assert counted(log, "start") == [ORT, ORT, ORT]


def test_one_that_nobody_foresaw_is_started_although_the_room_is_full(log):
    standby = Standby(lambda key: Fake(key, log), width=2)
    standby.take(ORT, [TF])
    standby.take(TORCH, [TF, ORT])
    assert counted(log, "start") == [ORT, TF, TORCH]


def test_every_one_that_still_waits_is_ended_at_the_close(log):
    standby = Standby(lambda key: Fake(key, log), width=3)
    standby.take(ORT, [TF, TORCH])
    standby.close()
    assert counted(log, "close") == [TF, TORCH]


def test_one_that_was_ended_while_it_waited_is_passed_over(log):
    made = []

    def start(key):
        made.append(Fake(key, log))
        return made[-1]

    standby = Standby(start, width=2)
    standby.take(TF, [ORT])
    made[1].alive = False
    taken = standby.take(ORT)
    assert taken.process is made[2] and taken.ended is None
    assert counted(log, "close") == [ORT] and len(made) == 3


def test_what_was_started_beside_one_that_could_not_be_is_ended_and_given_to_no_cell(log):
    broken = [True]

    def start(key):
        if key == ORT and broken.pop():
            raise OSError("no space left on device")
        return Fake(key, log)

    standby = Standby(start, width=3)
    with pytest.raises(OSError, match="no space"):
        standby.take(TORCH, [ORT, TF])
    assert log == [("start", TORCH), ("close", TORCH)]
    broken.append(False)
    assert standby.take(TORCH, [ORT]).prepared["ok"] and standby.take(ORT).prepared["ok"]


def test_one_that_dies_while_it_imports_is_the_outcome_of_the_cell_that_takes_it(log):
    fates = {ORT: Ended("crash", "the process was ended by SIGSEGV")}
    standby = Standby(lambda key: Fake(key, log, fates.get(key)), width=3)
    good = standby.take(TF, [ORT, TORCH])
    assert good.ended is None
    found = launch(standby.take(ORT), {})
    assert (found.outcome.stage, found.outcome.kind) == ("measure", "crash")
    assert counted(log, "close") == [ORT]
    assert standby.take(TORCH).ended is None and counted(log, "start") == [TF, ORT, TORCH]

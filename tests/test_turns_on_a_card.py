"""Who asks on a card, and beside whom."""

from __future__ import annotations

import threading
import types

import pytest

from switchyard.runner.nvml import Sample
from switchyard.runner.turns import Turns, room


def card(memory_mib=81_559, used_mib=None, exclusive=False):
    sample = Sample(used_mib=used_mib)
    return types.SimpleNamespace(
        memory_mib=memory_mib, exclusive=exclusive, sample=lambda: sample
    )  # fmt: skip


@pytest.mark.parametrize("on, side_by_side", [
    (None, 12),
    (card(), 9),
    (card(4_096), 1),
    (card(exclusive=True), 1),
    (card(used_mib=40_000), 5),  # of another user's, who was there before
    (card(used_mib=81_000), 1),
])  # fmt: skip
def test_as_many_ask_at_once_as_the_card_has_room_for_as_the_run_begins(on, side_by_side):
    assert room(on, 12) == side_by_side


class Asks:
    """Asks that wait to be let go, and which of them are at it."""

    def __init__(self, turns):
        self.turns, self.at_it, self.changed = turns, [], threading.Condition()
        self.ends, self.threads = {}, []

    def begin(self, name, tunes=False):
        self.ends[name] = threading.Event()

        def ask():
            with self.turns.turn(tunes):
                self._change(lambda: self.at_it.append(name))
                self.ends[name].wait(60)
                self._change(lambda: self.at_it.remove(name))

        self.threads.append(threading.Thread(target=ask))
        self.threads[-1].start()

    def _change(self, do):
        with self.changed:
            do()
            self.changed.notify_all()

    def become(self, *names):
        """Those, and no others, within half a minute."""
        with self.changed:
            return self.changed.wait_for(lambda: sorted(self.at_it) == sorted(names), 30)


@pytest.fixture
def asks():
    made = []

    def on(card, jobs=4):
        made.append(Asks(Turns(card, jobs)))
        return made[-1]

    yield on
    for one in made:
        for end in one.ends.values():
            end.set()
        for thread in one.threads:
            thread.join(60)
            assert not thread.is_alive()


def test_who_tunes_waits_for_the_others_and_they_for_it(asks):
    found = asks(card())
    found.begin("eager")
    found.begin("another")
    assert found.become("eager", "another")
    found.begin("compile", tunes=True)
    found.ends["eager"].set()
    assert found.become("another")
    found.ends["another"].set()
    assert found.become("compile")
    found.begin("ort", tunes=True)
    found.begin("late")
    assert found.at_it == ["compile"]
    found.ends["compile"].set(), found.ends["ort"].set()
    assert found.become("late")


def test_who_waits_to_be_alone_takes_no_turn_of_those_it_waits_for(asks):
    found = asks(card(8_192))
    found.begin("eager")
    assert found.become("eager")
    found.begin("compile", tunes=True)
    found.begin("another")
    found.ends["eager"].set()
    assert found.become("compile")
    found.ends["compile"].set()
    assert found.become("another")


def test_on_the_cpu_nobody_is_alone(asks):
    found = asks(None)
    found.begin("compile", tunes=True)
    found.begin("ort", tunes=True)
    assert found.become("compile", "ort")

"""Warm-up: how long a process is called before its calls count."""

from __future__ import annotations

import itertools

import pytest

from switchyard.runner import warming
from switchyard.runner.warming import ON_CARD, ON_CPU, warm


class Process:
    """One whose calls take what ``seconds`` says in turn, and the last of it for ever, on a clock
    that nothing else moves."""

    def __init__(self, monkeypatch, *seconds):
        self.seconds = itertools.chain(seconds, itertools.repeat(seconds[-1]))
        self.now, self.bursts = 0.0, []
        monkeypatch.setattr(warming.time, "monotonic", lambda: self.now)

    def demand(self, do, n):
        assert do == "burst"
        self.bursts.append(n)
        taken = list(itertools.islice(self.seconds, n))
        self.now += sum(taken)
        return {"durations_s": taken}


def test_what_is_stable_at_once_is_called_until_that_can_be_believed(monkeypatch):
    process = Process(monkeypatch, 1e-3)
    warmth = warm(process, 1e-3, ON_CPU)
    assert process.bursts == [1, 2, 4]
    assert (warmth.typical, warmth.calls, warmth.settled) == (1e-3, 7, True)


def test_what_grows_faster_is_called_until_it_no_longer_does(monkeypatch):
    process = Process(monkeypatch, *[5e-3] * 3, *[3e-3] * 4, *[2e-3] * 8, 1.9e-3)
    warmth = warm(process, 9e-3, ON_CPU)
    assert process.bursts == [1, 2, 4, 8, 16]
    assert warmth.typical == 1.9e-3 and warmth.settled


@pytest.mark.parametrize("seconds, bursts", [
    ([2.0**n for n in range(-9, 9)], [1, 2, 4, 8]),  # 0.25 s are over
    ([1e-9 * 2 ** (n // 3) for n in range(60)], [1, 2, 4, 8, 16, 16, 16]),  # 50 calls are made
])
def test_what_never_is_stable_ends_with_its_budget_and_is_said(monkeypatch, seconds, bursts):
    process = Process(monkeypatch, *seconds)
    warmth = warm(process, 1.0, ON_CPU)
    assert process.bursts == bursts and not warmth.settled


def test_a_card_is_kept_busy_until_its_clock_had_time_to_rise(monkeypatch):
    process = Process(monkeypatch, 1e-4)
    warmth = warm(process, 1e-4, ON_CARD)
    assert warmth.settled and ON_CARD.least <= process.now <= ON_CARD.most
    # Bursts as long as that card's: of sixteen short calls it would idle while they are asked for.
    assert max(process.bursts) * 1e-4 > 0.5 * ON_CARD.burst_seconds
    assert max(process.bursts) * 1e-4 <= ON_CARD.burst_seconds


def test_a_card_that_never_is_stable_is_not_waited_for_for_ever(monkeypatch):
    process = Process(monkeypatch, *[1e-3 * 1.02**n for n in range(400)])
    assert not warm(process, 1.0, ON_CARD).settled
    assert process.now > ON_CARD.most

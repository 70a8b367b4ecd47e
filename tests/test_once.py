"""``Once``: several threads that ask for one key share one computation, and its error."""

from __future__ import annotations

import concurrent.futures
import threading

import pytest

from switchyard.runner.once import Once

WAIT_SECONDS = 30


def test_one_key_is_computed_once_for_all_that_ask():
    once, calls, together = Once(), [], threading.Barrier(4)

    def ask():
        together.wait(WAIT_SECONDS)
        return once("key", lambda: calls.append(1) or object())

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(ask) for _ in range(4)]
        got = {id(one.result(WAIT_SECONDS)) for one in asked}
    assert len(calls) == 1 and len(got) == 1


def test_another_key_is_another_computation():
    once = Once()
    assert [once(1, lambda: "a"), once(2, lambda: "b"), once(1, lambda: "c")] == ["a", "b", "a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_who_waits_gets_the_error_and_who_asks_later_computes_anew(monkeypatch, error):
    computing, waiting = threading.Event(), threading.Event()

    class Watched(concurrent.futures.Future):
        def result(self, timeout=None):
            waiting.set()
            return super().result(timeout)

    monkeypatch.setattr(concurrent.futures, "Future", Watched)
    once = Once()

    def fails():
        computing.set()
        assert waiting.wait(WAIT_SECONDS)
        raise error("no such thing")

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        first = pool.submit(once, "key", fails)
        assert computing.wait(WAIT_SECONDS)
        second = pool.submit(once, "key", lambda: "computed by who should have waited")
        for asked in (first, second):
            assert isinstance(asked.exception(WAIT_SECONDS), error)
    assert once("key", lambda: "anew") == "anew"

"""The end of a run that is told to end, by Ctrl-C or by a signal, once or several times.

CI's cancel is Ctrl-C and, seconds later, SIGTERM; ``timeout`` and a service's manager send SIGTERM,
sometimes to each process of a group. Whatever comes while the run's table is being closed must
leave neither workers behind nor a process that waits for them.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import Any, Callable, Generator

import pytest

from switchyard.runner.session import Run

#: Seconds in which an interruption has come from where it was raised to pytest.
UNWINDING_SECONDS = 90.0


class Ending:
    """A plugin of one session: SIGTERM ends it as Ctrl-C does, so that its table and its provenance
    are closed and it can be gone on with."""

    def __init__(
        self, config: pytest.Config, run: Run, close: Callable[[pytest.Session, int], None]
    ):
        """``close`` closes the run's table, once, given the session and its exit status."""
        self._run, self._close = run, close
        self._ending, self._told = False, -UNWINDING_SECONDS
        if threading.current_thread() is threading.main_thread():
            before = signal.signal(signal.SIGTERM, self._interrupt)
            config.add_cleanup(lambda: signal.signal(signal.SIGTERM, before))

    def _interrupt(self, number: int, frame: Any) -> None:
        # Told once more it goes on ending, which takes seconds. Where what was raised the first
        # time was lost, as in a destructor, it is raised again.
        now = time.monotonic()
        if not self._ending and now - self._told >= UNWINDING_SECONDS:
            self._told = now
            raise KeyboardInterrupt(signal.Signals(number).name)

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        self._ending = True

    @pytest.hookimpl(wrapper=True, tryfirst=True)  # around what any plugin does at the end
    def pytest_sessionfinish(
        self, session: pytest.Session, exitstatus: int
    ) -> Generator[None, None, None]:
        self._ending = True
        try:
            return (yield)
        except Exception:  # another plugin's, a benchmark that could not be saved: ours had no turn
            self._close(session, exitstatus)
            raise
        finally:  # a second Ctrl-C cuts the end short, whoever's turn it was
            self._run.leave()

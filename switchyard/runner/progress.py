"""What a person sees while a run goes on: what is under way, how many are left, how long.

On a terminal one status line that is rewritten; elsewhere a line now and then, so that a
log of a night stays readable. Written past pytest's capture, from any thread.
"""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import threading
import time
from typing import Callable, Dict, Optional

#: Seconds between two lines where there is no terminal to rewrite one.
QUIET_SECONDS = 30.0

#: Seconds between two looks of the status line.
TICK_SECONDS = 0.5


class Progress:
    def __init__(self, config):
        self._config = config
        self._lock = threading.RLock()
        self._working: Dict[int, tuple] = {}
        self._numbers = itertools.count()
        self._total = 0
        self._answered = 0
        self._finished = 0
        self._began = time.monotonic()
        self._last_line = 0.0
        self._shown = False
        self._stop = threading.Event()
        self._ticker: Optional[threading.Thread] = None

    @property
    def _reporter(self):
        return self._config.pluginmanager.get_plugin("terminalreporter")

    @property
    def _live(self) -> bool:
        reporter = self._reporter
        return reporter is not None and reporter.isatty and self._config.get_verbosity() < 1

    @contextlib.contextmanager
    def _uncaptured(self):
        capture = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else contextlib.nullcontext():
            yield

    def say(self, line: str) -> None:
        """One line for good: provisioning, a worker that starts."""
        reporter = self._reporter
        if reporter is None or self._config.get_verbosity() < 0:
            return
        with self._lock, self._uncaptured():
            self._clear()
            reporter.ensure_newline()
            reporter.write_line(line)
            reporter.flush()  # a log that is a file or a pipe shows it now, not 8 KB later

    def begin(self, total: int, folder: pathlib.Path) -> None:
        self._total, self._began = total, time.monotonic()
        self._last_line = time.monotonic()
        try:
            shown = folder.relative_to(pathlib.Path.cwd())
        except ValueError:
            shown = folder
        self.say(f"{total} cells to go; the table grows in {shown}")
        if self._reporter is not None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            self._ticker.start()

    def watch(self, text: str) -> Callable[[], None]:
        """Say that ``text`` is under way; call what is returned when it has ended."""
        number = next(self._numbers)
        with self._lock:
            self._working[number] = (text, time.monotonic())

        def done() -> None:
            with self._lock:
                self._working.pop(number, None)

        return done

    def answered(self) -> None:
        with self._lock:
            self._answered += 1

    def cell_done(self, line: str) -> None:
        """A cell is through with every suite: its line."""
        with self._lock:
            self._finished += 1
        if self._config.get_verbosity() == 0:
            self.say(f"[{self._finished:>{len(str(self._total))}}/{self._total}] {line}")

    def end(self) -> None:
        self._stop.set()
        if self._ticker is not None:
            self._ticker.join(timeout=2)
        with self._lock, self._uncaptured():
            self._clear()

    def _left(self) -> str:
        """Cells left and an estimate: converting and measuring count for a half each."""
        share = (self._answered + self._finished) / (2 * self._total) if self._total else 0
        spent = time.monotonic() - self._began
        left = f"{self._total - self._finished} cells left"
        if share > 0.02:
            left += f", about {_duration(spent * (1 - share) / share)}"
        return left

    def _status(self) -> str:
        now = time.monotonic()
        working = [f"{text} {now - began:.0f}s" for text, began in self._working.values()]
        return f"{self._left()} | " + " | ".join(working or ["..."])

    def _tick(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            with self._lock:
                if self._live:
                    with self._uncaptured():
                        self._clear()
                        tw = self._reporter._tw
                        tw.write(self._status()[: tw.fullwidth - 1], cyan=True)
                        tw.flush()
                        self._shown = True
                elif time.monotonic() - self._last_line > QUIET_SECONDS:
                    self._last_line = time.monotonic()
                    self.say("... " + self._status())

    def _clear(self) -> None:
        if self._shown:
            self._reporter._tw.write("\r" + " " * (self._reporter._tw.fullwidth - 1) + "\r")
            self._shown = False


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

"""What is shown while a run goes on: what is left, for how long, and what is under way."""

from __future__ import annotations

import types

import pytest

from switchyard.runner import progress
from switchyard.runner.progress import Progress


class Reporter:
    """A terminal reporter that keeps its lines."""

    def __init__(self, isatty=False):
        self.isatty, self.lines = isatty, []
        self._tw = types.SimpleNamespace(fullwidth=200, write=self.write, flush=lambda: None)

    def write(self, text, **markup):
        self.lines.append(text)

    write_line = write

    def ensure_newline(self):
        pass

    def flush(self):
        pass


@pytest.fixture
def shown():
    """A ``Progress`` on a reporter, whose clock stands where ``at`` puts it."""

    def made(reporter, verbosity=0):
        plugins = {"terminalreporter": reporter}
        return Progress(types.SimpleNamespace(
            pluginmanager=types.SimpleNamespace(get_plugin=plugins.get),
            get_verbosity=lambda: verbosity,
        ))  # fmt: skip

    return made


@pytest.fixture
def at(monkeypatch):
    """Sets the clock, in seconds."""
    clock = types.SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", types.SimpleNamespace(monotonic=lambda: clock.now))

    def at(seconds):
        clock.now = seconds

    return at


def begun(one, total, folder):
    one.begin(total, folder)
    one.end()  # no status line of the thread's own between those that a test asks for
    return one


def test_converting_and_measuring_count_for_a_half_each_in_what_is_left(shown, at, tmp_path):
    one = begun(shown(Reporter()), 4, tmp_path)
    at(30.0)
    assert one._left() == "4 cells left"
    one.answered(), one.answered()
    one.cell_done("a line")
    # Three of eight halves took 30 s, so that five take 50.
    assert one._left() == "3 cells left, about 50 s"


@pytest.mark.parametrize("seconds, says", [
    (59.9, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3660, "1 h 01 min"),
])  # fmt: skip
def test_a_duration_in_its_two_greatest_units(seconds, says):
    assert progress._duration(seconds) == says


def test_what_is_under_way_is_said_until_it_has_ended(shown, at, tmp_path):
    one = begun(shown(Reporter()), 2, tmp_path)
    done = one.watch("tiny_mlp-dynamo-ort  measure")
    at(7.0)
    one.watch("tiny_mlp-torch-eager  measure")
    assert one._status() == (
        "2 cells left | tiny_mlp-dynamo-ort  measure 7s | tiny_mlp-torch-eager  measure 0s"
    )
    done()
    assert one._status() == "2 cells left | tiny_mlp-torch-eager  measure 0s"


@pytest.mark.parametrize("verbosity, says", [(-1, 0), (0, 1), (1, 0)])
def test_a_cell_has_its_line_where_pytest_prints_neither_less_nor_each_item(
    shown, tmp_path, verbosity, says
):
    reporter = Reporter()
    one = begun(shown(reporter, verbosity), 12, tmp_path)
    one.cell_done("a line")
    assert [line for line in reporter.lines if line.endswith("a line")] == ["[ 1/12] a line"][:says]


def test_without_a_terminal_reporter_nothing_is_shown_and_nothing_fails(shown, tmp_path, capsys):
    one = begun(shown(None), 2, tmp_path)
    one.say("a line")
    one.cell_done("a line")
    assert capsys.readouterr() == ("", "")

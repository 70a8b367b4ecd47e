"""A cell as the suites see it: what can be asked of it, and what its answers mean for a test.

An outcome that is just as expected raises ``AsExpected``, which the item's xfail mark knows;
a different one fails with what was expected, what happened, and how to run it again.
"""

from __future__ import annotations

from typing import List, Mapping, Optional

import pytest

from switchyard.runner import again, options, sharing, training
from switchyard.runner.expectations import NEVER_EXPECTED, AsExpected, Expectation
from switchyard.runner.plan import Planned
from switchyard.vocabulary import (
    KINDS,
    PASSING,
    SUITE_OF_STAGE,
    Outcome,
    stage_base,
)

#: The suites in the order in which a cell goes through them.
SUITES = ("conversion", "accuracy", "latency", "memory", "training", "sharing")

#: Those that ask for a cell's launches.
TIMED = ("latency", "memory")

#: What is filled where every launch went well.
_OF_LAUNCHES = ("latency_median_ms",)

#: Of the environment, what says that the card was not used at all.
_NO_CARD = ("provider-fallback", "driver-too-old")

_NOT_MEASURED = "not measured before the run was interrupted"

#: Suites that have a question for some cells alone.
_ONLY_FOR = {"training": training.applies, "sharing": sharing.applies}


def asks(suite: str, planned: Planned) -> bool:
    """Whether a suite has a question for a cell."""
    applies = _ONLY_FOR.get(suite)
    return applies is None or applies(planned)


class CellUnderTest:
    """What the fixture ``cell`` is."""

    def __init__(self, run, planned: Planned):
        self._run = run
        self._planned = planned

    @property
    def name(self) -> str:
        return self._planned.cell.short

    @property
    def model(self) -> str:
        return self._planned.cell.model

    def converts(self) -> None:
        """The model can be built and referred to, and every hop of its route succeeds."""
        self._judge(self._outcome(), "conversion")

    def answers_as_torch_does(self) -> None:
        """The artefact loads, runs on every probe, and agrees with torch eager."""
        self._judge(self._outcome(), "accuracy")

    def durations(self) -> List[float]:
        """Every timed call of every launch, in seconds. Skips where there is nothing to time,
        fails where measuring failed."""
        self._only_after_accuracy()
        if self._resumed(*_OF_LAUNCHES):
            samples = self._run.recorded_samples(self._planned.cell)
            if not samples:
                pytest.skip(_NOT_MEASURED)
            return samples
        launches = self._run.measured(self._planned)
        self._measured_well(launches)
        return [duration for one in launches for duration in one.durations]

    def memory(self) -> dict:
        """The memory columns of the cell's row, MiB. Fails where they cannot be true."""
        self._only_after_accuracy()
        resumed = self._resumed(*_OF_LAUNCHES)
        if not resumed:
            self._measured_well(self._run.measured(self._planned))
        row = self._run.folder.row(self._planned.cell)
        if resumed and row["memory_steady_mib"] is None:
            pytest.skip(_NOT_MEASURED)
        held = {name: row[name] for name in row if name.startswith("memory_")}
        if untrue := _untrue(held):
            self._fail(f"was measured wrongly: {untrue}")
        return held

    def trains_as_torch_does(self) -> dict:
        """The columns of training of the cell's row. Fails where running statistics move otherwise
        than momentum and Keras's biased variance explain."""
        self._only_after_accuracy()
        if not self._resumed(*training.COLUMNS):
            failed = training.train(self._run, self._planned)
            if failed is not None:
                self._fail(f"could not be trained: {failed.kind}: {failed.message}", failed)
        row = self._run.folder.row(self._planned.cell)
        found = {name: row[name] for name in row if name.startswith("running_")}
        if None in found.values():
            pytest.skip(_NOT_MEASURED)
        unexplained = found["running_unexplained_100"]
        if not unexplained < training.UNEXPLAINED:
            self._fail(f"trains otherwise: {unexplained:.2g} after 100 steps is unexplained")
        return found

    def shares_the_card(self) -> None:
        """torch and TensorFlow each run with the card to themselves; how they share it is a row of
        ``sharing.csv`` an arrangement, whatever comes of it."""
        self._only_after_accuracy()
        stopped = sharing.judged(self._run, self._planned)
        if stopped is not None:
            self._fail(f"does not run alone: {stopped.message}", stopped)

    def _outcome(self) -> Outcome:
        return self._run.answer(self._planned)

    def _expectation(self) -> Optional[Expectation]:
        return self._run.expectations_of(self._planned.cell).of(self._planned.cell)

    def _only_after_accuracy(self) -> None:
        """A cell is measured only where its answers were good."""
        outcome = self._outcome()
        if outcome.verdict not in PASSING:
            pytest.skip(f"not measured: {_said(outcome)}")

    def _resumed(self, *columns: str) -> bool:
        """Whether the cell was done with before the run was interrupted. Fails where what fills
        ``columns`` had failed then: that it was done once makes it no better. A card may have
        broken down behind them, and there nothing but launches measures."""
        cell = self._planned.cell
        if cell not in self._run.resumed:
            return False
        row = self._run.folder.row(cell)
        failed = cell.device != "cpu" or any(row[name] is None for name in columns)
        if failed and row["measure_kind"] not in (None, "noisy"):
            said = f"{row['measure_kind']}: {row['measure_message']}"
            self._fail(f"could not be measured before the run was interrupted: {said}")
        return True

    def _measured_well(self, launches) -> None:
        failed = next((one.outcome for one in launches if one.outcome is not None), None)
        if failed is not None:
            self._fail(f"could not be measured: {failed.kind}: {failed.message}", failed)
        broken = (one.device.broke for one in launches if one.device is not None)
        if broke := next(filter(None, broken), None):
            self._fail(f"could not be measured to the end: {': '.join(broke)}")

    def _judge(self, outcome: Outcome, suite: str) -> None:
        """Pass, raise AsExpected, skip or fail: what ``suite`` has to say of ``outcome``."""
        wanted = self._expectation()
        known = self._run.expectations_of(self._planned.cell).exists
        owner = SUITE_OF_STAGE[stage_base(outcome.stage)]
        passed_here = outcome.verdict in PASSING or _beyond(outcome, suite)
        if not passed_here and owner != suite:
            pytest.skip(f"stopped before: {_said(outcome)}")
        if outcome.kind and KINDS[outcome.kind] == "harness":
            self._fail(_said(outcome), outcome)
        if not known:
            on_card = self._planned.cell.device != "cpu"
            if not passed_here and (on_card and _of_the_card(outcome) or _unmade(outcome)):
                never = outcome.kind in NEVER_EXPECTED or KINDS[outcome.kind] == "process"
                why = "no expectation can cover" if never else "fails also without expectations"
                self._fail(f"{_said(outcome)}, which {why}", outcome)
            if not passed_here:
                pytest.skip(f"recorded: {_said(outcome)} (this set has no expectations)")
            return
        if wanted is None or wanted.suite != suite:
            if not passed_here:
                self._fail(_said(outcome), outcome, wanted)
            return
        if wanted.met_by(outcome):
            raise AsExpected(f"{wanted}: {wanted.reason}")
        if passed_here and owner == suite:
            # An unexpected success: the item's strict xfail mark turns it into a failure.
            return
        if passed_here:
            self._fail(f"was expected to stop here and went on: {_said(outcome)}", None, wanted)
        self._fail(_said(outcome), outcome, wanted)

    def _fail(self, what: str, outcome: Optional[Outcome] = None, wanted=None) -> None:
        lines = [f"{self.name}: {what}"]
        if wanted is not None:
            lines.append(f"expected: {wanted} because {wanted.reason}")
        if outcome is not None and outcome.detail:
            lines.append(outcome.detail.strip())
        command = again.command(self._planned.cell, options.recorded(self._run.config))
        lines.append(f"again, alone: {command}")
        pytest.fail("\n".join(lines), pytrace=False)


def _beyond(outcome: Outcome, suite: str) -> bool:
    """Whether an outcome's stage lies behind what ``suite`` is answerable for."""
    owner = SUITE_OF_STAGE[stage_base(outcome.stage)]
    return SUITES.index(suite) < (SUITES.index(owner) if owner in SUITES else len(SUITES))


def _of_the_card(outcome: Outcome) -> bool:
    """Whether the card, its driver or the process on it is at fault, and not what was converted:
    a run in which that is merely recorded would be green with every cell dead."""
    if outcome.kind == "abi-mismatch":  # such as packages that have no kernels for this card
        return stage_base(outcome.stage) in ("load", "run")
    return KINDS.get(outcome.kind) == "process" or outcome.kind in _NO_CARD


def _unmade(outcome: Outcome) -> bool:
    """Whether an environment could not be made for a reason of this time and machine, or its
    worker did not start: as above."""
    if outcome.verdict != "unavailable" or outcome.stage not in ("resolve", "import"):
        return False
    return outcome.kind in NEVER_EXPECTED or KINDS.get(outcome.kind) == "process"


def _untrue(held: Mapping[str, Optional[float]]) -> str:
    """What in the memory of a process cannot be true, MiB, or empty."""
    steady, peak = held["memory_steady_mib"], held["memory_peak_mib"]
    if not steady > 0:
        return f"it held {steady:g} MiB"
    if peak is not None and peak < steady:  # some sandboxes' kernels do not say
        return f"it held {steady:g} MiB at the end, and {peak:g} at its peak"
    return ""


def _said(outcome: Outcome) -> str:
    text = f"{outcome.verdict or 'ok'} at {outcome.stage}"
    if outcome.kind:
        text += f" ({outcome.kind}{': ' + outcome.operator if outcome.operator else ''})"
    return f"{text}: {outcome.message}" if outcome.message else text

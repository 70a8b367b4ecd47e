"""What is measured of the cells of a run: launches, one alone at a time, and what they come to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Set, Tuple, Union

from switchyard.runner import resuming, rows
from switchyard.runner.device_rows import device_columns, unit_of
from switchyard.runner.launches import Launch, launch
from switchyard.runner.on_device import OnDevice, record
from switchyard.runner.plan import Planned
from switchyard.runner.standby import Key, MeasuredProcess, Standby
from switchyard.vocabulary import KINDS, Cell, Outcome

if TYPE_CHECKING:
    from switchyard.runner.session import Run

#: Processes that stand by at most, each with a framework in memory, on a machine of many cores.
MOST_WAITING = 16


class Measurements:
    """The launches of a run's cells, each made when it is first asked for."""

    def __init__(self, run: Run):
        self._run = run
        self._option = run.config.getoption
        self._launches: Dict[Cell, List[Launch]] = {}
        self._filled: Set[Cell] = set()
        self._started = 0
        self._standby = Standby(self._start, min(2 * self._option("--jobs"), MOST_WAITING))

    def of(self, planned: Planned) -> List[Launch]:
        """The launches of a cell that passed; its row's columns are filled."""
        if planned.cell not in self._filled:
            group = self._together(planned)
            self._launch_in_rounds(group)
            for one in group:
                if one.cell not in self._filled:  # as the baseline of one before it, say
                    self._fill_columns(one, self._launches[one.cell])
                    self._filled.add(one.cell)
        return self._launches[planned.cell]

    def _together(self, planned: Planned) -> List[Planned]:
        """The cell, and where cells are launched several times those that are ready behind it, with
        the baselines that they are divided by: a machine has states that last for minutes, and in
        one of them all launches of a cell would lie that are made one after the other."""
        if self._option("--launches") == 1:
            return [planned]
        run, selection = self._run, self._run.selection
        behind = (one for one in selection.ready_behind(planned) if one.cell in run.timed)
        group = {one.cell: one for one in (planned, *filter(self._to_launch, behind))}
        for native in map(selection.native_of, list(group.values())):
            if native.cell not in group and self._to_launch(native):
                group[native.cell] = native
        return selection.in_order(group.values())

    def _to_launch(self, planned: Planned) -> bool:
        """Whether it is to be launched, and was not yet."""
        if planned.cell in self._filled or self._run.measured_before(planned):
            return False
        return self._run.passed(planned)

    def _launch_in_rounds(self, group: Sequence[Planned]) -> None:
        """Each cell once, then each once more, the other way round, so that no set always comes
        after another; no further where a launch of it has failed. Where an exception broke off an
        earlier try, its launches stand, and none is written down twice."""
        rounds = range(self._option("--launches"))
        order = [(n, one) for n in rounds for one in (group[::-1] if n % 2 else group)]
        for place, (number, planned) in enumerate(order):
            mine = self._launches.setdefault(planned.cell, [])
            if len(mine) == number and (not mine or mine[-1].outcome is None):
                later = [one for _, one in order[place + 1 :]]
                one, seconds = self._launch(planned, later, group[-1])
                mine.append(one)
                self._enter(planned.cell, number, one, seconds)

    def _launch(
        self, planned: Planned, later: Sequence[Planned], last: Planned
    ) -> Tuple[Launch, float]:
        """A launch and its seconds. ``later`` are those of its group behind this one, ``last`` the
        group's last cell in the order of the plan."""
        run = self._run
        done = run.progress.watch(f"{planned.cell.short}  measure")
        began = time.monotonic()
        try:
            job = self._job(planned)  # before the gate: what a resumed run lost is converted anew
            if isinstance(job, Outcome):
                return Launch(outcome=job), time.monotonic() - began
            began = time.monotonic()
            with run.crew.gate.alone():
                ready = self._standby.take(self._key(planned), self._upcoming(later, last))
                made = launch(ready, job, run.card)
            if made.outcome is not None and KINDS[made.outcome.kind] == "process":
                version_set, name, _ = self._key(planned)
                run.crew.killed_in(run.crew.environment(version_set, name))
            return made, time.monotonic() - began
        finally:
            done()

    def _job(self, planned: Planned) -> Union[Dict[str, Any], Outcome]:
        """The cell's ``load`` frame, or why what a resumed run lost cannot be made again."""
        run, cell = self._run, planned.cell
        lost = run.yard.lost(planned)
        if lost is not None:
            return lost
        artefact, reference = run.yard.converted(planned), run.yard.reference(planned)
        return {
            "file": planned.model["file"],
            "model": cell.model,
            "artefact": str(artefact.folder) if planned.route.hops else None,
            "reference": str(reference.folder),
            "device": cell.device,
            "precision": cell.precision,
            "threads": self._option("--threads"),
        }

    def _fill_columns(self, planned: Planned, found: Sequence[Launch]) -> None:
        if self._option("--record-memory") and found[-1].device is not None:
            self._record_memory(planned, self._job(planned), found[-1].device)
        self._run.folder.update(
            planned.cell,
            # a launch that failed says more of the cell than one that was disturbed
            **{**device_columns(found), **rows.latency_columns(found)},
            **rows.memory_columns(found),
            **self._ratio(planned, found),
        )

    def close(self) -> None:
        self._standby.close()

    def _key(self, planned: Planned) -> Key:
        runtime = self._run.runtimes[planned.route.runtime]
        return planned.cell.version_set, runtime.environment, runtime.name

    def _upcoming(self, later: Sequence[Planned], last: Planned) -> List[Key]:
        """The runtimes of the launches behind this one, ``later`` and then what is ready."""
        found = [self._key(one) for one in later[: self._standby.width]]
        for one in self._run.selection.ready_behind(last):
            if len(found) >= self._standby.width:
                break
            if one.cell in self._run.timed and self._to_launch(one):
                found.append(self._key(one))
        return found

    def _start(self, key: Key) -> MeasuredProcess:
        version_set, name, runtime = key
        crew = self._run.crew
        environment = crew.environment(version_set, name)
        self._started += 1
        log = crew.logs / f"measure-{runtime}-{self._started:05d}.log"
        return MeasuredProcess(environment, crew.variables(environment), log, crew.limits)

    def _enter(self, cell: Cell, number: int, one: Launch, wall: float) -> None:
        folder = self._run.folder

        def figure(point: str, name: str, value: float, unit: str) -> None:
            folder.figure(cell, resuming.of_launch(point, number), name, value, unit)

        figure("launch", "wall", wall, "s")
        if one.outcome is not None:
            return
        folder.samples(cell, number, one.durations)
        for name in ("import_seconds", "load_seconds", "first_call_seconds"):
            figure("launch", name, one.facts[name], "s")
        for name in ("warm_up_calls", "warm_up_settled"):
            figure("launch", name, float(one.facts[name]), "")
        for point, memory in one.memory.items():
            for name, value in memory.items():
                if value is not None:
                    figure(point, name, value, "MiB")
        for point, memory in (one.device.memory if one.device else {}).items():
            for name, value in memory.items():
                if value is not None:
                    figure(f"gpu_{point}", name, value, unit_of(name))

    def _ratio(self, planned: Planned, found: Sequence[Launch]) -> Dict[str, Optional[float]]:
        """``ratio_to_native``: this cell's median over torch eager's, in the same run."""
        run = self._run
        native = run.selection.native_of(planned)
        if native.cell == planned.cell:
            base = rows.latency_columns(found)
        elif run.measured_before(native):
            base = run.folder.row(native.cell)
        elif not run.passed(native):
            return {}
        else:
            base = rows.latency_columns(run.measured(native))
        own = rows.latency_columns(found)
        if not base.get("latency_median_ms") or not own.get("latency_median_ms"):
            return {}
        return {"ratio_to_native": own["latency_median_ms"] / base["latency_median_ms"]}

    def _record_memory(self, planned: Planned, job: Mapping[str, Any], learnt: OnDevice) -> None:
        """Beside the table: ``memory/MODEL-ROUTE.PRECISION.`` and ``pickle`` for torch's own
        viewer, ``xplane.pb`` for TensorBoard's, ``json``, ONNX Runtime's profile."""
        run, runtime = self._run, self._run.runtimes[planned.route.runtime]
        if not runtime.recording:
            learnt.messages.append(f"record: {runtime.name} keeps none")
            return
        name = f"{planned.cell.short}.{planned.cell.precision}.{runtime.recording}"
        path = run.folder_of(planned.cell, "memory") / name
        with run.crew.gate.alone():
            reason = record(self._standby.take(self._key(planned)), job, path)
        if reason:
            learnt.messages.append(f"record: {reason}")

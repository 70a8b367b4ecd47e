"""What is measured of the cells of a run: launches, one alone at a time, and what they come to."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

from switchyard.runner import resuming, rows
from switchyard.runner.device_rows import device_columns, unit_of
from switchyard.runner.launches import Launch, launch
from switchyard.runner.on_device import OnDevice, record
from switchyard.runner.plan import Planned
from switchyard.runner.standby import Key, MeasuredProcess, Standby
from switchyard.vocabulary import PASSING, Cell

if TYPE_CHECKING:
    from switchyard.runner.session import Run


class Measurements:
    """The launches of a run's cells, each made when it is first asked for."""

    def __init__(self, run: Run):
        self._run = run
        self._option = run.config.getoption
        self._launches: Dict[Cell, List[Launch]] = {}
        self._started = 0
        self._standby = Standby(self._start, 2 * self._option("--jobs"))

    def of(self, planned: Planned) -> List[Launch]:
        """The launches of a cell that passed; its row's columns are filled."""
        run, cell = self._run, planned.cell
        if cell in self._launches:
            return self._launches[cell]
        artefact, reference = run.yard.converted(planned), run.yard.reference(planned)
        job = {
            "file": planned.model["file"],
            "model": cell.model,
            "artefact": str(artefact.folder) if planned.route.hops else None,
            "reference": str(reference.folder),
            "device": cell.device,
            "precision": cell.precision,
        }
        found: List[Launch] = []
        for number in range(self._option("--launches")):
            done = run.progress.watch(f"{cell.short}  measure")
            began = time.monotonic()
            try:
                with run.crew.gate.alone():
                    ready = self._standby.take(self._key(planned), self._upcoming(planned, number))
                    one = launch(ready, job, run.card)
            finally:
                done()
            self._enter(cell, number, one, time.monotonic() - began)
            found.append(one)
            if one.outcome is not None:
                break
        self._launches[cell] = found
        if self._option("--record-memory") and found[-1].device is not None:
            self._record_memory(planned, job, found[-1].device)
        run.folder.update(
            cell,
            **rows.latency_columns(found),
            **rows.memory_columns(found),
            **self._ratio(planned, found),
            **device_columns(found),
        )
        return found

    def close(self) -> None:
        self._standby.close()

    def _key(self, planned: Planned) -> Key:
        runtime = self._run.runtimes[planned.route.runtime]
        return planned.cell.version_set, runtime.environment, runtime.name

    def _upcoming(self, planned: Planned, number: int) -> List[Key]:
        """The runtimes of the launches behind this one, as far as it is known."""
        found = [self._key(planned)] * (self._option("--launches") - number - 1)
        for one in self._run.ready_behind(planned):
            if len(found) >= self._standby.width:
                break
            if one.cell not in self._launches and self._run.answer(one).verdict in PASSING:
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
        native = run.native_of(planned)
        if native.cell == planned.cell:
            base = rows.latency_columns(found)
        elif native.cell in run.resumed:
            base = run.folder.row(native.cell)
        elif run.answer(native).verdict not in PASSING:
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
        path = run.folder.path / "memory" / name
        with run.crew.gate.alone():
            reason = record(self._standby.take(self._key(planned)), job, path)
        if reason:
            learnt.messages.append(f"record: {reason}")

"""Whether a runtime can run on a device at all, known before anything is converted for it."""

from __future__ import annotations

from typing import Any, Mapping, Optional

from switchyard.runner.crew import Crew
from switchyard.runner.once import Once
from switchyard.runner.plan import Planned, unavailable
from switchyard.vocabulary import Outcome


class Hosting:
    """Why a cell's runtime cannot run on its device, as the outcome of that cell, or None.

    On the CPU only a missing package can be why, and what a converter says of a model there is
    worth more than that; on another device conversions would only cost its time.
    """

    def __init__(self, crew: Crew, runtimes: Mapping[str, Any]):
        self._crew = crew
        self._runtimes = runtimes
        self._once = Once()

    def __call__(self, planned: Planned) -> Optional[Outcome]:
        cell, runtime = planned.cell, self._runtimes[planned.route.runtime]
        if cell.device not in runtime.devices:
            return unavailable(runtime.elsewhere)
        if cell.device == "cpu":
            return None
        return self._once(
            (cell.version_set, cell.device, cell.precision, runtime.name),
            lambda: self._asked(cell.version_set, cell.device, cell.precision, runtime),
        )

    def _asked(self, version_set: str, device: str, precision: str, runtime) -> Optional[Outcome]:
        """What the installed packages say. An answer that does not come is no reason: loading
        the model meets the same, with the cell's own stage and log."""
        name = runtime.environment
        environment = self._crew.environment(version_set, name)
        if isinstance(environment, Outcome):
            return environment
        missing = self._crew.lacks(version_set, name, runtime.requires)
        if missing is not None:
            return missing
        job = {"do": "lacks", "runtime": runtime.name, "device": device, "precision": precision}
        reason = (self._crew.do(version_set, name, job, "import").result or {}).get("reason")
        return unavailable(reason) if reason else None

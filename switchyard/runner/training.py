"""How a cell's twin trains beside its model: asked of a worker, and put into the cell's row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, Optional

from switchyard.runner import rows
from switchyard.runner.plan import Planned
from switchyard.tables import schema
from switchyard.vocabulary import Cell, Outcome

if TYPE_CHECKING:
    from switchyard.runner.session import Run


#: The least of ``running_unexplained_100`` that is a difference, and no rounding.
UNEXPLAINED = 1e-3

#: What it fills.
COLUMNS = tuple(name for name in schema.NAMES if name.startswith("running_"))


def applies(planned: Planned) -> bool:
    """Whether a cell is asked for it: its route makes something that can be trained, its model is
    tagged ``mode``, and it is the CPU's, where the training is done."""
    tags = planned.model.get("tags", ())
    return planned.route.trains and "mode" in tags and planned.cell.device == "cpu"


def train(run: Run, planned: Planned) -> Optional[Outcome]:
    """Fill the cell's columns; what stopped it, or None."""
    cell, hop = planned.cell, run.hops[planned.route.hops[0]]
    if lost := run.yard.lost(planned):
        return _not_trained(run, cell, lost)
    reference = run.yard.reference(planned)
    job: Dict[str, Any] = {
        "do": "train",
        "preloads": hop.preloads,
        "hop": hop.name,
        "hop_files": [str(path) for path in run.hop_files],
        "file": planned.model["file"],
        "model": cell.model,
        "reference": str(reference.folder),
    }
    done = run.progress.watch(f"{cell.short}  train")
    try:
        finished = run.crew.do(cell.version_set, hop.environment, job, "measure")
    finally:
        done()
    result = finished.result or {}
    outcome = finished.outcome
    if outcome is None and not result["ok"]:
        outcome = Outcome.from_dict(result["outcome"])
    if outcome is not None:
        return _not_trained(run, cell, outcome)
    run.folder.update(cell, **rows.finite(result["fields"]))
    for figure in result["figures"]:
        run.folder.figure(cell, figure["condition"], figure["metric"], figure["value"])
    return None


def _not_trained(run: Run, cell: Cell, outcome: Outcome) -> Outcome:
    run.folder.update(cell, measure_kind=outcome.kind, measure_message=outcome.message)
    return outcome

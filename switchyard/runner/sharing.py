"""torch and TensorFlow, or torch alone, on one card: every arrangement once, in processes of its
own.

What stops an arrangement is a row of its table, never the run's end: to find out which of them
run out of memory is what it is for.
"""

from __future__ import annotations

import dataclasses
import pathlib
import statistics
from typing import TYPE_CHECKING, Any, Dict, List, Optional, Sequence

from switchyard.runner import arrangements
from switchyard.runner.arrangements import (
    ALONE,
    ARRANGEMENTS,
    CAPPED,
    ENOUGH,
    MORE,
    NEEDS,
    TORCH_ALONE,
    TURNS,
    Arrangement,
)
from switchyard.runner.plan import Planned
from switchyard.runner.standby import Ended, MeasuredProcess
from switchyard.runner.workers import with_log
from switchyard.vocabulary import Outcome

if TYPE_CHECKING:
    from switchyard.runner.session import Run

MODULE = "switchyard.worker.sharing"


def applies(planned: Planned) -> bool:
    """Whether a cell is asked for it: on a CUDA device, its model is tagged ``sharing``, and its
    route ends in TensorFlow, which torch is put beside, or is torch's own."""
    tags = planned.model.get("tags", ())
    cell = planned.cell
    return (
        cell.device == "cuda"
        and planned.route.runtime in arrangements.BOTH
        and "sharing" in tags
        and cell.precision == "float32"
    )


def _asked(planned: Planned) -> Sequence[Arrangement]:
    """What needs no TensorFlow is of torch's own cell, which is there without it as well."""
    return TORCH_ALONE if planned.route.runtime == arrangements.TORCH else ARRANGEMENTS


def judged(run: Run, planned: Planned) -> Optional[Outcome]:
    """Try every arrangement; what stopped a framework that had the whole card to itself, or what a
    resumed run has lost for good, or None. What else stops one is a finding."""
    if planned.cell not in run.resumed and (lost := run.yard.lost(planned)):
        said = f"what the resumed run had lost cannot be made again: {lost.message}"
        return dataclasses.replace(lost, message=said)
    stopped = arrangements.stopped_undisturbed(share(run, planned), _asked(planned))
    if not stopped:
        return None
    message = "; ".join(f"{one.name} {why}" for one, why in stopped.items())
    logs = [with_log(_log(run, planned, one, 0)) for one in stopped]
    return Outcome("measure", "failed", message=message, detail="\n".join(filter(None, logs)))


def share(run: Run, planned: Planned) -> List[Dict[str, str]]:
    """Try every arrangement; the cell's rows of ``sharing.csv``, all texts. None are tried for
    a cell that was done before the run was taken up again."""
    cell = planned.cell
    table = arrangements.SharingTable(run.folder.path)
    own = {"version_set": cell.version_set, "model": cell.model, "route": cell.route}
    if cell in run.resumed:
        return table.rows(**own)
    table.forget(**own)
    needs: Dict[str, Optional[float]] = {}
    for arrangement in _asked(planned):
        done = run.progress.watch(f"{cell.short}  sharing: {arrangement.name}")
        try:
            with run.crew.gate.alone():
                if arrangement in ENOUGH:
                    row = _enough(run, planned, arrangement, needs)
                else:
                    row = _tried(run, planned, arrangement, needs)
        finally:
            done()
        if arrangement in ALONE:
            (tenant,) = arrangement.tenants
            needs[tenant] = row.get(NEEDS[tenant])
        table.add({
            **own, "precision": cell.precision, "arrangement": arrangement.name,
            "first": arrangement.tenants[0], "processes": arrangement.processes,
            "growth": arrangement.growth, "between": arrangement.between,
            "expandable": arrangement.expandable, "cap": arrangement.cap,
            "turns_asked": TURNS, "turns_done": 0, **row,
        })  # fmt: skip
    return table.rows(**own)


def _enough(
    run: Run, planned: Planned, arrangement: Arrangement, needs: Dict[str, Optional[float]]
) -> Dict[str, Any]:
    """Try it with more and more of what the tenant held alone until it runs, and let that be what
    it needs; where it never does, that is not known."""
    (tenant,) = arrangement.tenants
    held, needs[tenant] = needs.get(tenant), None
    for factor in MORE if held else (1.0,):
        row = _tried(run, planned, arrangement, {tenant: held and held * factor})
        if row.get("turns_done") == TURNS:
            needs[tenant] = row[CAPPED[tenant]]
            break
    return row


def _tried(
    run: Run, planned: Planned, arrangement: Arrangement, needs: Dict[str, Optional[float]]
) -> Dict[str, Any]:
    if run.card.exclusive and arrangement.processes > 1:
        return {"message": "the card takes one process at a time (compute mode EXCLUSIVE_PROCESS)"}
    try:
        limits = arrangements.limits(arrangement, needs)
    except KeyError as unknown:
        words = f"what {unknown.args[0]} needs alone is not known"
        return {"message": words}
    row: Dict[str, Any] = {column: limits.get(tenant) for tenant, column in CAPPED.items()}
    before = run.card.sample().used_mib
    processes: List[MeasuredProcess] = []
    try:
        for number in range(arrangement.processes):
            processes.append(_process(run, planned, arrangement, number))
        for number, process in enumerate(processes):
            jobs = {t: _job(run, planned, t, arrangement, limits)
                    for t in arrangement.of_process(number)}  # fmt: skip
            short = arrangement.cap is not None or not arrangement.growth
            process.demand(do="enter", tenants=jobs, short=short)
        seconds, stopped = _turns(processes, arrangement)
        row["turns_done"] = len(seconds)
        if seconds:
            row["turn_median_ms"] = statistics.median(seconds) * 1e3
        device = [process.demand(do="memory")["device"] for process in processes]
        # What was held when it stopped, not what is once that was let go.
        device += [stopped["device"]] if stopped else []
        row.update(arrangements.said(device))
        after = run.card.sample().used_mib
        row["card_mib"] = None if None in (before, after) else after - before
        if stopped:
            row.update(kind=stopped["outcome"]["kind"], message=stopped["outcome"]["message"])
    except Ended as ended:
        kind, message = ended.args
        row.update(kind=kind, message=message)
    finally:
        for process in processes:
            process.close()
    return row


def _process(
    run: Run, planned: Planned, arrangement: Arrangement, number: int
) -> MeasuredProcess:
    crew, log = run.crew, _log(run, planned, arrangement, number)
    environment = crew.environment(planned.cell.version_set, "core")
    settings = arrangements.variables(crew.variables(environment), arrangement)
    return MeasuredProcess(environment, settings, log, crew.limits, MODULE)


def _log(run: Run, planned: Planned, arrangement: Arrangement, number: int) -> pathlib.Path:
    words = arrangement.name.replace(" ", "-")
    return run.crew.logs / f"sharing-{planned.cell.short}-{words}-{number}.log"


def _job(
    run: Run, planned: Planned, tenant: str, arrangement: Arrangement, limits: Dict[str, float]
) -> Dict[str, Any]:
    artefact = run.yard.converted(planned)
    return {
        "file": planned.model["file"],
        "model": planned.cell.model,
        "artefact": str(artefact.folder) if tenant == arrangements.TENSORFLOW else None,
        "reference": str(run.yard.reference(planned).folder),
        "device": planned.cell.device,
        "precision": planned.cell.precision,
        "memory_growth": arrangement.growth,
        "memory_limit_mib": limits.get(tenant),
        "threads": run.config.getoption("--threads"),
    }


def _turns(processes: List[MeasuredProcess], arrangement: Arrangement):
    """Seconds of the turns that all tenants finished, and the reply of the process that stopped
    the rest, or None. Two processes take turns as two services behind one request do."""
    if len(processes) == 1:
        reply = processes[0].demand(do="turns", n=TURNS, between=arrangement.between)
        return reply["seconds"], reply if reply["outcome"] else None
    finished: List[float] = []
    for _ in range(TURNS):
        replies = [one.demand(do="turns", n=1, between=arrangement.between) for one in processes]
        stopped = next((reply for reply in replies if reply["outcome"]), None)
        if stopped:
            return finished, stopped
        finished.append(sum(reply["seconds"][0] for reply in replies))
    return finished, None

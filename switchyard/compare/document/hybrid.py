"""What the source document says of the hybrid deployment, judged by rows of ``hybrid-tf``: that it
always works, takes twice the memory, and adds 2 to 5 ms to a request. Pure: a table's rows in, a
finding out.

Memory is what ``compare`` judges too: the peak of all processes without the pages of program files,
of which the page cache holds now more and now fewer. What torch itself holds goes by its build.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Optional, Sequence

from switchyard.compare import statistics
from switchyard.compare.document.modes import Found
from switchyard.vocabulary import NATIVE, PASSING

Row = Mapping[str, Any]

ROUTE = "hybrid-tf"

SUCCESS, MEMORY, OVERHEAD = PARTS = ("100% success", "2x memory", "2 to 5 ms")

#: The document's overhead of a request, ms; and twice the memory, to the nearest whole number.
OVERHEAD_MS, TWICE = (2.0, 5.0), (1.5, 2.5)

MEMORY_COLUMN = "memory_peak_data_mib"


def hybrid(rows: Sequence[Row], build: str = "") -> Found:
    """Success: every model. Memory and, where there are several launches, latency, beside torch
    eager's in the same table: where the middle half of the models lies in what the document says.
    ``build``: torch's, ``CUDA`` or ``CPU``; "" where nobody knows.
    """
    own = [row for row in rows if row["route"] == ROUTE and statistics.is_counted(row)]
    if not own:
        return Found({}, "no hybrid deployment in this table")
    native = {(r["model"], r["precision"]): r for r in rows if r["route"] == NATIVE}
    passed = [row for row in own if row["verdict"] in PASSING]
    parts = {SUCCESS: len(passed) == len(own)}
    said = [f"{len(passed)} of {len(own)} models pass"]

    def beside(column: str, how: Callable[[float, float], float]) -> list[float]:
        pairs = [(r, native.get((r["model"], r["precision"]), {})) for r in passed]
        return [
            how(row[column], other[column])
            for row, other in pairs
            if row.get(column) is not None and other.get(column)
        ]

    def middle_half(name: str, values: list[float], band: tuple[float, float]) -> Optional[str]:
        if not values:
            return None
        low, middle, high = (statistics.quantile(values, q) for q in (0.25, 0.5, 0.75))
        parts[name] = band[0] <= low and high <= band[1]
        return f"{middle:.1f} (middle half {low:.1f} to {high:.1f})"

    memory = beside(MEMORY_COLUMN, lambda both, alone: both / alone)
    if figures := middle_half(MEMORY, memory, TWICE):
        alone = statistics.median(beside(MEMORY_COLUMN, lambda _, alone: alone))
        torch = f"the {build} build of torch" if build else "a build of torch that is not recorded"
        said.append(f"memory over torch eager's {alone:.0f} MiB, with {torch}: {figures}")
    timed = all(map(statistics.is_timed, passed))
    added = beside("latency_median_ms", lambda both, alone: both - alone) if timed else []
    if figures := middle_half(OVERHEAD, added, OVERHEAD_MS):
        said.append(f"ms added to a request: {figures}")
    missing = [name for name in PARTS if name not in parts]
    return Found(parts, "; ".join(said), own, missing)

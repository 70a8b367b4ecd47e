"""The ways in which torch and TensorFlow, or torch alone, are put on one card, and the table of
how each went: pure, but for the file that the table is.

A cap is a share of what a framework needs alone: the least with which it was seen to run there.
"""

from __future__ import annotations

import csv
import dataclasses
import math
import pathlib
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from switchyard.tables.schema import without_paths
from switchyard.tables.writing import guarded, unguarded

TORCH, TENSORFLOW = "torch-eager", "tf"
BOTH = (TORCH, TENSORFLOW)
REVERSED = (TENSORFLOW, TORCH)

#: Shares of what the model needs alone that the capped card leaves.
CAPS = (1.0, 0.5, 0.25)


@dataclasses.dataclass(frozen=True)
class Arrangement:
    """``tenants``: runtimes, in the order in which they enter and take turns. ``growth``:
    TensorFlow takes memory as it needs it, not nearly all at once. ``between``: what is done before
    the other framework is called, or the only one again: nothing, ``deleted`` (the outputs, and
    collected) or ``emptied`` (and the framework's cache).
    ``expandable``: torch's expandable segments. ``cap``: of ``CAPS``, or None."""

    tenants: Tuple[str, ...] = BOTH
    processes: int = 1
    growth: bool = True
    between: str = ""
    expandable: bool = False
    cap: Optional[float] = None

    @property
    def name(self) -> str:
        parts = ["alone" if len(self.tenants) == 1 else f"{self.processes}-process"]
        parts += self.tenants if len(self.tenants) == 1 else []
        parts += ["tf-first"] if self.tenants == REVERSED else []
        parts += [] if self.growth else ["no-growth"]
        parts += [self.between] if self.between else []
        parts += ["expandable"] if self.expandable else []
        parts += [] if self.cap is None else [f"cap-{100 * self.cap:g}%"]
        return " ".join(parts)

    def of_process(self, number: int) -> Tuple[str, ...]:
        """The tenants of one of the processes."""
        return self.tenants if self.processes == 1 else (self.tenants[number],)


#: What each needs alone stands first: the caps are shares of it.
ALONE = (Arrangement((TORCH,)), Arrangement((TENSORFLOW,)))

#: Then each with no more than that, to see whether it is enough.
ENOUGH = tuple(Arrangement(one.tenants, cap=1.0) for one in ALONE)

#: Times what its allocator held that a tenant is given in turn until it runs: a pool of one size
#: loses more to rounding and to holes than one that grows.
MORE = (1.0, 1.25, 1.5, 2.0, 3.0)

ARRANGEMENTS: Tuple[Arrangement, ...] = (
    *ALONE,
    *ENOUGH,
    Arrangement((TENSORFLOW,), growth=False),
    Arrangement(),
    Arrangement(between="deleted"),
    Arrangement(between="emptied"),
    Arrangement(expandable=True),
    Arrangement(growth=False),
    Arrangement(growth=False, between="deleted"),
    Arrangement(processes=2),
    Arrangement(processes=2, growth=False),
    # Who comes first takes what it likes: without growth, nearly all.
    *(Arrangement(REVERSED, processes, growth) for processes in (1, 2) for growth in (True, False)),
    *(Arrangement(cap=cap, between=done) for cap in CAPS for done in ("", "deleted", "emptied")),
    *(Arrangement(cap=cap, expandable=True) for cap in CAPS),
    *(Arrangement(processes=2, cap=cap) for cap in CAPS),
)

#: Those of torch with nobody beside it, which ask what fragmentation alone costs and what helps.
TORCH_ALONE: Tuple[Arrangement, ...] = (
    ALONE[0],
    ENOUGH[0],
    *(
        Arrangement((TORCH,), between=done, expandable=expandable, cap=cap)
        for cap in CAPS
        for expandable in (False, True)
        for done in ("", "deleted", "emptied")
        if (cap, expandable, done) != (ENOUGH[0].cap, False, "")
    ),
)

#: Those of one framework with the whole card to itself: what has to run.
UNDISTURBED = tuple(one for one in ARRANGEMENTS if len(one.tenants) == 1 and one.cap is None)

#: Turns that a tenant is asked for.
TURNS = 20

#: Columns of ``sharing.csv``. MiB, milliseconds; empty where it was not measured or not said.
COLUMNS = (
    "version_set", "model", "route", "precision", "arrangement", "first", "processes", "growth",
    "between", "expandable", "cap", "torch_cap_mib", "tensorflow_cap_mib", "turns_asked",
    "turns_done", "kind", "message", "turn_median_ms", "card_mib",
    "torch_allocated_mib", "torch_reserved_mib",
    "torch_reserved_peak_mib", "torch_slack", "torch_external_fragmentation", "torch_alloc_retries",
    "tensorflow_allocated_mib", "tensorflow_peak_mib", "tensorflow_external_fragmentation",
)  # fmt: skip

#: Column -> (tenant, what its allocator calls it).
SAID: Dict[str, Tuple[str, str]] = {
    "torch_allocated_mib": (TORCH, "allocated_mib"),
    "torch_reserved_mib": (TORCH, "reserved_mib"),
    "torch_reserved_peak_mib": (TORCH, "reserved_peak_mib"),
    "torch_slack": (TORCH, "slack"),
    "torch_external_fragmentation": (TORCH, "external_fragmentation"),
    "torch_alloc_retries": (TORCH, "alloc_retries"),
    "tensorflow_allocated_mib": (TENSORFLOW, "allocated_mib"),
    "tensorflow_peak_mib": (TENSORFLOW, "peak_mib"),
    "tensorflow_external_fragmentation": (TENSORFLOW, "external_fragmentation"),
}

#: Tenant -> the figure that what it needs is looked for from: what torch's allocator took of the
#: card, and the most that TensorFlow's handed out, since it does not say what it took.
NEEDS = {TORCH: "torch_reserved_peak_mib", TENSORFLOW: "tensorflow_peak_mib"}

#: Tenant -> the column of its cap.
CAPPED = {TORCH: "torch_cap_mib", TENSORFLOW: "tensorflow_cap_mib"}


def limits(arrangement: Arrangement, needs: Mapping[str, Optional[float]]) -> Dict[str, float]:
    """MiB that each tenant may take; none without a cap. Raises KeyError, with the tenant, where
    what it needs alone is not known. TensorFlow's are whole, rounded up: it cuts off the rest of
    one itself, and with 3.9 of what needs 3.9 it would run out."""
    if arrangement.cap is None:
        return {}
    unknown = [tenant for tenant in arrangement.tenants if not needs.get(tenant)]
    if unknown:
        raise KeyError(unknown[0])
    shares = {tenant: arrangement.cap * needs[tenant] for tenant in arrangement.tenants}
    if TENSORFLOW in shares:
        shares[TENSORFLOW] = float(math.ceil(shares[TENSORFLOW]))
    return shares


#: The user's settings of an allocator, each of which would make another arrangement of one:
#: torch's under its name of today and the one up to torch 2.8, and TensorFlow's.
ALLOCATORS = (
    "PYTORCH_ALLOC_CONF",
    "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_NO_CUDA_MEMORY_CACHING",
    "TF_FORCE_GPU_ALLOW_GROWTH",
    "TF_GPU_ALLOCATOR",
)

#: cuBLAS's own workspace lies in torch's allocator and is 32 MiB on some cards, whatever the model:
#: of a small one half of what it needs would be less than that. Here it is 8 times 16 KiB, and that
#: of cuBLASLt, which may be the same, as large.
WORKSPACES = {"CUBLAS_WORKSPACE_CONFIG": ":16:8", "CUBLASLT_WORKSPACE_SIZE": "128"}


def variables(inherited: Mapping[str, str], arrangement: Arrangement) -> Dict[str, str]:
    """``inherited`` with what the arrangement says of the allocators, and nothing else of them: a
    user's expandable segments would leave no arrangement without. Workspaces are small in all."""
    kept = {name: value for name, value in inherited.items() if name not in ALLOCATORS}
    kept.update(WORKSPACES)
    if arrangement.expandable:
        kept.update(dict.fromkeys(ALLOCATORS[:2], "expandable_segments:True"))
    return kept


def stopped_undisturbed(
    rows: Sequence[Mapping[str, str]], asked: Sequence[Arrangement] = ARRANGEMENTS
) -> Dict[Arrangement, str]:
    """Those of ``UNDISTURBED`` among ``asked`` that did not do all their turns -> why; ``rows`` are
    a cell's, as ``SharingTable`` has them. One on a card capped at what suffices is not among them:
    it may take a multiple of that."""
    by_name = {row["arrangement"]: row for row in rows}
    found = {}
    for one in (one for one in asked if one in UNDISTURBED):
        row = by_name.get(one.name)
        if row is None:
            found[one] = "was not tried"
        elif int(row["turns_done"]) < int(row["turns_asked"]):
            done = f"did {row['turns_done']} of {row['turns_asked']} turns"
            found[one] = ": ".join(filter(None, (done, row["kind"], row["message"])))
    return found


class SharingTable:
    """``sharing.csv`` in a run's folder: a row an arrangement and cell, there as soon as it has
    ended."""

    def __init__(self, folder: pathlib.Path):
        self.path = folder / "sharing.csv"

    def add(self, row: Mapping[str, Any]) -> None:
        """Raises ValueError for a column that the table does not have."""
        if row.get("message"):
            row = {**row, "message": without_paths(row["message"])}
        self._write([row], "a" if self.path.exists() else "w")

    def rows(self, **wanted: str) -> List[Dict[str, str]]:
        """Those with these values, all texts."""
        if not self.path.exists():
            return []
        with open(self.path, newline="", encoding="utf-8") as file:
            rows = [{n: unguarded(v) for n, v in row.items()} for row in csv.DictReader(file)]
        return [row for row in rows if wanted.items() <= row.items()]

    def forget(self, **wanted: str) -> None:
        """Take out those with these values: what an interrupted run had of a cell."""
        gone = self.rows(**wanted)
        if gone:
            self._write([row for row in self.rows() if row not in gone], "w")

    def _write(self, rows: Sequence[Mapping[str, Any]], mode: str) -> None:
        with open(self.path, mode, newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if mode == "w":
                writer.writeheader()
            for row in rows:
                writer.writerow(
                    {n: guarded(v) if isinstance(v, str) else v for n, v in row.items()}
                )


def said(device: Sequence[Mapping[str, Mapping[str, Any]]]) -> Dict[str, Any]:
    """The columns of what the allocators said, in one process or two."""
    of = {tenant: figures for each in device for tenant, figures in each.items()}
    return {column: of.get(tenant, {}).get(name) for column, (tenant, name) in SAID.items()}

"""What the source document says of a mean squared error within a band, judged by all else that was
looked at of the conversions in it. Pure: a table's rows in, a finding out."""

from __future__ import annotations

import dataclasses
from typing import Any, Iterable, Mapping, Sequence

from switchyard.compare.bands import FEWEST_MODELS
from switchyard.compare.document.modes import Found
from switchyard.vocabulary import PASSING, UNCOUNTED, is_mistake

Row = Mapping[str, Any]

#: Cells that are named of those against a band.
MOST_NAMED = 8


@dataclasses.dataclass(frozen=True)
class Band:
    """A mean squared error in [low, high), ``what`` in words. It holds where of the models with
    such a conversion no larger a share than ``share`` has one that does not pass.
    """

    what: str
    low: float
    high: float
    share: float

    def __call__(self, rows: Sequence[Row]) -> Found:
        own = [row for row in _judged(rows) if self.low <= row["mse"] < self.high]
        if not own:
            return Found({}, "no conversion with such an error in this table")
        bad = [row for row in own if row["verdict"] not in PASSING]
        models, spoilt = ({row["model"] for row in some} for some in (own, bad))
        figure = (
            f"by all else {len(spoilt)} of {len(models)} models with mse {self.what} have a "
            f"conversion that does not pass ({len(bad)} of {len(own)})"
        )
        if bad:
            shown = [f"{row['model']}-{row['route']} ({_fault(row)})" for row in bad[:MOST_NAMED]]
            figure += f": {', '.join([*shown, *(['...'] if bad[MOST_NAMED:] else [])])}"
        if len(models) < FEWEST_MODELS:
            return Found({}, f"fewer than {FEWEST_MODELS} models: {figure}")
        return Found({"": len(spoilt) <= self.share * len(models)}, figure, own)


def _judged(rows: Iterable[Row]) -> list[Row]:
    """Judged conversions in float32, which the document's bands are for; with the mistakes on
    purpose, since to find such is what a band is for."""
    return [
        row for row in rows
        if row.get("hops") and row.get("mse") is not None and row.get("precision") == "float32"
        and (row.get("state") or "done") == "done" and row.get("verdict")
        and row["verdict"] not in UNCOUNTED
    ]  # fmt: skip


def _fault(row: Row) -> str:
    kind = row.get("kind") or row["verdict"]
    return f"{kind}, a mistake on purpose" if is_mistake(row.get("hops")) else kind

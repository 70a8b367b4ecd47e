"""What the two ecosystems' own preprocessing makes of the same picture, as a Markdown table. Pure:
rows in, lines out."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from switchyard.compare import statistics
from switchyard.compare.as_markdown import text
from switchyard.compare.document.names import name

Row = Mapping[str, Any]


def markdown_lines(rows: Sequence[Row]) -> list[str]:
    """A line a model that has a picture, smallest difference first: how far TensorFlow's input is
    from torch's, the part that makes the difference, what that alone does to torch's own answer,
    and where the cells of its routes end. The routes of a model share its input."""
    lines = [
        "| model | mse of the input | made by | torch's own answer: nmse, best class stays "
        "| its cells |",
        "| --- | --- | --- | --- | --- |",
    ]
    measured = [row for row in rows if row.get("preprocess_mse") is not None]
    own = statistics.in_own_precision(measured)
    models = dict.fromkeys(row["model"] for row in own)
    of = {model: [row for row in own if row["model"] == model] for model in models}
    return lines + [_line(cells) for cells in sorted(of.values(), key=_difference)]


def _difference(cells: Sequence[Row]) -> float:
    return cells[0]["preprocess_mse"]


def _line(cells: Sequence[Row]) -> str:
    first = cells[0]
    kept = first.get("preprocess_top1_agreement")
    nmse = first.get("preprocess_output_nmse")
    answer = [] if nmse is None else [f"{nmse:.1e}"]
    answer += [] if kept is None else [f"{100 * kept:.0f}%"]
    return "| " + " | ".join((
        name(first["model"]),
        f"{first['preprocess_mse']:.1e}",
        text(first.get("preprocess_differs") or ""),
        ", ".join(answer),
        ", ".join(f"{name(row['route'])} {_end(row)}" for row in cells),
    )) + " |"  # fmt: skip


def _end(row: Row) -> str:
    return "stops" if row.get("stage") == "preprocess" else text(row.get("verdict") or "")

"""What is said of bands that are wider than float32's. Pure: rows in, lines out."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from switchyard.compare.rendering import Terminal

Row = Mapping[str, Any]


def band_notes(rows: Sequence[Row], terminal: Terminal = Terminal()) -> list[str]:
    """A line for each factor by which bands were widened, with the precisions it was for."""
    wider: dict[float, list[str]] = {}
    for row in rows:
        scale = row.get("band_scale")
        if scale is not None and scale > 1:
            wider.setdefault(scale, []).append(row["precision"])
    lines = []
    for scale, precisions in sorted(wider.items()):
        names = " and ".join(dict.fromkeys(precisions))
        text = (
            f"{names}: bands of {scale:.3g} times float32's ({1e-5 * scale:.1e} and "
            f"{1e-3 * scale:.1e}), since its rounding alone takes more than those; what is beyond "
            "10 times torch's own error against float64 is never passed."
        )
        lines += terminal.wrap(text, style="quiet")
    return lines

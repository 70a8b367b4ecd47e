"""The bands of the errors: which error is held against them, what is said of bands that are wider
than float32's, and of what no band judges. Pure: rows in, numbers and lines out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Mapping, Optional, Sequence

from switchyard.vocabulary import PASSING

if TYPE_CHECKING:
    from switchyard.compare.rendering import Terminal

Row = Mapping[str, Any]

#: Precisions whose rounding is beyond the bands of mse; ``worker/rounding.py`` has them too.
SIXTEEN_BITS = ("float16", "bfloat16")

#: Cells that a note calls by name.
MOST_NAMED = 6

#: Fewest models of which a share says anything. Exports of one model are near copies of each other,
#: so that their number says nothing.
FEWEST_MODELS = 5


def deciding_error(row: Row) -> Optional[float]:
    """The error of a cell that its verdict rests on, as the worker takes it (``deciding_error`` in
    ``worker/agreement.py``): the worse of mse and nmse, in 16 bits nmse alone where there is one;
    None where there is neither. By the cell's precision, since no table has an output's dtype.
    """
    mse, nmse = row.get("mse"), row.get("nmse")
    if row.get("precision") in SIXTEEN_BITS and nmse is not None:
        return nmse
    return max((error for error in (mse, nmse) if error is not None), default=None)


def band_notes(rows: Sequence[Row], terminal: Terminal) -> list[str]:
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


def wrong_at_another_size(rows: Sequence[Row], terminal: Terminal) -> list[str]:
    """Which cells pass at the sizes they were converted with and answer wrongly at others: no
    verdict says so, and a service that is asked at many sizes would serve it."""
    names = [
        f"{row['model']}-{row['route']}"
        for row in rows
        if row.get("verdict") in PASSING and row.get("dynamic") == "wrong"
    ]
    if not names:
        return []
    shown = ", ".join(names[:MOST_NAMED]) + (", ..." if len(names) > MOST_NAMED else "")
    said = "passes, and answers" if len(names) == 1 else "pass, and answer"
    text = f"{len(names)} {said} wrongly at another size (column dynamic): {shown}"
    return terminal.wrap(text, style="bad")

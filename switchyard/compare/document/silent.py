"""What arrives wrong without a word, family by family: converted, ran, and answered otherwise.

Pure: rows in, a Markdown table out. Refusals and crashes are not here, they speak for
themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Mapping, Sequence

from switchyard.compare.as_markdown import text
from switchyard.compare.document.names import name
from switchyard.compare.statistics import route_order, without_casts
from switchyard.vocabulary import PASSING, is_mistake

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Fault:
    """One model's silent fault of one kind: the routes that show it, and the largest error.

    ``kind`` is empty where the cell passes and only another size is answered wrongly.
    """

    model: str
    kind: str
    routes: tuple[str, ...]
    worst_mse: float | None


def silent_faults(rows: Sequence[Row]) -> dict[str, list[Fault]]:
    """Family -> its faults, families in order of their names; one without any has an empty list.

    The native baseline is no conversion, mistakes on purpose are no converter's faults, what
    stopped at ``preprocess`` never came to one, and of models that stand in float32 no cast counts.
    Where a kind has no error (another shape or dtype), ``worst_mse`` is None.
    """
    order = {route: place for place, route in enumerate(route_order(rows))}
    found: dict[str, dict[tuple[str, str], list[Row]]] = {}
    for row in without_casts(rows):
        own = found.setdefault(row.get("family") or "", {})
        if is_mistake(row.get("hops")) or row.get("stage") == "preprocess":
            continue
        if row.get("verdict") == "investigate":
            own.setdefault((row["model"], row.get("kind") or "unexplained"), []).append(row)
        elif row.get("verdict") in PASSING and row.get("dynamic") == "wrong":
            own.setdefault((row["model"], ""), []).append(row)
    return {
        family: [
            Fault(
                model,
                kind,
                tuple(sorted((r["route"] for r in own), key=order.get)),
                max((r["mse"] for r in own if r.get("mse") is not None), default=None),
            )
            for (model, kind), own in sorted(found[family].items())
        ]
        for family in sorted(found)
    }


def braced(routes: Sequence[str]) -> str:
    """Routes with what they share written once, as a shell expands it: what goes on alike behind
    other first hops, and what begins alike: ``{dynamo,torchscript17}-onnx2tf-{tf,litert}``."""
    heads: dict[str, list[str]] = {}
    for route in routes:
        head, _, tail = route.partition("-")
        heads.setdefault(tail, []).append(head)
    ends: dict[tuple[str, str], list[str]] = {}
    for tail, own in heads.items():
        begins, dash, rest = tail.partition("-")
        key = (_one_of(own), f"{begins}-" if dash else "")
        ends.setdefault(key, []).append(rest if dash else tail)
    return ", ".join(
        name(f"{head}-{begins}{_one_of(own)}") for (head, begins), own in ends.items()
    )


def _one_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{{{','.join(words)}}}"


def markdown_lines(rows: Sequence[Row]) -> list[str]:
    """A table with a row a family: its models, and what of them arrives silently wrong."""
    models: dict[str, set[str]] = {}
    for row in rows:
        models.setdefault(row.get("family") or "", set()).add(row["model"])
    lines = ["| family | models | silently wrong |", "| --- | --- | --- |"]
    for family, faults in silent_faults(rows).items():
        said = "<br>".join(map(_said, faults)) or "none found"
        lines.append(f"| {text(family)} | {len(models[family])} | {said} |")
    return lines


def _said(fault: Fault) -> str:
    if not fault.kind:
        return f"{name(fault.model)} at another size only: {braced(fault.routes)}"
    worst = "no mse" if fault.worst_mse is None else f"{fault.worst_mse:.2g}"
    return f"{name(fault.model)}: {braced(fault.routes)}; {text(fault.kind)}, {worst}"

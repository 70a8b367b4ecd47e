"""What the source document says of BatchNorm and of the mode, judged by rows of mistakes made on
purpose, and of honest conversions where it says what went wrong with those. Pure: a table's rows
in, findings out; ``claims`` makes judgements of them.

A model's accuracy is that at its task. What is left of it is the least of what was answered two
by two, one by one and in batches of 64, since a net that normalises by the batch at hand answers
otherwise at each.
"""

from __future__ import annotations

from collections import Counter
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Sequence

from switchyard.compare import statistics
from switchyard.compare.bands import FEWEST_MODELS

Row = Mapping[str, Any]

#: What one gets who forgets ``model.eval()``, each by a way of exporting.
FORGOTTEN = (
    "dynamo_left_in_train-ort",
    "torchscript_left_in_train-ort",
    "torchscript_preserve_train-ort",
    "traced_in_train-ort",
)
EPSILON = ("manual_default_eps-tf",)
CONVERTED, COPIED, DEFAULT = (
    "manual-tf", "manual_copied_momentum-tf", "manual_default_momentum-tf",
)  # fmt: skip
MOMENTUM = (COPIED, DEFAULT)
STATISTICS = ("manual_statistics_forgotten-tf", "manual_statistics_swapped-tf")
MISTAKEN_ROUTES = (*FORGOTTEN, "torchscript_training-ort", *EPSILON, *MOMENTUM, *STATISTICS)

#: Accuracy lost that is no chance of a few images; what the document calls drops.
LOST, FIVE, TWENTY, TO_67 = 0.01, 0.05, 0.20, 0.25

#: Running statistics that are one, to float32's rounding over 100 steps.
SAME = 1e-4

#: Above which the document says: investigate.
INVESTIGATE = 1e-3

#: The zoo's family of models that are a BatchNorm and little else.
NORMS = "batchnorm"


class Found(NamedTuple):
    """``parts``: what the claim speaks of, and whether it holds there; empty where nothing was
    measured, and ``figure`` says what is missing. ``rows``: those it rests on. ``missing``: parts
    of it that no row measured, beside some that were."""

    parts: Mapping[str, bool]
    figure: str
    rows: Sequence[Row] = ()
    missing: Sequence[str] = ()


def left(row: Row) -> Optional[float]:
    """The least accuracy that was measured of a cell, or None."""
    known = [row.get(n) for n in ("task_accuracy", "batch1_accuracy", "batch64_accuracy")]
    return min((one for one in known if one is not None), default=None)


def lost(row: Row) -> Optional[float]:
    """How much of torch's accuracy a cell lost, as a share of all examples, or None."""
    native, own = row.get("task_accuracy_native"), left(row)
    return None if native is None or own is None else native - own


def _of(rows: Iterable[Row], routes: Sequence[str], *columns: str) -> list[Row]:
    """The finished rows of ``routes`` that hold every one of ``columns``, routes in order."""
    found = [
        row for row in rows
        if row["route"] in routes and (row.get("state") or "done") == "done"
        and all(row.get(name) is not None for name in columns)
    ]  # fmt: skip
    return sorted(found, key=lambda row: routes.index(row["route"]))


def _rated(rows: Iterable[Row], routes: Sequence[str]) -> list[Row]:
    return [row for row in _of(rows, routes) if lost(row) is not None]


def _said(row: Row) -> str:
    """A cell's accuracy before and after, in per cent."""
    before, after = 100 * row["task_accuracy_native"], 100 * left(row)
    return f"{row['model']}-{row['route']} {before:.1f}% to {after:.1f}%"


def _worst(rows: Sequence[Row]) -> Row:
    return max(rows, key=lost)


def _honest(rows: Iterable[Row]) -> list[Row]:
    """Finished conversions of float32 models in which no mistake was made on purpose."""
    return [
        row for row in rows
        if row.get("hops") and row.get("precision") == "float32" and statistics.is_counted(row)
    ]  # fmt: skip


def _models(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["model"] for row in rows))


def _is_norms(row: Row) -> bool:
    """Whether BatchNorm is what a conversion is wrong by: found so (``channel-affine``), or
    unexplained in a model that is little else."""
    kind = row.get("kind")
    return kind == "channel-affine" or (kind == "unexplained" and row.get("family") == NORMS)


def _cause(wrong: Sequence[Row], what: str) -> tuple[Optional[bool], str]:
    """Whether BatchNorm is at fault in half of the models or more of which an honest conversion is
    ``wrong``, None where they are too few to say, and the figure."""
    norms = [row for row in wrong if _is_norms(row)]
    figure = (
        f"BatchNorm is at fault in {len(norms)} of {len(wrong)} honest conversions {what} "
        f"({len(_models(norms))} of {len(_models(wrong))} models)"
    )
    others = Counter(row.get("kind") or "no kind" for row in wrong if not _is_norms(row))
    if others:
        figure += f", the others are {', '.join(f'{n} {kind}' for kind, n in others.most_common())}"
    if len(_models(wrong)) < FEWEST_MODELS:
        return None, figure
    return 2 * len(_models(norms)) >= len(_models(wrong)), figure


def forgetting_eval(rows: Sequence[Row]) -> Found:
    """Each way of exporting apart: some model loses accuracy, and nothing was said. A way that
    refuses is not silent."""
    parts, figures, used, missing = {}, [], [], []
    for route in FORGOTTEN:
        own = _rated(rows, (route,))
        stopped = [r for r in _of(rows, (route,)) if r.get("verdict") in ("refused", "failed")]
        if not own and not stopped:
            missing.append(route)
            continue
        used += own or stopped
        parts[route] = bool(own) and lost(_worst(own)) > LOST
        if not own:
            verdicts = sorted({row["verdict"] for row in stopped}, reverse=True)
            figures.append(f"{route} {' or '.join(verdicts)}, each of {len(stopped)} models")
            continue
        worst = _worst(own)
        figure = _said(worst) if lost(worst) > 0 else f"{route} loses none in {len(own)} models"
        one, many = worst.get("batch1_mse"), worst.get("batch64_mse")
        if one is not None and many is not None:
            figure += f" (mse {one:.2g} one by one, {many:.2g} at 64)"
        figures.append(figure)
    figure = "; ".join(figures) or "no table has models exported in train mode"
    return Found(parts, figure, used, missing)


def converted_momentum(rows: Sequence[Row]) -> Found:
    """With Keras's momentum at 1 - torch's the running statistics move alike."""
    columns = ("running_mean_error_100", "running_var_error_100", "running_var_biased_error_100")
    own = _of(rows, (CONVERTED,), *columns)
    if not own:
        return Found({}, "no table has training steps in both frameworks")

    def worst(route: str, column: str) -> float:
        return max(row[column] for row in _of(rows, (route,), *columns))

    mean, variance, biased = (worst(CONVERTED, column) for column in columns)
    figure = (
        f"with it, over {len(own)} models and 100 steps, the running mean is off by {mean:.2g} "
        f"standard deviations at most, the running variance by {variance:.2g} of itself and, once "
        f"torch's n/(n-1) is taken out, by {biased:.2g}"
    )
    used = list(own)
    for route, said in ((COPIED, "torch's number copied"), (DEFAULT, "Keras's default")):
        others = _of(rows, (route,), *columns)
        used += others
        if others:
            figure += f"; {said}: {worst(route, columns[0]):.2g} and {worst(route, columns[1]):.2g}"
    parts = {"the running mean": mean < SAME, "the running variance": variance < SAME}
    return Found(parts, figure, used)


def drop_to_67(rows: Sequence[Row]) -> Found:
    """A drop as from 92% to 67% happens by some mistake, and by that with momentum. What honest
    conversions lose stands beside it."""
    rated, momentum = _rated(rows, MISTAKEN_ROUTES), _rated(rows, MOMENTUM)
    if not momentum:
        return Found({}, "no table has twins with momentum left or copied")
    dropped = sorted((r for r in rated if lost(r) >= TO_67), key=lost)
    causes = [row for row in dropped if row["route"] in MOMENTUM]
    figure = (
        f"momentum costs {100 * lost(_worst(momentum)):.1f} points at most in {len(momentum)} "
        f"cells; 25 points and more: {', '.join(map(_said, dropped)) or 'none'}"
    )
    honest = [row for row in _honest(rows) if lost(row) is not None]
    if honest:
        most = 100 * max(0.0, lost(_worst(honest)))
        figure += f"; {len(honest)} conversions without a mistake lose {most:.1f} points at most"
    parts = {"mistakes with BatchNorm": bool(dropped), "those with momentum": bool(causes)}
    return Found(parts, figure, [*rated, *honest])


def conventions(rows: Sequence[Row]) -> Found:
    """What the two frameworks say otherwise, epsilon and momentum, costs 20 points and more."""
    chosen = {"epsilon": _rated(rows, EPSILON), "momentum": _rated(rows, MOMENTUM)}
    missing = [name for name, own in chosen.items() if not own]
    chosen = {name: own for name, own in chosen.items() if own}
    figures = [f"{name}: {', '.join(map(_said, own))}" for name, own in chosen.items()]
    return Found(
        {name: lost(_worst(own)) >= TWENTY for name, own in chosen.items()},
        "; ".join(figures) or "no table has twins with another framework's defaults",
        [row for own in chosen.values() for row in own],
        missing,
    )


def adjusting_momentum(rows: Sequence[Row]) -> Found:
    """Where an honest conversion drops accuracy by more than 5 points BatchNorm is at fault; and
    wrong momentum does so, else to adjust it mends nothing."""
    momentum = _rated(rows, MOMENTUM)
    if not momentum:
        return Found({}, "no table has twins with momentum left or copied")
    honest = [row for row in _honest(rows) if lost(row) is not None]
    wrong = [row for row in honest if lost(row) > FIVE]
    guilty, figure = _cause(wrong, "that drop so far")
    if not wrong:
        figure = f"none of {len(honest)} honest conversions drops so far"
    parts = {} if guilty is None else {"BatchNorm as the cause": guilty}
    missing = [] if parts else ["BatchNorm as the cause"]
    dropped = [row for row in momentum if lost(row) > FIVE]
    parts["adjusting momentum"] = bool(dropped)
    figure += f"; with wrong momentum {len(dropped)} of {len(momentum)} cells do"
    return Found(parts, figure, [*honest, *momentum], missing)


def dropping(rows: Sequence[Row]) -> Found:
    """Wrong parameters of BatchNorm, momentum aside, drop some model's accuracy by more than 5
    points."""
    own = _rated(rows, (*EPSILON, *STATISTICS))
    if not own:
        return Found({}, "no table has mistakes with BatchNorm's parameters")
    dropped = [row for row in own if lost(row) > FIVE]
    figure = (
        f"{len(dropped)} of {len(own)} cells with such a mistake made on purpose drop so far "
        f"({len(_models(dropped))} of {len(_models(own))} models)"
    )
    return Found({"": bool(dropped)}, figure, own)


def investigating(rows: Sequence[Row]) -> Found:
    """Where an honest conversion's mean squared error is above 1e-3 BatchNorm is at fault. Of
    preprocessing no such error tells: both sides are given one input."""
    own = [r for r in _honest(rows) if r.get("mse") is not None and r["mse"] > INVESTIGATE]
    if not own:
        return Found({}, "no honest conversion with such an error in this table")
    guilty, figure = _cause(own, "with mse above 1e-3")
    if guilty is None:
        return Found({}, f"fewer than {FEWEST_MODELS} models: {figure}")
    missing = ["preprocessing differences, since both sides are given one input"]
    return Found({"BatchNorm as the cause": guilty}, figure, own, missing)


def showing(rows: Sequence[Row]) -> Found:
    """Every mistake with BatchNorm that costs accuracy has a mean squared error above 1e-3, over
    the batches of a test split."""
    own = [r for r in _of(rows, MISTAKEN_ROUTES, "split_mse_mean") if lost(r) is not None]
    costly = [row for row in own if lost(row) > LOST]
    if not costly:
        return Found({}, "no table has a mistake with BatchNorm that costs accuracy")
    below = [row for row in costly if not row["split_mse_mean"] > INVESTIGATE]
    above = [row for row in own if row["split_mse_mean"] > INVESTIGATE and row not in costly]
    figure = (
        f"{len(costly) - len(below)} of {len(costly)} mistakes made on purpose that cost more than "
        f"a point of accuracy ({len(_models(costly))} models) have a mean above 1e-3, the least "
        f"{min(row['split_mse_mean'] for row in costly):.2g}; {len(above)} more above it cost less"
    )
    return Found({"": not below}, figure, own)

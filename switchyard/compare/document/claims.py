"""What the source document claims of conversion, judged by tables. Pure: rows in, judgements out.

The document is "PyTorch to TensorFlow Model Conversion: AI-Optimized Technical Reference"; each
``said`` is its own wording, shortened; ``The reverse`` is that of the claim before it and not the
document's: what a fault does, where that says what is at fault. A claim is judged for one version
set at a time, by the rows of that set's table alone, and only by rows that were measured. A claim
about one package rests on a derived set (``BASE+PACKAGE==VERSION``), in which that package alone
was swapped, with what is built for one version of it.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Iterable, Mapping, Optional, Sequence

from switchyard.compare import circumstances, statistics
from switchyard.compare.document import hybrid, modes, swaps
from switchyard.compare.document.band import Band
from switchyard.compare.document.swaps import Abouts
from switchyard.vocabulary import PASSING, is_mistake

Row = Mapping[str, Any]

#: Version set -> the rows of its table.
Tables = Mapping[str, Sequence[Row]]

HOLDS, DOES_NOT_HOLD, NOT_MEASURED = "holds", "does not hold", "not measured"


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What the table of ``version_set`` says of one claim.

    ``verdict``: holds, does not hold, holds for ..., or not measured. ``figure``: the number it
    rests on, in words. ``rows``: ``MODEL-ROUTE`` of every row it rests on.
    """

    verdict: str
    figure: str
    rows: tuple[str, ...] = ()
    version_set: str = ""
    claim: str = ""


Judge = Callable[[str, Tables, Abouts], Judgement]


@dataclasses.dataclass(frozen=True)
class Claim:
    """``said`` is the document's; ``judge(version_set, tables, abouts)`` judges it."""

    name: str
    said: str
    judge: Judge


def _not_measured(why: str) -> Judgement:
    return Judgement(NOT_MEASURED, why)


def _named(rows: Iterable[Row]) -> tuple[str, ...]:
    return tuple(f"{row['model']}-{row['route']}" for row in rows)


def _passes(row: Row) -> bool:
    return row.get("verdict") in PASSING


def _counted(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if statistics.is_counted(row)]


def _alone(judge: Callable[[Sequence[Row]], Judgement]) -> Judge:
    """Of a claim that the set's own table says all of."""
    return lambda version_set, tables, abouts: judge(tables[version_set])


def _for(parts: Mapping[str, bool], missing: Sequence[str] = ()) -> str:
    """The verdict over several things that a claim speaks of at once, ``missing`` being those that
    no row measured: what was not measured does not hold."""
    good = [name for name, holds in parts.items() if holds]
    return HOLDS if len(good) == len(parts) and not missing else _for_each(parts)


def _for_each(parts: Mapping[str, bool]) -> str:
    """The same where the parts are no more than instances of what a claim speaks of."""
    good = [name for name, holds in parts.items() if holds]
    return f"holds for {', '.join(good)}" if good else DOES_NOT_HOLD


def _with_missing(figure: str, missing: Sequence[str]) -> str:
    return f"{figure}; not measured: {', '.join(missing)}" if missing else figure


def _is_export(row: Row) -> bool:
    """One exporter and ONNX Runtime, nothing between: what the document calls ONNX export."""
    hops = (row.get("hops") or "").split(">")
    plain = len(hops) == 1 and hops[0] != "" and not is_mistake(row.get("hops"))
    return plain and row["route"].endswith("-ort")


def _rate_is(share: float, chosen: Callable[[Row], bool], what: str) -> Judge:
    """The share of models that a route carries is ``share``: that lies in the route's 95%
    interval (Wilson). A claim of all of them holds only where none failed."""

    def judge(table: Sequence[Row]) -> Judgement:
        rows = _counted(row for row in table if chosen(row))
        if not rows:
            return _not_measured(f"no route of {what} in this table")
        parts, figures = {}, []
        for route in statistics.route_order(rows):
            own = [row for row in rows if row["route"] == route]
            passed = sum(map(_passes, own))
            low, high = statistics.wilson_interval(passed, len(own))
            parts[route] = low <= share <= high if share < 1 else passed == len(own)
            side = "" if parts[route] else ", more" if passed > share * len(own) else ", less"
            figures.append(
                f"{route} {passed} of {len(own)} "
                f"({100 * passed / len(own):.0f}%, {100 * low:.1f} to {100 * high:.1f}%{side})"
            )
        return Judgement(_for(parts), "; ".join(figures), _named(rows))

    return _alone(judge)


def _never(models: Sequence[str]) -> Judge:
    """No export carries any of ``models``, also at another size where one is declared: an export
    of one fixed size carries none of what varies with it. A few models prove nothing of all that
    is built alike, so that the verdict always names them."""

    def judge(table: Sequence[Row]) -> Judgement:
        rows = _counted(r for r in table if r["model"] in models and _is_export(r))
        if not rows:
            return _not_measured("none of these models in this table")
        fixed = ("wrong", "failed", "specialised")
        carried = [r for r in rows if _passes(r) and r.get("dynamic") not in fixed]
        own = [r for r in rows if r.get("verdict") == "investigate"]
        other = [r for r in rows if _passes(r) and r.get("dynamic") == "wrong"]
        here = dict.fromkeys(row["model"] for row in rows)
        parts = {model: all(row["model"] != model for row in carried) for model in here}
        figure = f"{len(carried)} of {len(rows)} exports pass"
        if carried:
            figure += f" ({', '.join(_named(carried))})"
        if own:
            figure += f"; {len(own)} answer wrongly without a word"
        if other:
            figure += f"; {len(other)} do so at another size alone"
        return Judgement(_for_each(parts), figure, _named(rows))

    return _alone(judge)


GRID_SAMPLES = ("grid_sample", "grid_sample_aligned", "grid_sample_volume")

#: The document's 90 to 110% of native performance, as latency over torch eager's.
_AS_FAST = (1 / 1.1, 1 / 0.9)


def _as_fast_as_native(table: Sequence[Row]) -> Judgement:
    """Holds for a route where the middle half of its models lies in the band."""
    rows = [
        row for row in table
        if _is_export(row) and _passes(row) and row.get("ratio_to_native")
        and statistics.is_timed(row)
    ]  # fmt: skip
    if not rows:
        return _not_measured("no latency of several launches beside torch eager's in this table")
    low, high = _AS_FAST
    parts, figures = {}, []
    for route in dict.fromkeys(row["route"] for row in rows):
        ratios = [row["ratio_to_native"] for row in rows if row["route"] == route]
        quarter, three = (statistics.quantile(ratios, q) for q in (0.25, 0.75))
        inside = sum(low <= ratio <= high for ratio in ratios)
        parts[route] = low <= quarter and three <= high
        figures.append(
            f"{route} {statistics.geometric_mean(ratios):.2f} of torch eager's latency (middle "
            f"half {quarter:.2f} to {three:.2f}), {inside} of {len(ratios)} models in the band"
        )
    return Judgement(_for(parts), "; ".join(figures), _named(rows))


def _swap_breaks(
    fits: Callable[[swaps.Update], bool], what: str, chosen: Callable[[Row], bool]
) -> Judge:
    """Some cell of the ``chosen`` that passed before the update of one package does not after."""

    def judge(version_set: str, tables: Tables, abouts: Abouts) -> Judgement:
        holds, figure, rows = swaps.breaks(tables, version_set, abouts, fits, what, chosen)
        if holds is None:
            return _not_measured(figure)
        return Judgement(HOLDS if holds else DOES_NOT_HOLD, figure, _named(rows))

    return judge


def _opsets(table: Sequence[Row]) -> Judgement:
    """tf2onnx at opset 16 breaks what it carries at opset 11."""
    rows = _counted(table)
    old = {row["model"]: row for row in rows if row["route"] == "manual-tf2onnx11-ort"}
    new = {row["model"]: row for row in rows if row["route"] == "manual-tf2onnx16-ort"}
    both = [model for model in old if model in new]
    if not both:
        return _not_measured("needs manual-tf2onnx11-ort and manual-tf2onnx16-ort in one table")
    lost = [m for m in both if _passes(old[m]) and not _passes(new[m])]
    unsafe = [m for m in both if not _passes(old[m])]
    parts = {"16 breaks": bool(lost), "11 is safe": not unsafe}
    figure = f"of {len(both)} models {len(lost)} pass at 11 alone, {len(unsafe)} do not pass at 11"
    return Judgement(_for(parts), figure, _named([*(old[m] for m in both), *map(new.get, both)]))


def _preprocessing(table: Sequence[Row]) -> Judgement:
    """Which pairs of preprocessing that people have give the model another input, and how far
    torch's own answer moves with it: a model in two lines of a route is one pair."""
    rows = {row["model"]: row for row in table if row.get("preprocess_mse") is not None}
    if not rows:
        return _not_measured("no model that takes pictures in this table")
    # a pair whose inputs agree goes on to the route, and a set that cannot host that keeps no
    # figure of it: those of the others alone would say that every pair differs
    # (a picture goes to TensorFlow alone, so that what is exported takes none)
    families = {row.get("family") for row in rows.values()} - {None, ""}
    others = {*rows, *(row["model"] for row in table if _is_export(row))}
    missing = list(dict.fromkeys(
        row["model"] for row in table
        if row.get("family") in families and row["model"] not in others
    ))  # fmt: skip
    apart = {name: row["stage"] == "preprocess" for name, row in rows.items()}
    figure = f"{sum(apart.values())} of {len(rows)} pairs differ beyond the bands"
    said = []
    for row in (row for name, row in rows.items() if apart[name]):
        top1 = row.get("preprocess_top1_agreement")
        moved = f"best class stays on {100 * top1:.0f}%" if top1 is not None else "answer moves"
        output = row.get("preprocess_output_nmse")
        moved += f", output nmse {output:.2g}" if output is not None else ""
        said.append(f"{row.get('preprocess_differs') or row['model']} ({moved})")
    figure = _with_missing(": ".join([figure, "; ".join(said)] if said else [figure]), missing)
    return Judgement(_for(apart, missing), figure, _named(rows.values()))


def _by_route(route: str) -> Callable[[Row], bool]:
    return lambda row: row["route"] == route


def _is_no_baseline(row: Row) -> bool:
    """The native baseline is what others are held against, so that it cannot break."""
    return row["route"] != hybrid.NATIVE


def _judgement(found: modes.Found) -> Judgement:
    if not found.parts:
        return _not_measured(found.figure)
    figure = _with_missing(found.figure, found.missing)
    return Judgement(_for(found.parts, found.missing), figure, _named(found.rows))


def _found(find: Callable[[Sequence[Row]], modes.Found]) -> Judge:
    return _alone(lambda table: _judgement(find(table)))


def _hybrid(version_set: str, tables: Tables, abouts: Abouts) -> Judgement:
    build = circumstances.torch_build(abouts.get(version_set), version_set)
    return _judgement(hybrid.hybrid(tables[version_set], build))


CLAIMS: tuple[Claim, ...] = (
    Claim("export-rate", "ONNX export: 70% success rate", _rate_is(0.7, _is_export, "export")),
    Claim(
        "weight-transfer-rate", "Weight transfer: 60% success rate",
        _rate_is(0.6, _by_route("weight-transfer-tf"), "weight transfer"),
    ),
    Claim(
        "manual-rate", "Manual recreation: 100% success rate",
        _rate_is(1.0, _by_route("manual-tf"), "manual recreation"),
    ),
    Claim(
        "hybrid", "Hybrid deployment: 100% success, 2x memory, 2 to 5 ms a request",
        _hybrid,
    ),
    Claim(
        "ort-as-fast", "ONNX Runtime: 90-110% of native framework performance",
        _alone(_as_fast_as_native),
    ),
    Claim("opset", "Default ONNX opset 16 breaks tf2onnx: use opset 11", _alone(_opsets)),
    Claim(
        "torch-2.1", "PyTorch 2.1 breaks ONNX export for certain models",
        _swap_breaks(
            swaps.to_torch_2_1, "put torch 2.1 in an older one's place", _is_export
        ),
    ),
    Claim(
        "grid-sample", "grid_sample: 0% success rate", _never(GRID_SAMPLES)
    ),
    Claim(
        "custom-operators", "Custom operators = automatic ONNX failure",
        _never(("custom_operator",)),
    ),
    Claim(
        "control-flow", "if statements based on tensor values: 0% success rate",
        _never(("data_dependent_if", "while_on_a_value", "torch_cond", "scripted_if")),
    ),
    Claim(
        "variable-loops", "Variable sequence length loops: 0% success rate",
        _never(("loop_over_length", "gru_cell_to_longest", "lstm_packed")),
    ),
    Claim(
        "eval-mode", "Forgetting model.eval() silently breaks accuracy",
        _found(modes.forgetting_eval),
    ),
    Claim(
        "momentum", "tf_momentum = 1 - pytorch_momentum",
        _found(modes.converted_momentum),
    ),
    Claim(
        "momentum-67", "92% accuracy drops to 67% after conversion: different momentum conventions",
        _found(modes.drop_to_67),
    ),
    Claim(
        "conventions-20",
        "Batch normalization: different parameter conventions cause 20%+ accuracy drops",
        _found(modes.conventions),
    ),
    Claim(
        "adjust-momentum",
        "Accuracy drops > 5%: verify batch norm parameters, adjust momentum values",
        _found(modes.adjusting_momentum),
    ),
    Claim(
        "batch-norm-drops",
        "The reverse: wrong batch norm parameters let accuracy drop by > 5%",
        _found(modes.dropping),
    ),
    Claim(
        "mse-investigate",
        "MSE > 1e-3: investigate batch normalization or preprocessing differences",
        _found(modes.investigating),
    ),
    Claim(
        "batch-norm-shows", "The reverse: wrong batch normalization shows as MSE > 1e-3",
        _found(modes.showing),
    ),
    Claim(
        "preprocessing", "Input preprocessing: framework-specific normalization differences",
        _alone(_preprocessing),
    ),
    Claim(
        "bands", "MSE < 1e-5: excellent conversion",
        _found(Band("below 1e-5", 0, 1e-5, share=0.0)),
    ),
    Claim(
        "bands-acceptable", "MSE < 1e-3: acceptable for most use cases",
        _found(Band("from 1e-5 to 1e-3", 1e-5, 1e-3, share=0.5)),
    ),
    Claim(
        "minor-updates", "Minor version updates introduce breaking changes",
        _swap_breaks(swaps.is_minor, "keep the major version", _is_no_baseline),
    ),
)  # fmt: skip


def judge(tables: Tables, abouts: Optional[Abouts] = None) -> list[Judgement]:
    """Every claim by every set's table, claim by claim; without any table it has one judgement, of
    no set. ``abouts``: how each table was made, which claims about one package need.
    """
    tables = {name: statistics.in_own_precision(rows) for name, rows in tables.items()}
    found: list[Judgement] = []
    for claim in CLAIMS:
        judged = [claim.judge(name, tables, abouts or {}) for name in tables]
        found += [
            dataclasses.replace(one, version_set=name, claim=claim.name)
            for name, one in zip(tables, judged)
        ] or [Judgement(NOT_MEASURED, "no table", claim=claim.name)]
    return found

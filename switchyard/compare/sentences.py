"""What is said of a comparison as a whole, in sentences that every report shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from switchyard.compare import tallies
from switchyard.compare.comparison import Comparison
from switchyard.compare.pairing import Table
from switchyard.compare.saying import TITLES
from switchyard.compare.verdicts import FINDINGS, MEMORY, WORSE
from switchyard.tables.schema import one_line
from switchyard.vocabulary import NATIVE, PASSING

if TYPE_CHECKING:
    import pandas

#: Named before the others, since a list of sixty packages is cut and these decide.
_FIRST = (
    "python", "torch", "torchvision", "tensorflow", "keras", "tf-keras", "onnx", "onnxruntime",
    "onnxscript", "onnx-ir", "onnxsim", "onnxslim", "onnx2tf", "tf2onnx", "ai-edge-litert",
    "numpy", "protobuf",
)  # fmt: skip


def cells(count: int) -> str:
    return f"{count} cell" if count == 1 else f"{count} cells"


def described(table: Table) -> str:
    """``774 cells, torch2.13-tf2.21, quick tier, started 2026-11-22T22:59:26+00:00``."""
    said = [cells(len(table.cells)), ", ".join(map(one_line, table.sets))]
    if table.tier:
        said.append(f"{table.tier} tier" + (", not the whole of it" if table.narrowed else ""))
    about = table.about or {}
    if about.get("started"):
        said.append(f"started {about['started']}")
    if about.get("state") not in (None, "done"):
        said.append(f"a run that is {about['state']}")
    if not about:
        said.append("no run.json beside it")
    return ", ".join(said)


#: What ``timing`` says of a cell whose time was compared.
_COMPARED = ("as-before", "ambiguous", "slower", "faster")

_SAME_TABLE = "Before and after are one and the same table."


def around(comparison: Comparison) -> list[str]:
    """Sentences: pairing, what was left out, packages, other conditions, timing, memory."""
    before, after = comparison.before, comparison.after
    across = "version_set" not in comparison.by and before.sets != after.sets
    said = [
        f"Paired by {', '.join(comparison.by)}"
        + (f": {before.sets[0]} against {after.sets[0]}." if across else ".")
    ]
    if before.label == after.label or (before.about and before.about == after.about):
        said.append("Both are of one run." if across else _SAME_TABLE)
    if before.tier != after.tier and before.tier and after.tier:
        said.append(
            f"Tiers differ ({before.tier} → {after.tier}): only cells of both are compared."
        )
    for reason, count in comparison.outside.items():
        said.append(f"{cells(count)} left out: {reason}.")
    for pattern, count in comparison.ignored.items():
        found = cells(count) if count else "no cell at all; is it spelt as MODEL-ROUTE"
        said.append(f"Ignored by {pattern!r}: {found}{'.' if count else '?'}")
    said.append(packages(comparison))
    said += [f"Note: {condition}." for condition in comparison.conditions]
    said += timing(comparison) + memory(comparison)
    return said


def packages(comparison: Comparison, most: int = 20) -> str:
    """One sentence on what is installed otherwise."""
    changes = comparison.packages
    if changes is None:
        return "Packages: not recorded on both sides, so what differs is not known."
    if not changes:
        return "Packages: none differs."
    place = {name: number for number, name in enumerate(_FIRST)}
    changes = sorted(changes, key=lambda change: place.get(change.package, len(place)))
    several = len({change.environment for change in changes}) > 1
    named = [
        (f"{change.environment}: " if several else "")
        + f"{change.package} {change.before or 'absent'} → {change.after or 'absent'}"
        for change in changes
    ]
    more = f" and {len(named) - most} more" if len(named) > most else ""
    return f"Packages that differ ({len(named)}): {', '.join(named[:most])}{more}."


def timing(comparison: Comparison) -> list[str]:
    """Whether times were compared, and if not why."""
    shown = comparison.cells[["timing", "timing_why", "route"]]
    timed = _timed(comparison)
    in_turn = comparison.in_turn
    said = []
    if timed:
        level = round(100 * comparison.thresholds.latency_confidence)
        if in_turn:
            how = "each by its own time, over several launches that took turns in one run"
        else:
            how = "by the ratio to torch eager over several launches"
        said.append(f"Timing: {cells(timed)} {how}, {level}% intervals.")
    unfit = shown[(shown["timing"] == "not-comparable") & (shown["route"] != NATIVE)]
    for reason, count in unfit["timing_why"].value_counts().items():
        said.append(f"Timing not comparable in {cells(count)}: {reason}.")
    if comparison.native:
        native = comparison.native
        said.append(
            f"torch eager itself took {native['ratio']:.2f} times as long "
            f"(geometric mean of {native['models']} models)"
            + ("; that is divided out." if timed and not in_turn else ".")
        )
    return said


def ambiguous(comparison: Comparison) -> str:
    """Cells whose time seems to have changed without anything to hold it up; "" where there are
    none."""
    own = comparison.cells[comparison.cells["timing"] == "ambiguous"]
    if not len(own):
        return ""
    slower = int((own["change"] > 1).sum())
    return (
        f"ambiguous timing: {cells(len(own))} beyond {comparison.thresholds.latency_ratio:g} "
        f"times ({slower} slower, {len(own) - slower} faster) on too little evidence; more "
        "launches of both runs would decide (--launches)."
    )


def memory(comparison: Comparison) -> list[str]:
    """How memory moved over all cells that pass on both sides: a new release of a framework moves
    every one of them, which hundreds of lines would not show."""
    said = []
    passing = comparison.cells["verdict"].isin([*FINDINGS, "same"])
    for reason, count in comparison.cells["memory_why"].value_counts().items():
        if reason:
            said.append(f"Memory not judged in {cells(count)}: {reason}.")
    for name, called in MEMORY.items():
        both = comparison.cells.loc[passing, [f"before_{name}", f"after_{name}"]].dropna()
        both = both[(both > 0).all(axis=1)]
        if len(both) > 1:
            ratios = both[f"after_{name}"] / both[f"before_{name}"]
            low, middle, high = ratios.quantile([0.25, 0.5, 0.75])
            said.append(
                f"Memory, {called}: {middle:.2f} times in {cells(len(both))} "
                f"(median; middle half {low:.2f} to {high:.2f})."
            )
    with_program = int(comparison.cells["memory_with_program"].sum())
    if with_program:
        own = comparison.cells["memory_with_program"] & comparison.cells["memory_ambiguous"]
        unsure = int(own.sum())
        said.append(
            f"Memory of {cells(with_program)} counts the pages of program files, since one of the "
            "tables does not tell them apart, and is not judged: the same packages installed anew "
            f"can differ by more than a tenth there. Ambiguous for that: {cells(unsure)} beyond "
            f"{comparison.thresholds.memory_ratio:g} times."
        )
    built = comparison.cells["memory_other_build"] & ~comparison.cells["memory_with_program"]
    if built.any():
        unsure = int((built & comparison.cells["memory_ambiguous"]).sum())
        said.append(
            f"Memory of {cells(int(built.sum()))} whose processes hold torch is not judged, since "
            f"one side's torch is another build. Ambiguous for that: {cells(unsure)}."
        )
    return said


def share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else ""


def changed(was: object, now: object, arrow: str) -> str:
    return str(was) if was == now else f"{was}{arrow.strip()}{now}"


def overall(comparison: Comparison) -> str:
    """The rates of both sides over all cells that both planned, in a sentence, and what is not
    among these cells."""
    ignored = any(comparison.ignored.values())
    if ignored and not len(comparison.cells):
        return "All cells were ignored: none is left to compare."
    sums = comparison.routes.sum(numeric_only=True)
    planned, mistakes = int(sums["planned"]), tallies.mistakes(comparison.cells)
    extra = [f"{int(sums[name])} {name}" for name in ("gone", "new") if sums[name]]
    if mistakes:
        extra.append(f"{mistakes} of mistakes made on purpose")
    more = f" Not among them: {', '.join(extra)}." if extra else ""
    if not planned:
        left = "that was not ignored " if ignored else ""
        return f"No cell {left}is planned in both tables.{more}"
    said = []
    for side in ("before", "after"):
        passed, attempted = int(sums[f"{side}_passed"]), int(sums[f"{side}_attempted"])
        of = [f"{share(passed, planned)} of planned"]
        if attempted:
            of.insert(0, f"{share(passed, attempted)} of attempted")
        said.append(f"{side} {passed} passed ({', '.join(of)})")
    return f"Of {cells(planned)} planned in both: {'; '.join(said)}.{more}"


def heading(verdict: str, groups: Sequence[pandas.DataFrame]) -> str:
    """``broke: 3 cells passing before, and not now``, how many of them pass as before and failed
    only to be measured, and how many count for nothing."""
    aside = []
    side, words = {
        "broke": ("after", "pass as before, and measuring them failed"),
        "fixed": ("before", "passed before as well, and measuring them failed"),
    }.get(verdict, ("", ""))
    if side:
        passing = sum(int(group[f"{side}_verdict"].isin(PASSING).sum()) for group in groups)
        aside += [f"{passing} {words}"] if passing else []
    mistakes = sum(tallies.mistakes(group) for group in groups)
    if mistakes and verdict in WORSE:
        aside.append(f"{mistakes} by mistakes made on purpose, which count for nothing")
    said = f"{verdict}: {cells(sum(map(len, groups)))} {TITLES[verdict]}"
    return f"{said} ({'; '.join(aside)})" if aside else said


def conclusion(comparison: Comparison) -> str:
    if comparison.status == 2:
        return f"Nothing could be compared{_why_nothing(comparison)}."
    slower = comparison.slower_routes
    routes = f"{slower} route{'s' if slower > 1 else ''} slower over all models"
    worse = [text for text, count in ((cells(comparison.worse), comparison.worse),
                                      (routes, slower)) if count]  # fmt: skip
    if worse:
        said = f"Worse: {', and '.join(worse)}"
        return f"{said}; {allowed}." if (allowed := _tolerated(comparison)) else f"{said}."
    judged = {"time": _timed(comparison), "memory": _weighed(comparison)}
    unjudged = [name for name, found in judged.items() if not found]
    aside = [_tolerated(comparison)]
    if count := comparison.counts.get("not-comparable"):
        aside.append(f"{cells(count)} could not be compared")
    if unjudged:
        both = len(unjudged) > 1
        said = f"{unjudged[0]} was not judged"
        aside.append("neither time nor memory was judged" if both else said)
    return "; ".join(["Nothing became worse", *filter(None, aside)]) + "."


def _why_nothing(comparison: Comparison) -> str:
    """By which part of a cell's name the two tables have nothing in common, if that is why."""
    for column in comparison.by:
        old, new = (set(side.cells[column]) for side in (comparison.before, comparison.after))
        if old and new and not old & new:
            called = column.replace("_", " ")
            few = all(len(names) <= 3 for names in (old, new))
            named = " against ".join(", ".join(map(one_line, sorted(n))) for n in (old, new))
            return f": the tables have no {called} in common" + (f" ({named})" if few else "")
    return ""


def _tolerated(comparison: Comparison) -> str:
    """What is worse and was allowed to be; "" of nothing."""
    found = []
    if comparison.tolerated:
        names = " or ".join(name for name in comparison.counts if name in comparison.allowed)
        found.append(f"{cells(comparison.tolerated)} {names}")
    if routes := comparison.tolerated_routes:
        found.append(f"{routes} route{'s' if routes > 1 else ''} slower over all models")
    return f"{' and '.join(found)}, as allowed" if found else ""


def _timed(comparison: Comparison) -> int:
    """Cells whose time was compared."""
    return int(comparison.cells["timing"].isin(_COMPARED).sum())


def _weighed(comparison: Comparison) -> bool:
    """Whether the memory of any cell was judged."""
    shown = comparison.cells
    known = shown["memory_why"].eq("") & ~shown["memory_with_program"]
    known &= ~shown["memory_other_build"]
    return any(
        (known & shown[f"before_{name}"].notna() & shown[f"after_{name}"].notna()).any()
        for name in MEMORY
    )


def interval(row: Mapping[str, Any]) -> str:
    """``1.01 to 1.08``."""
    return f"{row['low']:.2f} to {row['high']:.2f}"

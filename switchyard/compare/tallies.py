"""Counts over cells: rates and stages by route, who passes where others do not, and causes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from switchyard.compare.verdicts import MEMORY
from switchyard.vocabulary import PASSING, STAGES, UNCOUNTED, is_mistake, signature_of, stage_base

if TYPE_CHECKING:
    import numpy
    import pandas

#: The stages whose passing is counted; ``compare`` is passed by what agrees with torch.
FUNNEL = ("convert", "load", "run", "compare")

#: What tells one route from another; the first where several sets are compared.
GROUPS = ("version_set", "device", "precision", "route")

#: By what cells of one finding are ordered, and whether upwards.
_SIZES = {
    "less-accurate": ("after_error", False),
    "more-accurate": ("before_error", False),
    "slower": ("change", False),
    "faster": ("change", True),
}


def by_route(judged: pandas.DataFrame, with_sets: bool) -> pandas.DataFrame:
    """A row a route of each device and precision (and version set): over the cells that both
    tables planned, ``planned``, and of each side how many were ``attempted`` (judged, neither
    ``unavailable`` nor ``void``, and not stopped at ``preprocess``, where no converter has been
    asked, as ``statistics.is_counted``), how many ``passed`` and how many got past each
    stage of ``FUNNEL``. Beside them ``gone`` and ``new``, which are in none of the others.
    """
    import numpy
    import pandas

    judged = without_mistakes(judged)
    common = ~judged["verdict"].isin(["new", "gone"])
    # an integer: sums of booleans are objects in some pandas
    counted: dict[str, Any] = {"planned": common.astype(int)}
    for name in ("gone", "new"):
        counted[name] = (judged["verdict"] == name).astype(int)
    for side in ("before", "after"):
        done = common & (judged[f"{side}_state"] == "done")
        verdict = judged[f"{side}_verdict"]
        judged_here = done & (verdict != "")
        passed = judged_here & verdict.isin(list(PASSING))
        asked = (judged[f"{side}_stage"] != "preprocess") & ~verdict.isin(list(UNCOUNTED))
        counted[f"{side}_attempted"] = (judged_here & asked).astype(int)
        counted[f"{side}_passed"] = passed.astype(int)
        rank = _ranks(judged[f"{side}_stage"])
        for stage in FUNNEL:
            past = passed | (judged_here & (rank > STAGES.index(stage)))
            counted[f"{side}_past_{stage}"] = past.astype(int)
    groups = list(GROUPS if with_sets else GROUPS[1:])
    frame = pandas.DataFrame({**{name: judged[name] for name in groups}, **counted})
    found = frame.groupby(groups, sort=False, as_index=False, observed=True).sum()
    # devices and precisions in the order of the table, routes in theirs
    places = [pandas.factorize(found[name])[0] for name in groups[:-1]]
    order = {route: place for place, route in enumerate(_order(judged))}
    places.append(found["route"].map(order).to_numpy())
    return found.iloc[numpy.lexsort(places[::-1])].reset_index(drop=True)


def mistakes(judged: pandas.DataFrame) -> int:
    """How many cells are of mistakes on purpose, which ``by_route`` and ``wins`` leave out."""
    return len(judged) - len(without_mistakes(judged))


def is_of_mistake(route: str) -> bool:
    """Whether some hop of a route is a mistake on purpose."""
    return is_mistake(route.replace("-", ">"))


def without_mistakes(cells: pandas.DataFrame) -> pandas.DataFrame:
    """The cells but those of mistakes on purpose, which no converter won or lost."""
    known = {route: is_of_mistake(route) for route in cells["route"].unique()}
    return cells[~cells["route"].map(known).astype(bool)] if any(known.values()) else cells


def _ranks(stages: pandas.Series) -> numpy.ndarray:
    """The place of each stage in ``STAGES``; -1 for none."""
    import numpy
    import pandas

    codes, values = pandas.factorize(stages)
    ranks = [STAGES.index(stage_base(value)) if value else -1 for value in values]
    return numpy.array([*ranks, -1])[codes]


def _order(cells: pandas.DataFrame) -> list[str]:
    """Routes as ``statistics.route_order`` has them, without a loop over a million rows."""
    of_model = cells.groupby("model", sort=False)["route"]
    fullest_first = of_model.size().sort_values(ascending=False, kind="stable").index
    routes = of_model.unique()
    return list(dict.fromkeys(route for model in fullest_first for route in routes[model]))


def wins(cells: pandas.DataFrame) -> tuple[list[str], numpy.ndarray]:
    """Who wins where: routes, and a square of how many models the row's route passes that
    the column's does not.

    Over models (in a version set, device and precision) that both routes were judged on;
    ``unavailable``, ``void`` and what stopped at ``preprocess`` count for neither. The diagonal
    is 0.
    """
    import numpy
    import pandas

    counted = cells[
        (cells["state"] == "done") & (cells["verdict"] != "") & (cells["stage"] != "preprocess")
        & ~cells["verdict"].isin(UNCOUNTED)
    ]  # fmt: skip
    counted = without_mistakes(counted)
    routes = _order(counted)
    unit = numpy.zeros(len(counted), "int64")
    for name in ("version_set", "device", "precision", "model"):
        codes, values = pandas.factorize(counted[name])
        unit = unit * max(1, len(values)) + codes
    unit, units = pandas.factorize(unit)
    place = counted["route"].map({route: i for i, route in enumerate(routes)}).to_numpy(int)
    passed = numpy.zeros((len(units), len(routes)), "float32")
    failed = numpy.zeros_like(passed)
    good = counted["verdict"].isin(list(PASSING)).to_numpy(bool)
    passed[unit[good], place[good]] = 1
    failed[unit[~good], place[~good]] = 1
    return routes, (passed.T @ failed).round().astype(int)


def clusters(judged: pandas.DataFrame, verdict: str) -> list[pandas.DataFrame]:
    """The cells of one verdict in groups that share one cause, the largest first.

    The cause is the signature after (before, for what is ``fixed``: the failure that went), or that
    of the error of measuring.
    Nothing says that two cells without a signature share a cause, so each stands alone;
    findings about passing cells have no cause and form one group, the largest change first.
    """
    import pandas

    own = judged[judged["verdict"] == verdict]
    if not len(own):
        return []
    if verdict in ("more-memory", "less-memory"):
        moved = pandas.DataFrame({
            name: own[f"after_{name}"].astype(float) - own[f"before_{name}"].astype(float)
            for name in MEMORY
        })  # fmt: skip
        most = moved.max(axis=1) if verdict == "more-memory" else -moved.min(axis=1)
        return [own.loc[most.sort_values(ascending=False, kind="stable").index]]
    if verdict in _SIZES:
        column, ascending = _SIZES[verdict]
        return [own.sort_values(column, ascending=ascending, kind="stable")]
    side = {"broke": "after", "changed-failure": "after", "fixed": "before"}.get(verdict)
    if side is None:
        return [own]
    cause = own[f"{side}_signature"]
    # of what passed and could not be measured
    cause = cause.where(cause != "", own[f"{side}_measure_message"].map(signature_of))
    unsaid = cause == ""
    if unsaid.any():
        alone = ["\0" + str(place) for place in own.index[unsaid]]
        cause = cause.astype(object)
        cause[unsaid] = alone
    groups = [group for _, group in own.groupby(cause, sort=False)]
    return sorted(groups, key=len, reverse=True)

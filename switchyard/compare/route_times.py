"""How the time of each route moved over all its models.

What slows down a runtime by a tenth slows down no cell by enough to be told from chance, and yet
every one of them. Here each model counts once, by its change, and the sample is the models: their
geometric mean, the one mean that says the same whichever side is divided by which (Fleming and
Wallace, "How not to lie with statistics", CACM 29, 1986), with Student's interval over the logs.

Only of version sets that took turns: of two runs the mean of a route is how the machine treated
that kind of work on the one day and on the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from switchyard.compare import tallies
from switchyard.compare.intervals import contrast
from switchyard.compare.thresholds import Thresholds
from switchyard.compare.timing import LEAST_SPREAD, statuses

if TYPE_CHECKING:
    import pandas

#: Fewer models are no sample of a route's.
FEWEST_MODELS = 5


def by_route(
    judged: pandas.DataFrame, routes: pandas.DataFrame, thresholds: Thresholds
) -> pandas.DataFrame:
    """A row a route that was timed in ``FEWEST_MODELS`` or more, in the order of ``routes``
    (``tallies.by_route``): ``models``, ``change`` (after over before), ``low`` and ``high``, and
    ``status``, one of ``timing.Timing``'s. Mistakes on purpose are nobody's route.
    """
    import numpy

    groups = [name for name in tallies.GROUPS if name in routes]
    timed = tallies.without_mistakes(judged[judged["change"] > 0])
    logs = timed.assign(log=numpy.log(timed["change"].to_numpy(float)))
    found = logs.groupby(groups, sort=False, observed=True)["log"].agg(["count", "mean", "var"])
    found = routes[groups].merge(found[found["count"] >= FEWEST_MODELS], on=groups)
    count, mean = found["count"].to_numpy(), found["mean"].to_numpy()
    variance = numpy.maximum(found["var"].to_numpy(), 2 * LEAST_SPREAD**2)
    estimate, half, p = contrast(
        (1,), *(part[None] for part in (count, mean, variance, count - 1)),
        thresholds.latency_confidence,
    )  # fmt: skip
    return found[groups].assign(
        models=count,
        change=numpy.exp(estimate),
        low=numpy.exp(estimate - half),
        high=numpy.exp(estimate + half),
        status=statuses(
            estimate, p, thresholds.route_latency_ratio, thresholds.latency_confidence
        ),
    )

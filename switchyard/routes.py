"""The yard as a graph: formats are nodes, hops are edges, runtimes hang on nodes.

A route is a path of hops from torch that ends in a runtime. Pure: works on the descriptions
of hops and runtimes, imports no converter.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Dict, Iterable, Iterator, Mapping, Sequence, Tuple

from switchyard.vocabulary import COSTS, NATIVE, UnknownName, is_mistake

#: Shorter names that ``named`` takes, where a table has the whole path.
ALIASES = {"keras-onnx-ort": "manual-keras-onnx-ort"}

#: Routes that are named of a hop that no cell of a run has; beyond that a number.
MOST_NAMED = 4

#: No useful road is longer than the whole circle with a rewriter on either side.
LONGEST = 5


@dataclasses.dataclass(frozen=True)
class Route:
    """``hops`` from torch to the format that ``runtime`` loads; ``tier`` is the dearest of theirs.

    ``meant_for``: each hop's say, from a model's description, on whether it takes the model.
    ``trains``: whether a cell of it may also be asked how what arrived trains.
    """

    name: str
    hops: Tuple[str, ...]
    runtime: str
    tier: str
    meant_for: Tuple[Callable[[Mapping[str, Any]], bool], ...] = ()
    trains: bool = False

    def takes(self, model: Mapping[str, Any]) -> bool:
        """Whether every hop is meant for the model of this description."""
        return all(takes(model) for takes in self.meant_for)

    @property
    def prefixes(self) -> Tuple[Tuple[str, ...], ...]:
        """Every non-empty prefix of the hops, shortest first: what has to be made."""
        return tuple(self.hops[: i + 1] for i in range(len(self.hops)))


def _dearest(tiers: Sequence[str]) -> str:
    return max(tiers, key=COSTS.index, default="smoke")


def _paths(hops: Mapping[str, object], every: bool) -> Iterator[Tuple[Tuple[str, ...], str]]:
    """Each path with the format it ends in; by default only hops behind a hop they name."""
    frontier = [((), "torch")]
    while frontier:
        path, format = frontier.pop(0)
        yield path, format
        if len(path) == LONGEST:
            continue
        for hop in hops.values():
            wanted = every or not path or path[-1] in hop.after
            if hop.source == format and hop.name not in path and wanted:
                frontier.extend((path + (hop.name,), target) for target in hop.targets)


def routes(
    hops: Mapping[str, object], runtimes: Mapping[str, object], every: bool = False
) -> Dict[str, Route]:
    """The routes of a yard by name, the native baseline first.

    ``every``: also those that fit by format but are not taken unless asked for by name.
    """
    found: Dict[str, Route] = {}
    for path, format in _paths(hops, every):
        for runtime in runtimes.values():
            if runtime.format != format:
                continue
            name = "-".join(path + (runtime.name,))
            tier = _dearest([hops[hop].tier for hop in path] + [runtime.tier])
            takes = tuple(hops[hop].takes for hop in path)
            trains = len(path) == 1 and runtime.name in hops[path[0]].trains
            found.setdefault(name, Route(name, path, runtime.name, tier, takes, trains))
    return dict(sorted(found.items(), key=lambda item: item[0] != NATIVE))


def named(name: str, hops: Mapping[str, object], runtimes: Mapping[str, object]) -> Route:
    """The route called ``name``, default or not. Raises UnknownName with the nearest names."""
    name = ALIASES.get(name, name)
    default = routes(hops, runtimes)
    if name in default:
        return default[name]
    every = routes(hops, runtimes, every=True)
    if name in every:
        return every[name]
    raise UnknownName("route", name, default)


def unused(
    name: str,
    planned: Iterable[Route],
    hops: Mapping[str, object],
    runtimes: Mapping[str, object],
    tier: str,
) -> str:
    """What a run of ``tier`` says of a hop that none of its ``planned`` routes has, with those that
    may be asked for by name; "" where one has it."""
    if any(name in route.hops for route in planned):
        return ""
    default = routes(hops, runtimes)
    every = [one for one in routes(hops, runtimes, every=True).values() if name in one.hops]
    every.sort(key=lambda one: (one.name not in default, is_mistake(">".join(one.hops))))
    if not every:
        made = ", ".join(hops[name].targets)
        return (
            f"hop {name!r} is in no route: no hop makes the {hops[name].source} that it takes, or "
            f"no runtime takes the {made} that it makes"
        )
    some = ", ".join(one.name for one in every[:MOST_NAMED])
    more = f" and {len(every) - MOST_NAMED} more" if len(every) > MOST_NAMED else ""
    return (
        f"hop {name!r} is in no cell of this run (tier {tier}, the models and routes chosen); "
        f"routes with it, each to be had by --route: {some}{more}"
    )

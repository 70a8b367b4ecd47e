"""Which cells a run has: version sets x the zoo's union x routes, bounded by the options."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from switchyard import routes as routes_
from switchyard.runner.precisions import precisions_of
from switchyard.runner.staging import shown
from switchyard.vocabulary import (
    NATIVE,
    Cell,
    NotUsable,
    Outcome,
    UnknownName,
    cast_to,
    in_tier,
    signature_of,
)

#: Runtimes before which TensorFlow's preprocessing stands, and torch's own.
FED_PICTURES = (NATIVE, "tf", "litert")


@dataclasses.dataclass
class Zoo:
    """What one version set says of the zoo.

    ``models``: name -> description with its file's project ``sources``. ``errors``: zoo
    file -> what its import raised there, as outcome and ``FILE:LINE``. ``unusable`` is why
    nothing at all can be said: the set could not be installed, or its worker not started.
    """

    models: Dict[str, Dict[str, Any]]
    errors: Dict[str, Tuple[Outcome, str]]
    unusable: Optional[Outcome] = None


class NothingUsable(NotUsable):
    """What was asked for cannot be had of any version set of the run; the message has the reason:
    none could be installed, or what its zoo files could not import."""


class ImportFailure(NamedTuple):
    """One cause for which files of the zoo cannot be used in a version set, and where in each."""

    version_set: str
    outcome: Outcome
    places: List[str]


def import_failures(zoos: Mapping[str, Zoo]) -> List[ImportFailure]:
    """Each cause once: where torch is missing it is missing in every file."""
    found: Dict[Tuple[str, str], ImportFailure] = {}
    for version_set, zoo in zoos.items():
        for outcome, where in zoo.errors.values():
            failure = ImportFailure(version_set, outcome, [])
            found.setdefault((version_set, outcome.message), failure).places.append(where)
    return list(found.values())


@dataclasses.dataclass(frozen=True)
class Planned:
    """A cell with what is needed to run it. ``missing`` is set where this version set cannot
    even import the model."""

    cell: Cell
    route: routes_.Route
    model: Mapping[str, Any]
    missing: Optional[Outcome] = None

    @property
    def native(self) -> bool:
        return self.route.name == NATIVE

    @property
    def pictured(self) -> bool:
        """Whether the model is fed pictures that two ecosystems make an input of."""
        return bool(self.model.get("picture"))

    @property
    def cast(self) -> str:
        """The dtype that a float32 model is cast to for this cell, "" where it stays."""
        return cast_to(self.model["precision"], self.cell.precision)

    @property
    def label(self) -> str:
        """The model, for people; with the precision where that is not its own."""
        return f"{self.cell.model}[{self.cast}]" if self.cast else self.cell.model


def chosen_routes(names: Sequence[str], hops, runtimes) -> Dict[str, routes_.Route]:
    """The default routes, or those named. Raises UnknownName with the nearest names."""
    if not names:
        return routes_.routes(hops, runtimes)
    chosen = [routes_.named(name, hops, runtimes) for name in names]
    return {route.name: route for route in chosen}


def union(zoos: Mapping[str, Zoo]) -> Dict[str, Dict[str, Any]]:
    """Every model that any version set could import, as the first such set describes it."""
    found: Dict[str, Dict[str, Any]] = {}
    for zoo in zoos.values():
        for name, description in zoo.models.items():
            found.setdefault(name, description)
    return found


def plan(
    zoos: Mapping[str, Zoo],
    routes: Mapping[str, routes_.Route],
    device: str,
    tier: str,
    models: Sequence[str] = (),
    routes_named: bool = False,
    tf32: bool = False,
    precisions: Sequence[str] = (),
) -> List[Planned]:
    """The cells of a run, model by model, the native baseline first; those of several version sets
    that differ in nothing else stand together, so that they are measured in one state of the
    machine.

    A model or route that was asked for by name costs nothing towards the tier: who names it
    wants it. A route whose hops are not meant for a model (it has no twin) has no cell of it.
    Models that take pictures are planned on the ways to TensorFlow, whose preprocessing is another.
    Models tagged ``gpu`` are planned on a CUDA device alone. ``tf32``, ``precisions``: see
    ``precisions_of``. Raises UnknownName for a model that no set knows, NothingUsable where files
    that might hold it cannot be used and where no set could tell what the zoo holds.
    """
    every = union(zoos)
    if not every and all(zoo.unusable for zoo in zoos.values()):
        raise NothingUsable("\n".join(zoo.unusable.detail for zoo in zoos.values()))
    for name in models:
        if name not in every:
            raise _unknown(name, every, zoos)
        if _elsewhere(every[name], device):
            raise NothingUsable(f"model {name!r} is planned on a CUDA device alone: add --gpu")
    cells = []
    for name, description in every.items():
        if (models and name not in models) or _elsewhere(description, device):
            continue
        for route in _native_first(routes.values()):
            model_tier = "smoke" if models else description["tier"]
            route_tier = "smoke" if routes_named else route.tier
            if not in_tier(model_tier, route_tier, tier) or not route.takes(description):
                continue
            if description.get("picture") and route.runtime not in FED_PICTURES:
                continue
            for version_set, zoo in zoos.items():
                own = zoo.models.get(name)
                missing = None
                if own is None:
                    missing = zoo.unusable or zoo.errors.get(description["file"], (None, ""))[0]
                    missing = missing or _undeclared(name, description["file"], version_set)
                for precision in precisions_of(description, route, tier, precisions, tf32):
                    cell = Cell(version_set, device, precision, name, route.name)
                    cells.append(Planned(cell, route, own or description, missing))
    if models and precisions and not cells:
        asked = " or ".join(precisions)
        raise NothingUsable(f"no cell of these models is {asked}: only float32 models are cast")
    return cells


def _undeclared(name: str, file: str, version_set: str) -> Outcome:
    """Of a model that its file declares in other version sets only, on a condition of its own."""
    return unavailable(f"{shown(file)} declares no model {name!r} in {version_set}")


def unavailable(reason: str) -> Outcome:
    """Of what a version set cannot host."""
    return Outcome(
        stage="import",
        verdict="unavailable",
        kind="missing-dependency",
        message=reason,
        signature=signature_of(reason),
    )


def _unknown(name: str, every: Mapping[str, Any], zoos: Mapping[str, Zoo]) -> Exception:
    """What to raise for a model that no set knows: where a file could be imported in none, the
    model may stand in that, and the cause is what is to be said."""
    read = {description["file"] for description in every.values()}
    unread = {
        version_set: Zoo({}, {file: why for file, why in zoo.errors.items() if file not in read})
        for version_set, zoo in zoos.items()
    }
    causes = [
        f"  {version_set}: {outcome.message} ({places[0]}"
        + (f" and {len(places) - 1} more)" if len(places) > 1 else ")")
        for version_set, outcome, places in import_failures(unread)
    ]
    if not every:
        causes += [f"  {key}: {zoo.unusable.message}" for key, zoo in zoos.items() if zoo.unusable]
    if not causes:
        return UnknownName("model", name, every)
    if every:
        unknown = f"{UnknownName('model', name, every)}; but some of the zoo could not be used:"
    else:
        unknown = f"unknown model {name!r}: nothing of the zoo could be used:"
    return NothingUsable("\n".join([unknown, *causes]))


def _elsewhere(description: Mapping[str, Any], device: str) -> bool:
    return "gpu" in description.get("tags", ()) and device != "cuda"


def _native_first(routes: Iterable[routes_.Route]) -> List[routes_.Route]:
    return sorted(routes, key=lambda route: route.name != NATIVE)


def with_natives(selected: Sequence[Planned], runtimes) -> List[Planned]:
    """``selected`` and, before each model's first cell, its native baseline: it has a row
    whenever any route of its model is selected."""
    have = {planned.cell for planned in selected}
    native = routes_.Route(NATIVE, (), NATIVE, runtimes[NATIVE].tier)
    found: List[Planned] = []
    for planned in selected:
        cell = dataclasses.replace(planned.cell, route=NATIVE)
        if cell not in have:
            have.add(cell)
            found.append(dataclasses.replace(planned, cell=cell, route=native))
        found.append(planned)
    return found

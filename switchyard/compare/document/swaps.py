"""Claims about one package, judged by a derived set (``BASE+PACKAGE==VERSION``) in which it alone
was swapped, with what is built for one version of it, beside the table of its base. Pure.

Of the two tables the one with the older version is what an update starts from, whichever of them
is the derived one.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Iterable, Mapping, NamedTuple, Optional, Sequence, Union

from packaging.version import InvalidVersion, Version

from switchyard.compare import circumstances, statistics
from switchyard.compare.circumstances import About
from switchyard.vocabulary import PASSING, is_mistake

Row = Mapping[str, Any]

#: Version set -> what the run of its table said of itself (``run.json``).
Abouts = Mapping[str, About]

#: Packages that are named of those that differ beside the swapped one; beyond that a number.
MOST_NAMED = 3

#: Packages built for one version of another, which have to be swapped with it.
BOUND_TO = {"torchvision": "torch"}


@dataclasses.dataclass(frozen=True)
class Update:
    """One package from an older version to a newer one."""

    package: str
    old: Version
    new: Version


class Swap(NamedTuple):
    """An update, and the version sets whose tables stand before and after it. ``base`` is the one
    of the two that nothing was swapped in."""

    update: Update
    before: str
    after: str
    base: str


def is_minor(update: Update) -> bool:
    return update.old.major == update.new.major


def to_torch_2_1(update: Update) -> bool:
    return update.package == "torch" and update.new.release[:2] == (2, 1)


def packages_of(about: About, version_set: str) -> dict[str, str]:
    """What a set's table was made with; where several environments have a package, the core's."""
    environments = about.get("sets", {}).get(version_set, {}).get("environments", {})
    known: dict[str, str] = {}
    for one in sorted(environments, key=lambda name: name == "core"):
        known.update(environments[one].get("packages", {}))
    return known


def _pins(version_set: str) -> dict[str, str]:
    return dict(pin.split("==", 1) for pin in version_set.split("+")[1:] if "==" in pin)


def swap_of(version_set: str, abouts: Abouts) -> Union[Swap, str]:
    """The update that a derived set is one end of, or why it is none."""
    base, *pins = version_set.split("+")
    swapped = _pins(version_set)
    own = [name for name in swapped if BOUND_TO.get(name) not in swapped]
    if not pins or len(swapped) != len(pins) or len(own) != 1:
        return "rests on derived sets that swap one package alone"
    package = own[0]
    known = packages_of(abouts.get(base, {}), base).get(package)
    if known is None:
        return f"no table of {base} says which {package} it was made with"
    try:
        was, now = Version(known), Version(swapped[package])
    except InvalidVersion as error:
        return str(error)
    if was == now:
        return f"{package} {now} is {base}'s own"
    if was < now:
        return Swap(Update(package, was, now), base, version_set, base)
    return Swap(Update(package, now, was), version_set, base, base)


def _is_judged(row: Row) -> bool:
    done = (row.get("state") or "done") == "done"
    return done and (row.get("verdict") or "void") != "void" and not is_mistake(row.get("hops"))


def changes(
    before: Sequence[Row], after: Sequence[Row]
) -> tuple[list[Row], list[Row], list[Row]]:
    """What passed before and does not after, the reverse, and every cell that both judged, all as
    they are after. A void cell says nothing of its route; what a set cannot host counts where it
    could before, and a pair that neither set hosts is none."""
    def key(row: Row) -> tuple:
        return tuple(row.get(name) for name in ("device", "precision", "model", "route"))

    old = {key(row): row for row in before if _is_judged(row)}
    pairs = [(old[key(row)], row) for row in filter(_is_judged, after) if key(row) in old]
    pairs = [
        (one, other) for one, other in pairs
        if statistics.is_counted(one) or statistics.is_counted(other)
    ]  # fmt: skip

    def where(was: bool, now: bool) -> list[Row]:
        return [
            other for one, other in pairs
            if (one["verdict"] in PASSING, other["verdict"] in PASSING) == (was, now)
        ]  # fmt: skip

    return where(True, False), where(False, True), [other for _, other in pairs]


def _differing(swap: Swap, derived: str, abouts: Abouts) -> list[str]:
    """What lies between two tables beside the package that was swapped, a sentence each."""
    before, after = abouts.get(swap.before), abouts.get(swap.after)
    if not before or not after:
        return ["what else differs is not recorded"]
    found = []
    apart = circumstances.packages_that_differ(before, after, [(swap.before, swap.after)])
    if apart is None:
        found.append("what else is installed otherwise is not recorded")
    else:
        # of an environment that one side never made nothing ran there
        lone = {one.environment for one in apart if one.package == "python"
                and not (one.before and one.after)}  # fmt: skip
        names = sorted({one.package for one in apart if one.environment not in lone}
                       - set(_pins(derived)))  # fmt: skip
        if names:
            shown = ", ".join([*names[:MOST_NAMED], *(["..."] if names[MOST_NAMED:] else [])])
            found.append(f"{len(names)} packages beside what is pinned differ ({shown})")
    return found + circumstances.other_conditions(before, after)


def _models(rows: Iterable[Row]) -> int:
    return len({row["model"] for row in rows})


def breaks(
    tables: Mapping[str, Sequence[Row]],
    version_set: str,
    abouts: Abouts,
    fits: Callable[[Update], bool],
    what: str,
    chosen: Callable[[Row], bool],
) -> tuple[Optional[bool], str, Sequence[Row]]:
    """Whether some cell that passed before the update does not after it: None where that was not
    measured, the figure or what is missing, and the rows it rests on. ``fits`` says which updates
    the claim is of, ``what`` says it in words, ``chosen`` says of which cells."""
    swap = swap_of(version_set, abouts)
    if isinstance(swap, str):
        return None, swap, ()
    if not fits(swap.update):
        return None, f"rests on derived sets that {what}", ()
    if swap.base not in tables:
        return None, f"no table of {swap.base} to set it beside", ()
    broke, mended, both = changes(*(
        [row for row in tables[name] if chosen(row)] for name in (swap.before, swap.after)
    ))  # fmt: skip
    if not both:
        return None, f"{swap.before} and {swap.after} have no judged cell in common", ()
    package, old, new = swap.update.package, swap.update.old, swap.update.new
    figure = (
        f"{package} {old.public} to {new.public} in {swap.base}: {len(broke)} of {len(both)} cells "
        f"({_models(broke)} of {_models(both)} models) broke, {len(mended)} ({_models(mended)}) "
        "mended"
    )
    if broke:
        names = [f"{row['model']}-{row['route']}" for row in broke]
        figure += f"; broke: {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
    return bool(broke), "; ".join([figure, *_differing(swap, version_set, abouts)]), both

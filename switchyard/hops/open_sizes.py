"""Sizes that a model leaves open: kept so where a converter can, else fixed, never silently."""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple, TypeVar

from switchyard.manifest import Manifest
from switchyard.worker.blame import first_line, of_the_moment

Made = TypeVar("Made")

#: What of an artefact holds as well of what is made from it.
_INHERITED = ("dynamic", "dynamic_reason", "fixed_dims")


def inherited(source: Manifest) -> Dict[str, Any]:
    """The facts of ``source`` about its sizes: what was fixed once stays so."""
    return {name: source.facts[name] for name in _INHERITED if name in source.facts}


def open_or_fixed(
    some_open: bool,
    convert: Callable[[bool], Made],
    blamed: Callable[[Exception], bool] = lambda error: True,
) -> Tuple[Made, Dict[str, Any]]:
    """What ``convert(True)`` makes, with sizes open if there are any, or, where that fails and
    fixed sizes do not, ``convert(False)``; and the manifest's facts of which it was, and why.

    A converter says in many ways that it cannot keep a size open, often deep in its compiler;
    that it works with fixed sizes tells, unless it was the machine that failed, since the artefact
    is kept. ``blamed``: whether an error may be the open sizes' at all. Raises what is not, and
    what fixed sizes raise.
    """
    facts: Dict[str, Any] = {"dynamic": "declared"}
    if some_open:
        try:
            return convert(True), facts
        except Exception as error:
            if of_the_moment(error) or not blamed(error):
                raise
            facts = {"dynamic": "specialised", "dynamic_reason": first_line(error)[:1000]}
    return convert(False), facts  # outside, since what this raises has another cause

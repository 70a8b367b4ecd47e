"""How a model's inputs, which have names, become the arguments of its ``forward``."""

from __future__ import annotations

import difflib
import inspect
from typing import Any, Callable, Dict, Mapping, Tuple

from switchyard.worker.blame import Told

#: Parameters that nothing can be given to by name.
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)


class Misnamed(Told):
    """Inputs that are not called as ``forward`` calls its parameters: the zoo's entry is at fault,
    since to give them by their places would exchange two of the same shape without a word."""

    kind = "bad-fixture"
    stage = "build"


def bind(forward: Callable, given: Mapping[str, Any]) -> Tuple[tuple, Dict[str, Any]]:
    """``given``, by name, as the positional and the keyword arguments of ``forward``; all by their
    places, in their own order, where it names no parameter (``*inputs``) or is scripted and has no
    signature. Raises Misnamed, with the nearest name."""
    try:
        signature = inspect.signature(forward)
    except (TypeError, ValueError):
        return tuple(given.values()), {}
    if all(parameter.kind in _BY_PLACE for parameter in signature.parameters.values()):
        return tuple(given.values()), {}
    try:
        bound = signature.bind(**given)
    except TypeError as error:
        raise Misnamed(_advice(signature, list(given)) or str(error)) from error
    return bound.args, bound.kwargs


def _advice(signature: inspect.Signature, given: list) -> str:
    """Which input has no parameter, and which parameter that must be given has no input."""
    named = [name for name, parameter in signature.parameters.items()
             if parameter.kind not in (*_BY_PLACE, inspect.Parameter.VAR_KEYWORD)]  # fmt: skip
    said = []
    for name in given:
        if name not in named:
            near = difflib.get_close_matches(name, named, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}?" if near else f"it takes {', '.join(named)}"
            said.append(f"forward has no parameter {name!r}; {hint}")
    empty = inspect.Parameter.empty
    said += [
        f"no input is called {name!r}, which forward must be given"
        for name in named
        if name not in given and signature.parameters[name].default is empty
    ]
    return "; ".join(said)

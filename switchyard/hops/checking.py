"""What a hop must be to stand in the yard: said when its file is registered, and not in a cell.

Nothing of Python stops ``targets = "onnx"``, which is four formats of a letter each, in no route.
"""

from __future__ import annotations

import inspect
import re
from typing import Any, Mapping, Optional

from switchyard.hops import BadHop, Hop
from switchyard.vocabulary import COSTS, FORMATS, KINDS, UnknownName

#: Converters and runtimes joined by hyphens are a route, and a stage is ``convert:NAME``.
_NAME = re.compile(r"[a-z0-9_]+(?:-[a-z0-9_]+)*\Z")

#: Attributes that hold several texts.
_TEXTS = ("targets", "after", "requires", "preloads", "trains")


def place(hop: Any, file: Optional[str] = None) -> str:
    """``FILE:LINE`` of the hop's class; ``file`` where it is given and the class is another's."""
    kind = hop if isinstance(hop, type) else type(hop)
    try:
        own, line = inspect.getsourcefile(kind), inspect.getsourcelines(kind)[1]
    except (OSError, TypeError):  # it was made by exec, or by C
        return file or kind.__module__
    return f"{own}:{line}" if file in (None, own) else file


def held(module: Any, file: str) -> list:
    """What a file of hops has in ``HOPS``. Raises BadHop where that is no list of anything."""
    found = getattr(module, "HOPS", None)
    if isinstance(found, (list, tuple)) and found:
        return list(found)
    classes = [
        one.__name__
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Hop) and one.__module__ == module.__name__
    ]
    write = f"write HOPS = [{', '.join(f'{name}()' for name in classes) or 'MyHop()'}]"
    if found is None:
        raise BadHop(f"the file has no HOPS, the list of its hops: {write}", file)
    if isinstance(found, (list, tuple)):
        raise BadHop(f"HOPS is empty: {write}", file)
    raise BadHop(f"HOPS is {_shown(found)} and not a list of hops: {write}", file)


def check(hop: Any, file: Optional[str] = None) -> None:
    """Raises BadHop, with the nearest name where there is one, for what is no hop or says of itself
    what nothing can be made of."""
    try:
        _check(hop)
    except ValueError as error:
        raise BadHop(str(error), place(hop, file)) from None


def check_after(hop: Hop, known: Mapping[str, Hop], file: Optional[str] = None) -> None:
    """Raises BadHop where ``after`` names no hop of those that are known."""
    for name in hop.after:
        if name not in known:
            error = UnknownName("hop", name, known)
            raise BadHop(f"hop {hop.name!r}, after: {error}", place(hop, file))


def _check(hop: Any) -> None:
    if isinstance(hop, type):
        own = hop.__name__
        raise ValueError(f"HOPS holds the class {own} and no object: write {own}()")
    if not isinstance(hop, Hop):
        raise ValueError(f"HOPS holds {_shown(hop)}, which is no switchyard.hops.Hop")
    name = getattr(hop, "name", None)
    if not isinstance(name, str):
        raise ValueError(f'{type(hop).__name__} has no name: write name = "my_hop"')
    if not _NAME.match(name):
        legal = re.sub("[^a-z0-9_]+", "_", name.lower()).strip("_") or "my_hop"
        raise ValueError(
            f"hop {name!r} has no legal name: use only a-z, 0-9, _ and single hyphens, as in "
            f"{legal!r}"
        )
    try:
        _check_attributes(hop)
    except ValueError as error:
        raise ValueError(f"hop {name!r}, {error}") from None
    if type(hop).convert is Hop.convert:
        raise ValueError(f"hop {name!r} has no method convert")


def _check_attributes(hop: Hop) -> None:
    for attribute in _TEXTS:
        value = getattr(hop, attribute, None)
        if isinstance(value, str):
            raise ValueError(
                f"{attribute}: {value!r} is one text and not several: write "
                f'{attribute} = ("{value}",)'
            )
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            wrong = "is missing" if value is None else f"{value!r} are no texts"
            raise ValueError(f'{attribute}: {wrong}: write {attribute} = ("...",)')
    if not hop.targets:
        raise ValueError("targets: names no format")
    for attribute in ("source", "environment", "tier"):
        if not isinstance(getattr(hop, attribute, None), str):
            raise ValueError(f'{attribute}: write one text, {attribute} = "..."')
    for attribute, formats in (("source", (hop.source,)), ("targets", hop.targets)):
        for one in formats:
            _known(attribute, "format", one, FORMATS)
    _known("tier", "tier", hop.tier, COSTS)
    if not isinstance(hop.refusals, (list, tuple)):
        raise ValueError("refusals: not a list of rows")
    for row in hop.refusals:
        if not _is_refusal(row):
            raise ValueError(f"refusals: {row!r} is not (exception type, text, kind)")
        _known("refusals", "kind", row[2], KINDS)


def _is_refusal(row: Any) -> bool:
    if not isinstance(row, (list, tuple)) or len(row) != 3:
        return False
    error, text, kind = row
    return isinstance(error, str) and isinstance(text, (str, re.Pattern)) and isinstance(kind, str)


def _known(attribute: str, what: str, given: str, known: Any) -> None:
    if given not in known:
        raise ValueError(f"{attribute}: {UnknownName(what, given, known)}")


def _shown(value: Any) -> str:
    """A value as people take it, without the address of an object."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, (str, int, float, bool)):
        return repr(value)
    return f"an object of {type(value).__name__}"

"""Which of Switchyard's files make a hop's artefacts what they are: read from its imports."""

from __future__ import annotations

import ast
import functools
import importlib.util
import pathlib
from typing import Iterable, Iterator, List, Tuple

#: The packages whose modules count one by one. The rest of the worker's side has a hand in every
#: artefact, and is in each key as a whole (``switchyard.runner.staging``).
_PACKAGES = ("switchyard.hops", "switchyard.runtimes")


def files_of(modules: Iterable[str]) -> Tuple[str, ...]:
    """The files of ``modules``, imported already, and of every hop's or runtime's module that they
    import or that these do, at their top or in a function."""
    found: List[str] = []
    left = list(dict.fromkeys(importlib.import_module(name).__file__ for name in modules))
    while left:
        file = left.pop(0)
        if file not in found:
            found.append(file)
            left += _imported_by(file)
    return tuple(found)


@functools.lru_cache(maxsize=None)
def _imported_by(file: str) -> Tuple[str, ...]:
    tree = ast.parse(pathlib.Path(file).read_bytes())
    return tuple(filter(None, (_file_of(name) for node in ast.walk(tree) for name in _names(node))))


def _names(node: ast.AST) -> Iterator[str]:
    """Whatever may be a module in an import statement: of ``from a import b`` both a and a.b."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _file_of(name: str) -> str:
    """The file of a module inside one of the packages; "" for any other name."""
    package, _, own = name.rpartition(".")
    if package not in _PACKAGES:
        return ""
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    file = pathlib.Path(folder) / f"{own}.py"
    return str(file) if file.exists() else ""

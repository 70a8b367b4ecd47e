"""A zoo file of which an installed package lacks something: what stands is imported.

Statement by statement, as Python would. What a statement would have named and could not, raises
the same error again wherever it is used, so that a model that needs it fails to build for that
reason, and its neighbours do not.
"""

from __future__ import annotations
import __future__ as future

import ast
import pathlib
import sys
import types
from typing import Any, List

from switchyard.worker.blame import kind_of

#: What Python looks up on a type and not on the object: ``x[...]``, ``for``, ``with``,
#: ``isinstance(..., x)``, arithmetic and comparison.
_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or")
_BY_TYPE = (
    "__getitem__", "__setitem__", "__iter__", "__len__", "__contains__", "__enter__", "__exit__",
    "__instancecheck__", "__subclasscheck__", "__lt__", "__le__", "__gt__", "__ge__", "__neg__",
    "__invert__", "__index__", "__int__", "__float__",
    *(f"__{reflected}{name}__" for name in _BINARY for reflected in ("", "r")),
)  # fmt: skip


class Missing:
    """In the place of what could not be had: any use of it but ``==`` raises ``error``, whose kind
    is that of the import, since a build has no rule for a package it does not know."""

    def __init__(self, error: Exception):
        error.kind = kind_of(error, "import")
        self.__dict__["error"] = error

    def __getattr__(self, name: str) -> Any:
        raise self.error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error

    def __mro_entries__(self, bases: tuple) -> tuple:
        raise self.error


for _name in _BY_TYPE:
    setattr(Missing, _name, Missing.__call__)


def lacks_api(error: Exception) -> bool:
    """Whether an import failed since a package that is there has no such name (any more, or yet).
    A package that is not there at all stops the file, and so does whatever else is wrong."""
    if isinstance(error, ModuleNotFoundError):
        package, dot, _ = (error.name or "").partition(".")
        return bool(dot) and package in sys.modules
    return kind_of(error, "import") == "removed-api"


def import_what_stands(name: str, file: pathlib.Path) -> None:
    """Run the file as module ``name``. Raises what a statement raises that names nothing, that
    declares a model, or that fails for another reason than ``lacks_api``."""
    tree = ast.parse(file.read_text("utf-8"), str(file))
    module = types.ModuleType(name)
    module.__file__ = str(file)
    module.__package__ = name.rpartition(".")[0]
    sys.modules[name] = module
    flags = 0
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            features = (getattr(future, alias.name) for alias in statement.names)
            flags |= sum(feature.compiler_flag for feature in features)
        body = ast.Module([statement], [])
        code = compile(body, str(file), "exec", flags=flags, dont_inherit=True)
        try:
            exec(code, module.__dict__)
        except Exception as error:
            names = _named(statement)
            if not names or not lacks_api(error):
                raise
            module.__dict__.update({each: Missing(error) for each in names})


def _named(statement: ast.stmt) -> List[str]:
    """What a statement gives a name to; nothing where it may do more than that."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        names = [alias.asname or alias.name.partition(".")[0] for alias in statement.names]
        return [] if "*" in names else names
    if isinstance(statement, ast.ClassDef):
        return [statement.name]
    if isinstance(statement, ast.FunctionDef) and not _declares(statement):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        targets = statement.targets
        return [one.id for one in targets if isinstance(one, ast.Name)]
    return []


def _declares(function: ast.FunctionDef) -> bool:
    """Whether a function is an entry of the zoo: decorated by ``model(...)``."""
    called = (one.func for one in function.decorator_list if isinstance(one, ast.Call))
    names = (getattr(one, "id", getattr(one, "attr", "")) for one in called)
    return "model" in names

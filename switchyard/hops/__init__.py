"""The hops: a converter each, from one format to one or more others.

A new converter is a new file here with a subclass of ``Hop`` in its ``HOPS``; it then
appears in every route that can use it. Hops run inside a version set's interpreter, in a
forked child of their own, and import their converter lazily.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import pathlib
import pkgutil
import re
import sys
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Dict,
    Iterable,
    List,
    Mapping,
    Optional,
    Tuple,
    Union,
)

from switchyard.manifest import Artefact, Manifest
from switchyard.vocabulary import KINDS, UnknownName

if TYPE_CHECKING:
    from switchyard.worker.building import BuiltModel


class Refusal(Exception):
    """A hop that knows what it cannot do says so: kind, and the operator where there is one.

    The kind is one of ``switchyard.vocabulary.KINDS``. With a kind of capability
    (``unsupported-operator``, ``data-dependent-control-flow``, ``dynamic-shape``,
    ``unsupported-dtype``, ``ambiguous-mapping``) the cell is ``refused``; with one of the
    environment, ``missing-dependency`` or ``removed-api``, or of an artefact it has ``failed``.

    Raises UnknownName, which is a ValueError and names the nearest, for a kind that is none.
    """

    def __init__(self, kind: str, message: str, operator: str = ""):
        super().__init__(message)
        if not isinstance(kind, str) or kind not in KINDS:
            # From nothing: the cell's row tells of the innermost cause, and that is this one.
            raise UnknownName("kind", str(kind), KINDS) from None
        self.kind = kind
        self.operator = operator


class ConversionFailed(RuntimeError):
    """A converter gave up. ``operator`` is the one it gave up at, where it said."""

    def __init__(self, message: str, operator: str = ""):
        super().__init__(message)
        self.operator = operator


class BadHop(ValueError):
    """A hop, or a file of them, that cannot be used: why, and ``where``, FILE:LINE or FILE."""

    def __init__(self, message: str, where: str):
        super().__init__(message)
        self.where = where


@dataclasses.dataclass
class Conversion:
    """What a hop is given.

    ``target``: an empty folder to write into. ``source``: the artefact to convert, or None
    for a hop from torch. ``model``: the built model, for a hop from torch only (a hop in a
    side environment has no torch). ``example``: the example inputs by path. ``dims``: for
    each input path the dimensions as declared, integers fixed and names dynamic. ``outputs``: the
    model's output paths, in order.
    """

    target: pathlib.Path
    model_name: str
    example: Mapping[str, Any]
    dims: Mapping[str, Tuple[Any, ...]]
    source: Optional[Artefact] = None
    model: Optional["BuiltModel"] = None
    outputs: Tuple[str, ...] = ()


class Hop:
    """One converter.

    ``after``: the hops behind which routes put this one by default (others that fit by
    format can still be asked for by name). ``tier``: what it costs, of ``COSTS``.
    ``environment``: the environment of the version set that hosts it. ``requires``: modules
    that must import there (``"a | b"``: one of them, which had another name once). ``preloads``:
    modules that the converter itself imports only when it is used; the fork server imports them
    once, before the first job that names them, so that not each child does (one that is not
    there is no fault). ``trains``: the runtimes behind this hop whose cells are also asked whether
    what it makes trains as the model does. ``refusals``: (exception type name or "", text in the
    message or a compiled pattern, kind) rows tried in order, beside the general ones of
    ``switchyard.worker.blame``.
    """

    name: ClassVar[str]
    source: ClassVar[str]
    targets: ClassVar[Tuple[str, ...]]
    tier: ClassVar[str] = "quick"
    after: ClassVar[Tuple[str, ...]] = ()
    environment: ClassVar[str] = "core"
    requires: ClassVar[Tuple[str, ...]] = ()
    preloads: ClassVar[Tuple[str, ...]] = ()
    trains: ClassVar[Tuple[str, ...]] = ()
    refusals: ClassVar[Tuple[Tuple[str, Union[str, "re.Pattern[str]"], str], ...]] = ()

    def prepare(self, module: Any) -> None:
        """What is done to the built module before the converter has it: nothing, but by a hop
        that makes a mistake there. What is changed afterwards the converter has changed."""

    def convert(self, job: Conversion) -> Manifest:
        """Write the artefact into ``job.target`` and return its manifest.

        Raises whatever the converter raises, or ``Refusal``.
        """
        raise TypeError(f"{type(self).__name__} has no convert")

    def takes(self, model: Mapping[str, Any]) -> bool:
        """Whether this hop is meant for a model, from its description. A cell of a model that
        it is not meant for is not planned: there is nothing to say of it, for or against."""
        return True

    @property
    def options(self) -> Dict[str, Any]:
        """What is part of an artefact's key beside the sources."""
        return {}

    @property
    def files(self) -> Tuple[str, ...]:
        """The file of the hop's class, of each class between it and this one, and of what these
        import of Switchyard's: what an artefact's key holds of the converter's sources."""
        from switchyard.hops.sources import files_of

        own = [each for each in type(self).__mro__ if issubclass(each, Hop) and each is not Hop]
        return files_of(each.__module__ for each in own)


def import_required(name: str) -> None:
    """Import a module as ``requires`` names it. Raises what the first one's import raises where
    none of the alternatives is installed, else what the installed one's does."""
    first: Optional[ModuleNotFoundError] = None
    for module in name.split(" | "):
        try:
            importlib.import_module(module)
            return
        except ModuleNotFoundError as error:
            if error.name != module:  # it is installed, and lacks something itself
                raise
            first = first or error
    raise first


def builtin() -> Dict[str, Hop]:
    """Every hop of this package by name, from each module's ``HOPS``."""
    modules = (
        importlib.import_module(f"{__name__}.{info.name}")
        for info in pkgutil.iter_modules(__path__)
    )
    return register(hop for module in modules for hop in getattr(module, "HOPS", ()))


def known(files: Iterable[Union[str, pathlib.Path]]) -> Dict[str, Hop]:
    """The built-in hops and those of the user's ``--hop`` files, each imported by its path.

    Raises whatever such a file's import raises, BadHop for what cannot be used in one.
    """
    from switchyard.hops import checking

    pairs: List[Tuple[Any, Optional[str]]] = [(hop, None) for hop in builtin().values()]
    for file in dict.fromkeys(map(str, files)):
        pairs += [(hop, file) for hop in checking.held(_imported(file), file)]
    return _registered(pairs)


def _imported(file: str) -> Any:
    path = pathlib.Path(file)
    # Two files of one name in two folders are two modules.
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"hop_file_{digest}_{path.stem}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None:
            raise BadHop("no file of Python, whose names end in .py", file)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]  # who asks again gets the same answer, and not half a module
            raise
    return sys.modules[name]


def register(hops: Iterable[Hop]) -> Dict[str, Hop]:
    """Hops by name. Raises BadHop, a ValueError, where one cannot be used or two have one name."""
    return _registered((hop, None) for hop in hops)


def _registered(pairs: Iterable[Tuple[Any, Optional[str]]]) -> Dict[str, Hop]:
    from switchyard.hops import checking

    known: Dict[str, Hop] = {}
    places: Dict[str, Optional[str]] = {}
    for hop, file in pairs:
        checking.check(hop, file)
        if hop.name in known:
            first = checking.place(known[hop.name], places[hop.name])
            raise BadHop(
                f"two hops are called {hop.name!r}: {type(known[hop.name]).__name__} of {first} "
                f"and {type(hop).__name__} here; give one another name",
                checking.place(hop, file),
            )
        known[hop.name], places[hop.name] = hop, file
    for name, hop in known.items():
        checking.check_after(hop, known, places[name])
    return known

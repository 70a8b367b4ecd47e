"""The runtimes: what runs a format. One file a runtime, each with a ``RUNTIMES``.

A runtime loads an artefact (or, for torch, the built model) into a session; a session maps
arrays by the artefact's own names to arrays by the artefact's own names.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Callable, ClassVar, Dict, Mapping, Optional, Tuple

from switchyard.manifest import Artefact

if TYPE_CHECKING:
    import numpy as np

    from switchyard.worker.building import BuiltModel


class Session:
    """One loaded model. ``facts`` goes into the row (providers, threads)."""

    facts: Dict[str, Any] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """One inference: artefact input names to arrays, artefact output names to arrays."""
        raise TypeError(f"{type(self).__name__} has no run")

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """A call that does one inference and nothing else, for timing: inputs are already
        where the runtime takes them, and outputs are not copied out."""
        return lambda: self.run(feeds)


class Runtime:
    """``format`` is what it loads. ``tier``, ``environment``, ``requires``, ``preloads``: as for
    a hop."""

    name: ClassVar[str]
    format: ClassVar[str]
    tier: ClassVar[str] = "quick"
    environment: ClassVar[str] = "core"
    requires: ClassVar[Tuple[str, ...]] = ()
    preloads: ClassVar[Tuple[str, ...]] = ()

    def load(self, artefact: Optional[Artefact], model: Optional["BuiltModel"]) -> Session:
        """Load for the CPU. Raises whatever the runtime raises."""
        raise TypeError(f"{type(self).__name__} has no load")


def builtin() -> Dict[str, Runtime]:
    """Every runtime of this package by name."""
    found: Dict[str, Runtime] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for runtime in getattr(module, "RUNTIMES", ()):
            found[runtime.name] = runtime
    return found

"""The runtimes: what runs a format. A file that has some lists them in its ``RUNTIMES``.

A runtime loads an artefact (or, for torch, the built model) into a session; a session maps
arrays by the artefact's own names to arrays by the artefact's own names.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import pkgutil
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    ClassVar,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from switchyard.manifest import Artefact

if TYPE_CHECKING:
    import numpy as np

    from switchyard.worker.building import BuiltModel


@dataclasses.dataclass(frozen=True)
class Target:
    """What a model is loaded for: ``cpu`` or ``cuda`` (the one device that the process sees),
    whether float32 may be computed in TF32 there, the MiB that this framework may take of the
    device (None: all), whether it takes them as it needs them (TensorFlow alone asks), and the
    threads of the CPU that it may compute with (None: as many as the framework chooses).
    """

    device: str = "cpu"
    tf32: bool = False
    memory_limit_mib: Optional[float] = None
    memory_growth: bool = True
    threads: Optional[int] = None

    @classmethod
    def of_job(cls, job: Mapping[str, Any]) -> "Target":
        return cls(
            job.get("device", "cpu"),
            job.get("precision") == "tf32",
            job.get("memory_limit_mib"),
            job.get("memory_growth", True),
            job.get("threads"),
        )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a model of the zoo is built from, in any process: a zoo file, a name in it, and the
    precision it is cast to (empty: its own)."""

    file: str
    model: str
    precision: str = ""


class DeviceUnavailable(RuntimeError):
    """This environment's packages cannot use the device that was asked for at all."""

    kind = "missing-dependency"
    stage = "import"


class ProviderFallback(RuntimeError):
    """The device was asked for, could have been had, and the session is not on it."""

    kind = "provider-fallback"
    stage = "load"


class NotOffered(RuntimeError):
    """A series cannot be timed by the installed version, whatever the model."""


def native_words(limit: int = 4000) -> str:
    """The end of what this process wrote to stderr where that is a file: native code says
    there, and nowhere else, why a library did not load. Empty where it cannot be read."""
    try:
        if not os.path.isfile(os.readlink("/proc/self/fd/2")):
            return ""
        with open("/proc/self/fd/2", "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - limit))
            return log.read().decode("utf-8", "replace")
    except OSError:
        return ""


class Session:
    """One loaded model. ``companions`` are the processes that it lives in beside this one: their
    memory is the model's too, and their time."""

    companions: Tuple[int, ...] = ()

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """One inference: artefact input names to arrays, artefact output names to arrays."""
        raise TypeError(f"{type(self).__name__} has no run")

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """A call that does one inference and nothing else, for timing: inputs are already
        where the runtime takes them, and outputs are not copied out."""
        return lambda: self.run(feeds)

    def series(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Callable[[], Any]]:
        """What can be timed: ``resident`` is ``prepare``'s call. On a device each call also
        waits for the device; ``from_host`` begins with inputs in host memory, and ``device``
        returns the seconds between two events on the device around one inference."""
        return {"resident": self.prepare(feeds)}

    def outputs(self, feeds: Mapping[str, np.ndarray]) -> Any:
        """One inference, waited for; its outputs where the runtime leaves them, which holds
        their memory for as long as somebody keeps them."""
        return self.run(feeds)

    def between_events(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], float]:
        """``device`` of ``series``, where it takes a session that is made for it. Raises
        NotOffered, and what making it raises."""
        raise TypeError(f"{type(self).__name__} has no time between events")

    def graphed(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """``resident``, replayed from a CUDA graph. Raises what capturing raises, above all for a
        model that waits for the device meanwhile."""
        raise TypeError(f"{type(self).__name__} has no CUDA graphs")

    def memory_over(
        self, runs: Sequence[Mapping[str, np.ndarray]]
    ) -> List[Dict[str, Optional[float]]]:
        """What the framework's allocator says in each of ``runs``, the feeds of one after the
        other, in a separate session: for frameworks that say nothing of the one that is timed. As
        ``Runtime.device_memory``, and ``in_run_`` for what holds only before a run has ended.
        Empty where no session reports anything."""
        return []

    def write_record(self, path: str, runs: Sequence[Mapping[str, np.ndarray]]) -> None:
        """Write the allocations to ``path``, in the framework's own format: those remembered since
        ``Runtime.record``, else those of ``runs``, the feeds of one after the other. Raises what
        the framework raises, and TypeError where it keeps no record."""
        raise TypeError(f"{type(self).__name__} keeps no record of its allocations")

    def placement(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        """The row's columns of where ``feeds`` are computed. Raises what asking raises."""
        return {}


class Runtime:
    """``format`` is what it loads. ``tier``, ``environment``, ``requires``, ``preloads``: as for
    a hop. ``devices``: where it can run at all; ``elsewhere`` is why not on the others. ``apart``:
    it has the model built in a process of its own, and is given a Recipe in its place. ``aside``:
    what can be timed on a device with the model loaded once more for it: ``device`` if its sessions
    have ``between_events``, ``graph`` if they can be ``graphed``. ``tunes``: asked on a
    device it times kernels, or is profiled, and what others do there meanwhile would be in what a
    row says. ``recording``: how the name of a file ends in which its allocations on a device are
    kept, empty where none is."""

    name: ClassVar[str]
    format: ClassVar[str]
    tier: ClassVar[str] = "quick"
    environment: ClassVar[str] = "core"
    requires: ClassVar[Tuple[str, ...]] = ()
    preloads: ClassVar[Tuple[str, ...]] = ()
    devices: ClassVar[Tuple[str, ...]] = ("cpu", "cuda")
    elsewhere: ClassVar[str] = ""
    apart: ClassVar[bool] = False
    aside: ClassVar[Tuple[str, ...]] = ()
    tunes: ClassVar[bool] = False
    recording: ClassVar[str] = ""

    def lacks(self, target: Target) -> str:
        """Why the installed packages cannot run on ``target``, empty where they can. Asked for
        a device other than the CPU only, with the runtime imported."""
        return ""

    def load(
        self,
        artefact: Optional[Artefact],
        model: Union["BuiltModel", Recipe, None],
        target: Target = Target(),
    ) -> Session:
        """Load for ``target``. Raises whatever the runtime raises, and ProviderFallback where
        the session is not on the device that was asked for."""
        raise TypeError(f"{type(self).__name__} has no load")


    def device_memory(self) -> Dict[str, Optional[float]]:
        """What the framework's allocator says of the device now: ``allocated_mib``,
        ``reserved_mib``, ``requested_mib``, ``peak_mib``, ``slack``, ... None or absent where
        it cannot say, never 0. Asked once something was loaded there."""
        return {}

    def memory_after(self, call: Callable[[], Any]) -> Dict[str, Optional[float]]:
        """``device_memory`` behind one more ``call``, with what the framework says only of one
        that it watched. Not to be asked before what is timed: watching may cost time after it."""
        call()
        return self.device_memory()

    def settle(self) -> None:
        """Give back what tuning kernels took on the device, and count peaks anew: it is none of
        the model's. Asked of a runtime that ``tunes``, behind the first call."""

    def empty_cache(self) -> None:
        """Give back the memory that is cached and in no use."""

    def release(self) -> Dict[str, Optional[float]]:
        """Give back also what libraries hold for models that are gone: ``workspace_mib``, where
        it is known."""
        self.empty_cache()
        return {}

    def record(self) -> None:
        """From now on remember every allocation, where that has to be said before."""


def loaded(runtime: Runtime, artefact, model, target: Target) -> Session:
    """``runtime.load``, once the packages are known to be for that device.

    Raises DeviceUnavailable, with the reason, where they are not.
    """
    if target.device != "cpu":
        reason = runtime.lacks(target)
        if reason:
            raise DeviceUnavailable(reason)
    return runtime.load(artefact, model, target)


def builtin() -> Dict[str, Runtime]:
    """Every runtime of this package by name."""
    found: Dict[str, Runtime] = {}
    for info in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{info.name}")
        for runtime in getattr(module, "RUNTIMES", ()):
            found[runtime.name] = runtime
    return found

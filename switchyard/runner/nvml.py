"""NVIDIA's management library (NVML): which card a run may use, and what state it is in.

The one file of the runner that knows ``pynvml`` (the package nvidia-ml-py), so that tests fake
this edge and nothing else. NVML needs the driver alone: no framework, no CUDA context.
"""

from __future__ import annotations

import dataclasses
import os
import warnings
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

_MIB = 1024 * 1024

#: Bits of the clocks event (once: throttle) reasons that mean a clock held down (nvml.h).
#: Idle, the user's own clock settings and those for a display or a sync boost are left out.
THROTTLE_REASONS: Tuple[Tuple[int, str], ...] = (
    (0x04, "sw-power-cap"),
    (0x08, "hw-slowdown"),
    (0x20, "sw-thermal-slowdown"),
    (0x40, "hw-thermal-slowdown"),
    (0x80, "hw-power-brake"),
)


class NoDevice(Exception):
    """``--gpu`` was asked for and there is no card to use; the message says what was looked
    for, what was found, and what to do."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """The card at one moment; None where it does not say.

    ``throttle``: names of ``THROTTLE_REASONS``. ``processes``: process -> MiB it holds on the
    card (None inside where only the process is known); in a container its numbers may be the
    host's. ``used_mib``: of the whole card, MiB. ``sm_clock_mhz`` in MHz.
    """

    sm_clock_mhz: Optional[float] = None
    temperature_c: Optional[float] = None
    throttle: Optional[Tuple[str, ...]] = None
    processes: Optional[Mapping[int, Optional[float]]] = None
    used_mib: Optional[float] = None


@dataclasses.dataclass(frozen=True)
class Card:
    """The chosen card. ``uuid`` goes to the processes and into no table: it names the machine."""

    index: int
    uuid: str
    name: str
    driver: str
    cuda_of_driver: str
    memory_mib: float
    _library: Any = dataclasses.field(repr=False, compare=False)
    _handle: Any = dataclasses.field(repr=False, compare=False)

    def about(self) -> Dict[str, Any]:
        """What ``run.json`` says of it."""
        return {
            "index": self.index,
            "name": self.name,
            "driver": self.driver,
            "cuda_of_driver": self.cuda_of_driver,
            "memory_mib": self.memory_mib,
        }

    def sample(self) -> Sample:
        """The card now. Never raises: what it does not answer is None."""
        nvml, handle = self._library, self._handle

        def asked(question: Callable[[], Any]) -> Any:
            try:
                return question()
            except Exception:  # not every card, driver or container answers every question
                return None

        def throttle() -> Tuple[str, ...]:
            ask = getattr(nvml, "nvmlDeviceGetCurrentClocksEventReasons", None)
            bits = (ask or nvml.nvmlDeviceGetCurrentClocksThrottleReasons)(handle)
            return tuple(name for bit, name in THROTTLE_REASONS if bits & bit)

        def processes() -> Dict[int, Optional[float]]:
            found: Dict[int, Optional[float]] = {}
            for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                used = one.usedGpuMemory
                found[one.pid] = None if used is None else used / _MIB
            return found

        return Sample(
            sm_clock_mhz=asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
            temperature_c=asked(
                lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            throttle=asked(throttle),
            processes=asked(processes),
            used_mib=asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / _MIB),
        )


def _library() -> Any:
    """The module ``pynvml``. Raises ImportError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older package of that name says that it is old
        import pynvml
    return pynvml


def find(number: int) -> Card:
    """The card ``cuda:number``: of those ``CUDA_VISIBLE_DEVICES`` leaves, else of all, in the
    order of NVML (nvidia-smi's). Raises NoDevice."""
    wanted = f"a CUDA device was asked for (cuda:{number})"
    try:
        nvml = _library()
    except ImportError as error:
        raise NoDevice(
            f"{wanted}, and NVML cannot be asked: {error}; python3 -m pip install nvidia-ml-py"
        ) from error
    try:
        nvml.nvmlInit()
        driver = _text(nvml.nvmlSystemGetDriverVersion())
    except Exception as error:  # the library, the driver, or the right to talk to it is missing
        raise NoDevice(
            f"{wanted}, and NVML (libnvidia-ml.so.1, part of NVIDIA's driver) does not start: "
            f"{error}; install the driver, or run without --gpu"
        ) from error
    said = f"{wanted}; NVML found driver {driver}"
    try:
        handles = _visible(nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except Exception as error:
        raise NoDevice(
            f"{said}, and its cards cannot be asked for: {error}; run nvidia-smi to see why"
        ) from error
    if number >= len(handles):
        limit = os.environ.get("CUDA_VISIBLE_DEVICES")
        left = "" if limit is None else f" that CUDA_VISIBLE_DEVICES={limit!r} leaves"
        known = ", ".join(f"cuda:{n} {_name(nvml, one[1])}" for n, one in enumerate(handles))
        raise NoDevice(
            f"{said} and {len(handles)} device(s){left}{f' ({known})' if known else ''}; "
            "choose another with --device cuda:N, or run without --gpu"
        )
    index, handle = handles[number]
    try:
        return Card(
            index=index,
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            name=_name(nvml, handle),
            driver=driver,
            cuda_of_driver=_cuda(nvml),
            memory_mib=nvml.nvmlDeviceGetMemoryInfo(handle).total / _MIB,
            _library=nvml,
            _handle=handle,
        )
    except Exception as error:  # a card that fell off the bus is still counted
        raise NoDevice(
            f"{said}, and its device {index} does not answer: {error}; reset it or choose another"
        ) from error


def _visible(nvml: Any, limit: Optional[str]) -> List[Tuple[int, Any]]:
    """(NVML's index, handle) of each card that this run may use.

    ``limit`` is read as CUDA reads it: indices or UUIDs (or their beginnings), and what
    stands behind the first that is none does not count.
    """
    every = [(n, nvml.nvmlDeviceGetHandleByIndex(n)) for n in range(nvml.nvmlDeviceGetCount())]
    if limit is None:
        return every
    found = []
    for word in limit.split(","):
        word = word.strip()
        if word.isdigit() and int(word) < len(every):
            found.append(every[int(word)])
            continue
        uuids = [_text(nvml.nvmlDeviceGetUUID(handle)) for _, handle in every]
        named = [one for one, uuid in zip(every, uuids) if word and uuid.startswith(word)]
        if len(named) != 1:
            break
        found.append(named[0])
    return found


def _name(nvml: Any, handle: Any) -> str:
    try:
        return _text(nvml.nvmlDeviceGetName(handle))
    except Exception:  # a name is of use in a message and decides nothing
        return "(no name)"


def _cuda(nvml: Any) -> str:
    try:
        version = nvml.nvmlSystemGetCudaDriverVersion_v2()
    except Exception:  # as above
        return ""
    return f"{version // 1000}.{version % 1000 // 10}"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)

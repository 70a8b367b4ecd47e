"""NVIDIA's management library (NVML): which card a run may use, and what state it is in.

The one file of the runner that knows ``pynvml`` (the package nvidia-ml-py), so that tests fake
this edge and nothing else. NVML needs the driver alone: no framework, no CUDA context.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import os
import warnings
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

from switchyard.vocabulary import NotUsable

_MIB = 1024 * 1024

#: Bits of the clocks event (once: throttle) reasons that mean a clock held down (nvml.h).
#: Idle, the user's own clock settings and those for a display or a sync boost are left out.
THROTTLE_REASONS: Tuple[Tuple[int, str], ...] = (
    (0x04, "sw-power-cap"),
    (0x08, "hw-slowdown"),
    (0x20, "sw-thermal-slowdown"),
    (0x40, "hw-thermal-slowdown"),
    (0x80, "hw-power-brake"),
    (0x200, "board-limit"),
    (0x400, "reliability"),
)

#: NVML's performance policies whose time of a clock held down is counted (nvml.h), by the same
#: names where both mean the same. Those that the first list leaves out are left out here.
VIOLATIONS: Tuple[Tuple[int, str], ...] = (
    (0, "sw-power-cap"),
    (1, "thermal-limit"),
    (3, "board-limit"),
    (5, "reliability"),
)

#: The machine's own namespace of processes (PROC_PID_INIT_INO of linux/proc_ns.h).
_OF_THE_MACHINE = f"pid:[{0xEFFFFFFC}]"

#: NVML's compute modes in which a second context is refused (nvml.h).
EXCLUSIVE = (1, 3)


class NoDevice(NotUsable):
    """``--gpu`` was asked for and there is no card to use; the message says what was looked
    for, what was found, and what to do."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """The card at one moment; None where it does not say.

    ``throttle``: names of ``THROTTLE_REASONS``. ``violations``: name of ``VIOLATIONS`` -> seconds
    that its clock was held down so far, and the driver's clock, seconds. ``processes``: process ->
    MiB it holds on the card (None inside where only the process is known); in a container an older
    driver has the host's numbers, and a newer one leaves out who is not in it. ``everybody``:
    whether nobody is left out. ``used_mib``: of the whole card, MiB. Clocks in MHz.
    """

    sm_clock_mhz: Optional[float] = None
    mem_clock_mhz: Optional[float] = None
    temperature_c: Optional[float] = None
    throttle: Optional[Tuple[str, ...]] = None
    violations: Mapping[str, Tuple[float, float]] = dataclasses.field(default_factory=dict)
    processes: Optional[Mapping[int, Optional[float]]] = None
    used_mib: Optional[float] = None
    everybody: bool = True


def sees_everybody() -> bool:
    """Whether this process is in the machine's own namespace of processes. In another one NVIDIA's
    driver (open-gpu-kernel-modules, ``os_find_ns_pid``) lists those alone that are in it as well.
    """
    try:
        return os.readlink("/proc/self/ns/pid") == _OF_THE_MACHINE
    except OSError:
        return False


@dataclasses.dataclass(frozen=True)
class Card:
    """The chosen card, or an instance of one that is partitioned (MIG). ``uuid`` goes to the
    processes and into no table: it names the machine. ``_board`` is the card itself, whose clock
    and temperature an instance shares."""

    index: int
    uuid: str
    name: str
    driver: str
    cuda_of_driver: str
    memory_mib: float
    #: Whether it takes the context of one process at a time (compute mode EXCLUSIVE_PROCESS).
    exclusive: bool
    _library: Any = dataclasses.field(repr=False, compare=False)
    _handle: Any = dataclasses.field(repr=False, compare=False)
    _board: Any = dataclasses.field(repr=False, compare=False)

    def about(self) -> Dict[str, Any]:
        """What ``run.json`` says of it."""
        return {
            "index": self.index,
            "name": self.name,
            "driver": self.driver,
            "cuda_of_driver": self.cuda_of_driver,
            "memory_mib": self.memory_mib,
            "exclusive": self.exclusive,
        }

    def sample(self) -> Sample:
        """The card now. Never raises: what it does not answer is None."""
        nvml, handle, board = self._library, self._handle, self._board

        def asked(question: Callable[[], Any]) -> Any:
            try:
                return question()
            except Exception:  # not every card, driver or container answers every question
                return None

        def throttle() -> Tuple[str, ...]:
            # The older name where package or driver (before R535) does not know the newer one.
            bits = asked(lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(board))
            if bits is None:
                bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(board)
            return tuple(name for bit, name in THROTTLE_REASONS if bits & bit)

        def violations() -> Dict[str, Tuple[float, float]]:
            found = {}
            for policy, name in VIOLATIONS:
                one = asked(lambda policy=policy: nvml.nvmlDeviceGetViolationStatus(board, policy))
                if one is not None:
                    found[name] = (one.violationTime / 1e9, one.referenceTime / 1e6)
            return found

        def processes() -> Dict[int, Optional[float]]:
            found: Dict[int, Optional[float]] = {}
            for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle):
                used = one.usedGpuMemory
                found[one.pid] = None if used is None else used / _MIB
            return found

        def clock(which: int) -> Any:
            return asked(lambda: nvml.nvmlDeviceGetClockInfo(board, which))

        return Sample(
            sm_clock_mhz=clock(nvml.NVML_CLOCK_SM),
            mem_clock_mhz=clock(nvml.NVML_CLOCK_MEM),
            temperature_c=asked(
                lambda: nvml.nvmlDeviceGetTemperature(board, nvml.NVML_TEMPERATURE_GPU)
            ),
            throttle=asked(throttle),
            violations=violations(),
            processes=asked(processes),
            used_mib=asked(lambda: nvml.nvmlDeviceGetMemoryInfo(handle).used / _MIB),
            everybody=sees_everybody(),
        )


def _library() -> Any:
    """The module ``pynvml``. Raises ImportError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an older package of that name says that it is old
        import pynvml
    return pynvml


def find(number: int) -> Card:
    """The card ``cuda:number``: of those ``CUDA_VISIBLE_DEVICES`` leaves, else of all, in the
    order of NVML (nvidia-smi's); of a partitioned card (MIG) each instance. Raises NoDevice."""
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
            f"{wanted}, and NVML (libnvidia-ml.so.1, part of NVIDIA's driver, asked through "
            f"{_binding()}) does not start: {error}; install the driver, or run without --gpu"
        ) from error
    said = f"{wanted}; NVML{_version(nvml)} found driver {driver}"
    try:
        handles = _visible(nvml, os.environ.get("CUDA_VISIBLE_DEVICES"))
    except NoDevice as error:
        raise NoDevice(f"{said}, and {error}") from error
    except Exception as error:
        raise NoDevice(
            f"{said}, and its cards cannot be asked for: {error}; run nvidia-smi to see why"
        ) from error
    if number >= len(handles):
        limit = os.environ.get("CUDA_VISIBLE_DEVICES")
        left = "" if limit is None else f" that CUDA_VISIBLE_DEVICES={limit!r} leaves"
        known = ", ".join(f"cuda:{n} {_name(nvml, one[1])}" for n, one in enumerate(handles))
        raise NoDevice(
            f"{said} and {len(handles)} device(s){left}{f' ({known})' if known else ''}"
            f"{_unusable(nvml)}; "
            "choose another with --device cuda:N, or run without --gpu"
        )
    index, handle, board = handles[number]
    try:
        return Card(
            index=index,
            uuid=_text(nvml.nvmlDeviceGetUUID(handle)),
            name=_name(nvml, handle),
            driver=driver,
            cuda_of_driver=_cuda(nvml),
            memory_mib=nvml.nvmlDeviceGetMemoryInfo(handle).total / _MIB,
            exclusive=_exclusive(nvml, board),
            _library=nvml,
            _handle=handle,
            _board=board,
        )
    except Exception as error:  # a card that fell off the bus is still counted
        raise NoDevice(
            f"{said}, and its device {index} does not answer: {error}; reset it or choose another"
        ) from error


def _binding() -> str:
    """Whose ``pynvml`` it is, with its version: an older package of that name there is too."""
    for name in ("nvidia-ml-py", "pynvml"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "pynvml"


def _version(nvml: Any) -> str:
    """`` 13.580.95``: of the library that answers; empty where it does not say."""
    try:
        return f" {_text(nvml.nvmlSystemGetNVMLVersion())}"
    except Exception:  # of use in a message, and decides nothing
        return ""


def _exclusive(nvml: Any, board: Any) -> bool:
    try:
        return nvml.nvmlDeviceGetComputeMode(board) in EXCLUSIVE
    except Exception:  # one that does not say has no such mode
        return False


def _visible(nvml: Any, limit: Optional[str]) -> List[Tuple[int, Any, Any]]:
    """(NVML's index, handle, handle of the whole card) of each that this run may use.

    ``limit`` is read as CUDA reads it: numbers, UUIDs of cards (or their beginnings) or of MIG
    instances, and what stands behind the first that is none does not count. Raises NoDevice.
    """
    boards = [_board(nvml, number) for number in range(nvml.nvmlDeviceGetCount())]
    if limit is None:
        return [one for n, board in enumerate(boards) for one in _parts(nvml, n, board)]
    found = []
    for word in map(str.strip, limit.split(",")):
        if word.isdigit() and int(word) < len(boards):
            _in_order(nvml, boards, limit)
            found += _parts(nvml, int(word), boards[int(word)])
        elif word.startswith("MIG-"):
            try:
                handle = nvml.nvmlDeviceGetHandleByUUID(word)
                board = nvml.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)
            except Exception:  # no instance of that name
                break
            found.append((nvml.nvmlDeviceGetIndex(board), handle, board))
        else:
            uuids = [_uuid(nvml, board) for board in boards]
            named = [n for n, uuid in enumerate(uuids) if word and uuid.startswith(word)]
            if len(named) != 1:
                break
            found += _parts(nvml, named[0], boards[named[0]])
    return found


def _parts(nvml: Any, index: int, board: Any) -> List[Tuple[int, Any, Any]]:
    """What CUDA can use of one card: the card, or its instances where it is partitioned; nothing
    of one that is lost or not to be used."""
    if board is None:
        return []
    try:
        partitioned = nvml.nvmlDeviceGetMigMode(board)[0]
    except Exception:  # most cards cannot be, and say so
        partitioned = False
    if not partitioned:
        return [(index, board, board)]
    found = []
    for number in range(nvml.nvmlDeviceGetMaxMigDeviceCount(board)):
        try:
            found.append((index, nvml.nvmlDeviceGetMigDeviceHandleByIndex(board, number), board))
        except Exception:  # places for instances that were not made
            continue
    return found


def _board(nvml: Any, number: int) -> Any:
    """A card's handle; None for one that fell off the bus or is another user's, which is counted
    all the same."""
    try:
        return nvml.nvmlDeviceGetHandleByIndex(number)
    except Exception:
        return None


def _uuid(nvml: Any, board: Any) -> str:
    return "" if board is None else _text(nvml.nvmlDeviceGetUUID(board))


def _unusable(nvml: Any) -> str:
    """What is in the machine and cannot be used, for the message that says what was found."""
    said = []
    for number in range(nvml.nvmlDeviceGetCount()):
        board = _board(nvml, number)
        if board is None:
            said.append(f"device {number} does not answer or is not yours")
        elif not _parts(nvml, number, board):
            said.append(f"device {number} is in MIG mode and has no instance that CUDA could use")
    return "".join(f"; {one}" for one in said)


def _in_order(nvml: Any, boards: List[Any], limit: str) -> None:
    """Refuse numbers that CUDA may count otherwise: by default the fastest card is its first."""
    names = dict.fromkeys(_name(nvml, board) for board in boards if board is not None)
    if len(names) > 1 and os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        raise NoDevice(
            f"CUDA_VISIBLE_DEVICES={limit!r} numbers cards that differ ({', '.join(names)}), which "
            "CUDA may count in another order; set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the "
            "card by its UUID (nvidia-smi -L)"
        )


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

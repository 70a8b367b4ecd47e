"""Time between two events on a CUDA device.

Of a runtime that has no events of its own but takes a stream, by the driver API
(https://docs.nvidia.com/cuda/cuda-driver-api), which needs no package beside the driver.
"""

from __future__ import annotations

import ctypes
import time
from typing import Any, Callable, List

#: The longest launch that is waited out, in seconds; the wait is twice the launch.
LONGEST_LEAD = 0.1

#: CU_STREAM_NON_BLOCKING and CU_EVENT_DEFAULT.
_NON_BLOCKING, _TIMED = 1, 0


def lead(launch: Callable[[], Any], wait: Callable[[], Any]) -> float:
    """Seconds of a wait on the card that outlasts the host's ``launch`` of one call, so that all
    of it lies queued when the wait ends: between events behind it is then what the card takes, and
    not the gaps of a host that launches slower than the card works. The blocking kernel of
    https://github.com/NVIDIA/nvbench does the same. Of a launch that takes longer than
    ``LONGEST_LEAD`` some gaps remain. ``wait`` waits for the card."""
    found = []
    for _ in range(3):
        wait()
        started = time.perf_counter()
        launch()
        found.append(time.perf_counter() - started)
    return 2 * min(*found, LONGEST_LEAD)


class Stream:
    """A stream of the first card that the process sees, and two events on it. ``address`` is what
    a runtime is given. Raises RuntimeError, with the driver's name for the error."""

    def __init__(self) -> None:
        self._cuda = ctypes.CDLL("libcuda.so.1")
        context, stream, events = ctypes.c_void_p(), ctypes.c_void_p(), []
        self._ask("cuInit", 0)
        # The context that CUDA's runtime opens for everybody in the process.
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(context), 0)
        self._ask("cuCtxSetCurrent", context)
        self._ask("cuStreamCreate", ctypes.byref(stream), _NON_BLOCKING)
        for _ in range(2):
            event = ctypes.c_void_p()
            self._ask("cuEventCreate", ctypes.byref(event), _TIMED)
            events.append(event)
        self._stream, self._begin, self._end = stream, *events
        self._leads: List[float] = []

    @property
    def address(self) -> int:
        return self._stream.value or 0

    def wait(self) -> None:
        self._ask("cuStreamSynchronize", self._stream)

    def seconds(self, launch: Callable[[], Any]) -> float:
        """Between events around what ``launch`` puts on the stream, queued behind a wait that is
        as long as the first time finds it has to be."""
        if not self._leads:
            self._leads.append(lead(launch, self.wait))
        # The stream calls C's usleep, with the microseconds in the place of the pointer: nothing
        # of Python, whose lock the launching thread may hold.
        sleep = ctypes.cast(ctypes.CDLL(None).usleep, ctypes.c_void_p)
        microseconds = ctypes.c_void_p(int(self._leads[0] * 1e6))
        self.wait()
        self._ask("cuLaunchHostFunc", self._stream, sleep, microseconds)
        self._ask("cuEventRecord", self._begin, self._stream)
        launch()
        self._ask("cuEventRecord", self._end, self._stream)
        self._ask("cuEventSynchronize", self._end)
        ms = ctypes.c_float()
        self._ask("cuEventElapsedTime", ctypes.byref(ms), self._begin, self._end)
        return ms.value / 1e3

    def _ask(self, function: str, *arguments: Any) -> None:
        status = getattr(self._cuda, function)(*arguments)
        if status:
            name = ctypes.c_char_p()
            self._cuda.cuGetErrorName(status, ctypes.byref(name))
            raise RuntimeError(f"{function}: {(name.value or b'?').decode()} ({status})")

"""``pynvml`` as a machine with cards would have it; everything else is the real thing.

Stands in a folder of its own name on a run's path, or is given to ``nvml`` directly.
"""

from __future__ import annotations

import types

NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = 1, 0


class NVMLError(Exception):
    """What NVML raises, each with a sentence."""


class Cards:
    """The module, with cards of one's choice. ``missing``: questions that are not answered."""

    NVML_CLOCK_SM, NVML_TEMPERATURE_GPU = NVML_CLOCK_SM, NVML_TEMPERATURE_GPU
    NVMLError = NVMLError

    def __init__(self, count=1, missing=(), init=None, processes=(), reasons=0):
        self.count, self.missing, self.init = count, set(missing), init
        self.processes, self.reasons = list(processes), reasons

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in object.__getattribute__(self, "missing"):
            raise NVMLError(f"Not Supported ({name})")
        return object.__getattribute__(self, name)

    def nvmlInit(self):
        if self.init is not None:
            raise NVMLError(self.init)

    def nvmlShutdown(self):
        pass

    def nvmlSystemGetDriverVersion(self):
        return "580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return 13000

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-0000000{handle}-fake"

    def nvmlDeviceGetName(self, handle):
        return b"Fake Card"

    def nvmlDeviceGetMemoryInfo(self, handle):
        return types.SimpleNamespace(total=16 * 2**30, used=2**30)

    def nvmlDeviceGetClockInfo(self, handle, which):
        return 1980

    def nvmlDeviceGetTemperature(self, handle, which):
        return 41

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]

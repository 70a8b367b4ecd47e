"""``pynvml`` as a machine with cards would have it; everything else is the real thing.

Stands in a folder of its own name on a run's path, or is given to ``nvml`` directly.
"""

from __future__ import annotations

import types

NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_TEMPERATURE_GPU = 1, 2, 0


class NVMLError(Exception):
    """What NVML raises, each with a sentence."""


class Cards:
    """The module, with cards of one's choice. ``missing``: questions that are not answered;
    ``names`` of cards that differ; ``mig``: card -> its instances, each a (card, number);
    ``lost``: cards that are counted and do not answer; ``violations``: policy -> (ns held down,
    driver's clock in microseconds); ``mode``: the compute mode of all."""

    NVML_CLOCK_SM, NVML_CLOCK_MEM = NVML_CLOCK_SM, NVML_CLOCK_MEM
    NVML_TEMPERATURE_GPU = NVML_TEMPERATURE_GPU
    NVMLError = NVMLError

    def __init__(self, count=1, missing=(), init=None, processes=(), reasons=0, names=(),
                 mig=None, violations=None, lost=(), mode=0):  # fmt: skip
        self.count, self.missing, self.init = count, set(missing), init
        self.processes, self.reasons = list(processes), reasons
        self.names, self.mig, self.violations = names, mig or {}, violations or {}
        self.lost, self.mode = lost, mode

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

    def nvmlSystemGetNVMLVersion(self):
        return "13.580.95.05"

    def nvmlSystemGetCudaDriverVersion_v2(self):
        return 13000

    def nvmlDeviceGetCount(self):
        return self.count

    def nvmlDeviceGetHandleByIndex(self, index):
        if index in self.lost:
            raise NVMLError("GPU is lost")
        return index

    def nvmlDeviceGetUUID(self, handle):
        if isinstance(handle, tuple):
            return "MIG-0000000{}-{}-fake".format(*handle)
        return f"GPU-0000000{handle}-fake"

    def nvmlDeviceGetName(self, handle):
        return self.names[handle] if self.names else b"Fake Card"

    def nvmlDeviceGetComputeMode(self, handle):
        return self.mode

    def nvmlDeviceGetIndex(self, handle):
        return handle

    def nvmlDeviceGetMigMode(self, handle):
        if not self.mig:
            raise NVMLError("Not Supported")
        return [int(handle in self.mig)] * 2

    def nvmlDeviceGetMaxMigDeviceCount(self, handle):
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, number):
        if (handle, number) not in self.mig[handle]:
            raise NVMLError("Not Found")
        return (handle, number)

    def nvmlDeviceGetHandleByUUID(self, uuid):
        for one in [one for each in self.mig.values() for one in each]:
            if self.nvmlDeviceGetUUID(one) == uuid:
                return one
        raise NVMLError("Not Found")

    def nvmlDeviceGetDeviceHandleFromMigDeviceHandle(self, handle):
        return handle[0]

    def nvmlDeviceGetMemoryInfo(self, handle):
        size = 4 if isinstance(handle, tuple) else 16
        return types.SimpleNamespace(total=size * 2**30, used=2**30)

    def nvmlDeviceGetViolationStatus(self, handle, policy):
        if isinstance(handle, tuple) or policy not in self.violations:
            raise NVMLError("Not Supported")
        held, clock = self.violations[policy]
        return types.SimpleNamespace(violationTime=held, referenceTime=clock)

    def nvmlDeviceGetClockInfo(self, handle, which):
        if isinstance(handle, tuple):
            raise NVMLError("Invalid Argument")
        return {NVML_CLOCK_SM: 1980, NVML_CLOCK_MEM: 2619}[which]

    def nvmlDeviceGetTemperature(self, handle, which):
        return 41

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle):
        return self.reasons

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [types.SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes]

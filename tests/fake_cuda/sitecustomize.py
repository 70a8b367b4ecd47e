"""Put ``torch.cuda`` and ONNX Runtime's CUDA provider out of the way of a whole run.

Where a version set's process imports Switchyard's CUDA runtimes, the device's name becomes
the CPU's, and what would ask the card is answered by hand. No figure here was measured.
"""

import contextlib
import importlib.abc
import importlib.machinery
import os
import sys
import time

MIB = 2**20


def torch_cuda(module):
    import torch

    class Event:
        def __init__(self, enable_timing):
            self.at = None

        def record(self):
            self.at = time.perf_counter()

        def elapsed_time(self, later):
            return (later.at - self.at) * 1e3

    class Stream:
        def wait_stream(self, other):
            pass

    class CUDAGraph:
        def replay(self):
            time.sleep(0)

    def graph(which):
        if os.environ.get("FAKE_NO_CAPTURE"):
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        return contextlib.nullcontext()

    module.DEVICE = "cpu"
    torch.version.cuda = "13.0"
    for name, fake in {
        "init": lambda: None,
        "is_initialized": lambda: True,
        "get_device_name": lambda *given: "Fake Card",
        "synchronize": lambda *given: None,
        "empty_cache": lambda: None,
        "memory_allocated": lambda *given: 6 * MIB,
        "mem_get_info": lambda *given: (70 * MIB, 80 * MIB),
        "set_per_process_memory_fraction": lambda share: None,
        "_sleep": lambda cycles: None,
        "Event": Event,
        "Stream": Stream,
        "current_stream": Stream,
        "stream": contextlib.nullcontext,
        "CUDAGraph": CUDAGraph,
        "graph": graph,
        "memory_stats": lambda *given: {
            "allocated_bytes.all.current": 6 * MIB,
            "allocated_bytes.all.peak": 7 * MIB,
            "reserved_bytes.all.current": 8 * MIB,
            "reserved_bytes.all.peak": 8 * MIB,
            "requested_bytes.all.current": 3 * MIB,
        },
        "memory_snapshot": lambda *given: [
            {"device": 0, "stream": 0, "segment_type": "large", "blocks": [
                {"size": 6 * MIB, "state": "active_allocated"},
                {"size": 1.5 * MIB, "state": "inactive"}, {"size": 0.5 * MIB, "state": "inactive"},
            ]},
        ],
    }.items():  # fmt: skip
        setattr(torch.cuda, name, fake)
    torch.cuda.memory._record_memory_history = lambda **given: None
    torch.cuda.memory._snapshot = lambda: {
        "segments": [], "device_traces": [[{"action": "alloc", "frames": [
            {"name": "forward", "filename": module.__file__, "line": 1}]}]],
    }  # fmt: skip


def onnxruntime_cuda(module):
    """As if the package had the provider; whether a session gets it is ``FAKE_PROVIDER``'s."""
    module.DEVICE = "cpu"
    module.lacks = lambda provider: ""
    module._providers = lambda target, provider, *given: [module.CPU]
    if os.environ.get("FAKE_PROVIDER"):
        module.load.__defaults__ = (module.CPU,)


def tensorflow_cuda(module):
    module.DEVICE = module.HOST
    module.lacks = lambda: ""
    module.set_up = lambda target: {"memory_growth": target.memory_growth}
    module.memory = lambda: {"allocated_mib": 2.0, "peak_mib": 5.0}


def arrangements(module):
    """Of more than twenty, each of which imports two frameworks, one of each sort."""
    module.ARRANGEMENTS = (
        *module.ALONE,
        *module.ENOUGH,
        module.Arrangement(between="emptied", expandable=True, cap=0.5),
        module.Arrangement(processes=2),
    )


def cuda_driver(module):
    module.not_started = lambda uuid: os.environ.get("FAKE_CUDA_SAYS", "")


#: In the processes of a version set, and in the runner.
FAKED = {} if os.environ.get("FAKE_CARD_ALONE") else {
    "switchyard.runtimes.torch_cuda": torch_cuda,
    "switchyard.runtimes.onnxruntime_cuda": onnxruntime_cuda,
    "switchyard.runtimes.tensorflow_cuda": tensorflow_cuda,
}
IN_RUNNER = {
    "switchyard.runner.arrangements": arrangements,
    "switchyard.runner.cuda_driver": cuda_driver,
}


class Finder(importlib.abc.MetaPathFinder):
    """Lets a module be what it is, and then changes it."""

    def find_spec(self, name, path, target=None):
        if name not in FAKED and name not in IN_RUNNER:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            if name in IN_RUNNER:
                IN_RUNNER[name](module)
            elif any("worker" in word for word in sys.orig_argv):
                FAKED[name](module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())

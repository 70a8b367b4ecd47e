"""PyTorch on the one CUDA device that the process sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional, Sequence, Tuple

if TYPE_CHECKING:
    import numpy as np

from switchyard.runtimes import (
    ProviderFallback,
    Runtime,
    Session,
    Target,
    cuda_events,
    torch_recording,
)
from switchyard.worker import fragmentation

DEVICE = "cuda"

_MIB = 1024 * 1024

#: Calls on a stream of their own before a capture, as torch's documentation has it.
BEFORE_CAPTURE = 3

#: Cycles a second of the fastest card's clock.
FASTEST_CLOCK = 2.5e9

#: Figure -> key of ``torch.cuda.memory_stats()`` in bytes, and those that are counts.
_BYTES = {
    "allocated_mib": "allocated_bytes.all.current",
    "reserved_mib": "reserved_bytes.all.current",
    "requested_mib": "requested_bytes.all.current",
    "peak_mib": "allocated_bytes.all.peak",
    "reserved_peak_mib": "reserved_bytes.all.peak",
    "inactive_split_mib": "inactive_split_bytes.all.current",
}
_COUNTS = {"alloc_retries": "num_alloc_retries", "ooms": "num_ooms"}


class TorchRuntime(Runtime):
    """What torch's runtimes have in common on a CUDA device."""

    aside = ("graph",)
    recording = "pickle"

    def lacks(self, target: Target) -> str:
        import torch

        if torch.version.cuda is None:
            return f"torch {torch.__version__} is built without CUDA: install a build with it"
        return ""

    def device_memory(self) -> Dict[str, Optional[float]]:
        import torch

        if not torch.cuda.is_initialized():
            return {}
        return figures(torch.cuda.memory_stats(), torch.cuda.memory_snapshot())

    def settle(self) -> None:
        import torch

        # inductor's benchmarks fill the card's cache by a tensor of its size, which stays cached.
        self.empty_cache()
        torch.cuda.reset_peak_memory_stats()

    def empty_cache(self) -> None:
        import torch

        torch.cuda.empty_cache()

    def release(self) -> Dict[str, Optional[float]]:
        """``workspace_mib`` is cuBLAS's: in torch's allocator, 32 on some cards, of no model."""
        import torch

        held = torch.cuda.memory_allocated()
        # torch has no public name for it, and some versions none at all.
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear is not None:
            clear()
        freed = held - torch.cuda.memory_allocated()
        self.empty_cache()
        return {"workspace_mib": None if clear is None else freed / _MIB}

    def record(self) -> None:
        torch_recording.begin()


def figures(stats: Mapping[str, Any], snapshot: Any) -> Dict[str, Optional[float]]:
    """The figures of ``torch.cuda.memory_stats()`` and ``memory_snapshot()``; None for what
    this version does not say."""
    found: Dict[str, Optional[float]] = {
        name: None if stats.get(key) is None else stats[key] / _MIB for name, key in _BYTES.items()
    }
    found.update({name: stats.get(key) for name, key in _COUNTS.items()})
    allocated, reserved = found["allocated_mib"], found["reserved_mib"]
    found["slack"] = fragmentation.slack(allocated, reserved)
    found["internal_fragmentation"] = fragmentation.internal(found["requested_mib"], allocated)
    free = fragmentation.free_blocks(snapshot)
    found["external_fragmentation"] = fragmentation.external(free)
    found["free_blocks"] = sum(map(len, free.values()))
    return found


def share_of_card(limit_mib: float, total: int) -> float:
    """The share of a card of ``total`` bytes that torch makes ``limit_mib`` or a byte more of: it
    multiplies the share out again and drops what is no whole byte, and with a byte less than a
    limit the last segment of a process that needs all of it would not fit in."""
    return min(1.0, (limit_mib * _MIB + 1) / total)


def placed(module: Any, target: Target) -> Any:
    """``module`` on the device, in place. Raises what starting CUDA raises, with its reason.

    float32 stays float32 unless the target says TF32: cuDNN would use it by default.
    """
    import torch

    torch.cuda.init()
    if target.memory_limit_mib is not None:
        share = share_of_card(target.memory_limit_mib, torch.cuda.mem_get_info()[1])
        torch.cuda.set_per_process_memory_fraction(share)
    torch.backends.cuda.matmul.allow_tf32 = target.tf32
    torch.backends.cudnn.allow_tf32 = target.tf32
    module = module.to(DEVICE)
    strayed = {t.device.type for t in _tensors_of(module)} - {DEVICE}
    if strayed:
        raise ProviderFallback(f"{DEVICE} was asked for, and parameters are on {sorted(strayed)}")
    return module


def _tensors_of(module: Any):
    yield from module.parameters()
    yield from module.buffers()


class CudaSession(Session):
    """Calls the module on the device; every timed call waits for the device."""

    def __init__(self, model, module, call: Callable[..., Any]):
        self._model, self._module, self._call = model, module, call

    def _arguments(self, feeds: Mapping[str, np.ndarray]) -> Tuple[tuple, dict]:
        args, kwargs = self._model.arguments(feeds)
        return _moved(args, kwargs)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        import torch

        from switchyard.worker.building import flatten, to_numpy

        args, kwargs = self._arguments(feeds)
        with torch.no_grad():
            return {path: to_numpy(t) for path, t in flatten(self._call(*args, **kwargs))}

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        return self.series(feeds)["resident"]

    def series(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Callable[[], Any]]:
        import torch

        host_args, host_kwargs = self._model.arguments(feeds)
        args, kwargs = _moved(host_args, host_kwargs)
        call = self._call
        leads: List[int] = []

        def launch() -> None:
            with torch.no_grad():
                call(*args, **kwargs)

        def once() -> None:
            launch()
            torch.cuda.synchronize()

        def from_host() -> None:
            with torch.no_grad():
                there, named = _moved(host_args, host_kwargs)
                call(*there, **named)
            torch.cuda.synchronize()

        def between_events() -> float:
            if not leads:  # once it is warm: not when the series are made
                waited = cuda_events.lead(launch, torch.cuda.synchronize)
                leads.append(int(waited * FASTEST_CLOCK))
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            torch.cuda._sleep(leads[0])
            begin.record()
            launch()
            end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1e3

        return {"resident": once, "from_host": from_host, "device": between_events}

    def outputs(self, feeds: Mapping[str, np.ndarray]) -> Any:
        import torch

        args, kwargs = self._arguments(feeds)
        with torch.no_grad():
            found = self._call(*args, **kwargs)
        torch.cuda.synchronize()
        return found

    def graphed(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs"""
        import torch

        args, kwargs = self._arguments(feeds)
        aside, here = torch.cuda.Stream(), torch.cuda.current_stream()
        aside.wait_stream(here)
        with torch.no_grad(), torch.cuda.stream(aside):
            for _ in range(BEFORE_CAPTURE):
                self._call(*args, **kwargs)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.no_grad(), torch.cuda.graph(graph):
            outputs = self._call(*args, **kwargs)

        # The graph has addresses; what lies there lives as long as this call does.
        def once(held: Any = (args, kwargs, outputs)) -> None:
            graph.replay()
            torch.cuda.synchronize()

        return once

    def write_record(self, path: str, runs: Sequence[Mapping[str, np.ndarray]]) -> None:
        torch_recording.write(path)

    def placement(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        import torch

        from switchyard.runtimes import torch_placement
        from switchyard.worker.building import flatten
        from switchyard.worker.placement import from_devices, with_operations

        args, kwargs = self._arguments(feeds)
        with torch.no_grad():
            outputs = [t for _, t in flatten(self._call(*args, **kwargs))]
        # Of a compiled model what it was compiled from: its kernels have no operations.
        def ran() -> List[Any]:
            return torch_placement.executed(
                lambda: self._module(*args, **kwargs), torch.cuda.synchronize
            )

        where = from_devices({
            "parameters": [t.device.type for t in _tensors_of(self._module)],
            "outputs": [t.device.type for t in outputs],
        })  # fmt: skip
        return with_operations(where, ran)


def _moved(args: tuple, kwargs: dict) -> Tuple[tuple, dict]:
    return (
        tuple(tensor.to(DEVICE) for tensor in args),
        {name: tensor.to(DEVICE) for name, tensor in kwargs.items()},
    )

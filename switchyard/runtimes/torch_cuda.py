"""PyTorch on the one CUDA device that the process sees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Tuple

if TYPE_CHECKING:
    import numpy as np

from switchyard.runtimes import ProviderFallback, Session, Target

DEVICE = "cuda"


def lacks() -> str:
    """Why the installed torch cannot use a CUDA device, empty where it can."""
    import torch

    if torch.version.cuda is None:
        return f"torch {torch.__version__} is built without CUDA: install a build with it"
    return ""


def placed(module: Any, target: Target) -> Any:
    """``module`` on the device, in place. Raises what starting CUDA raises, with its reason.

    float32 stays float32 unless the target says TF32: cuDNN would use it by default.
    """
    import torch

    torch.cuda.init()
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

    def __init__(self, model, module, call: Callable[..., Any], target: Target):
        import torch

        self._model, self._module, self._call = model, module, call
        self.facts = {
            "device": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "tf32": target.tf32,
        }

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

        def once() -> None:
            with torch.no_grad():
                call(*args, **kwargs)
            torch.cuda.synchronize()

        def from_host() -> None:
            with torch.no_grad():
                there, named = _moved(host_args, host_kwargs)
                call(*there, **named)
            torch.cuda.synchronize()

        def between_events() -> float:
            begin = torch.cuda.Event(enable_timing=True)
            end = torch.cuda.Event(enable_timing=True)
            with torch.no_grad():
                begin.record()
                call(*args, **kwargs)
                end.record()
            torch.cuda.synchronize()
            return begin.elapsed_time(end) / 1e3

        return {"resident": once, "from_host": from_host, "device": between_events}

    def placement(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        import torch

        from switchyard.worker.building import flatten
        from switchyard.worker.placement import from_devices

        args, kwargs = self._arguments(feeds)
        with torch.no_grad():
            outputs = [t for _, t in flatten(self._call(*args, **kwargs))]
        return from_devices({
            "parameters": [t.device.type for t in _tensors_of(self._module)],
            "outputs": [t.device.type for t in outputs],
        })  # fmt: skip


def _moved(args: tuple, kwargs: dict) -> Tuple[tuple, dict]:
    return (
        tuple(tensor.to(DEVICE) for tensor in args),
        {name: tensor.to(DEVICE) for name, tensor in kwargs.items()},
    )

"""PyTorch itself: eager, the native baseline, and ``torch.compile``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

from switchyard.runtimes import Session, Target, torch_cuda, triton_host


class TorchSession(Session):
    """Calls the module; ``names`` of outputs are their paths in the model's output."""

    def __init__(self, model, call: Callable[..., Any]):
        self._model = model
        self._call = call

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        import torch

        from switchyard.worker.building import flatten, to_numpy

        args, kwargs = self._model.arguments(feeds)
        with torch.no_grad():
            return {path: to_numpy(t) for path, t in flatten(self._call(*args, **kwargs))}

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        import torch

        args, kwargs = self._model.arguments(feeds)
        call = self._call

        def once():
            with torch.no_grad():
                call(*args, **kwargs)

        return once


def settle_threads(threads: Optional[int]) -> None:
    """For all of this process."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


class TorchEager(torch_cuda.TorchRuntime):
    name = "torch-eager"
    format = "torch"
    tier = "smoke"
    requires = ("torch",)

    def load(self, artefact, model, target: Target = Target()) -> Session:
        settle_threads(target.threads)
        if target.device == "cuda":
            module = torch_cuda.placed(model.module, target)
            return torch_cuda.CudaSession(model, module, module)
        return TorchSession(model, model.module)


class TorchCompile(torch_cuda.TorchRuntime):
    """``torch.compile`` with its defaults; sizes that change make it compile again.

    A dear route: a C++ compiler runs for every kernel, tens of seconds a model on two cores. On a
    card Triton takes its place.
    """

    name = "torch-compile"
    format = "torch"
    tier = "full"
    requires = ("torch",)
    tunes = True  # inductor keeps the fastest configuration of each kernel
    preloads = ("torch._dynamo.aot_compile", "torch._inductor.compile_fx")

    def lacks(self, target: Target) -> str:
        return super().lacks(target) or triton_host.lacks()

    def load(self, artefact, model, target: Target = Target()) -> Session:
        settle_threads(target.threads)
        if target.threads is not None:
            import torch._inductor.config

            # They are written into the kernels, which torch before 2.13 finds again in its cache
            # whatever the process's own count is.
            torch._inductor.config.cpp.threads = target.threads
        if target.device == "cuda":
            module = torch_cuda.placed(model.module, target)
            return torch_cuda.CudaSession(model, module, compiled(module))
        return TorchSession(model, compiled(model.module))


#: As torch 2.0.1 says it, and as 2.1.2, 2.5.1, 2.9.1 and 2.13.0 do.
_NO_SUCH_PYTHON = ("not yet supported for torch.compile", "is not supported on Python")


def compiled(module: Any) -> Any:
    """``torch.compile`` of a module; where this torch has none for this Python, which it says
    only when called, that is what the version set lacks."""
    import torch

    try:
        made = torch.compile(module)
    except RuntimeError as error:
        if any(words in str(error) for words in _NO_SUCH_PYTHON):
            error.stage, error.kind = "import", "removed-api"
        raise
    # Else a model that is loaded once more, in a process where the first was asked other sizes,
    # would be computed by the program for any size, which was not the first one's.
    torch._dynamo.reset()
    return made


RUNTIMES = (TorchEager(), TorchCompile())

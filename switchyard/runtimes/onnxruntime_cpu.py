"""ONNX Runtime with its CPU provider; ``onnxruntime_cuda`` is what a CUDA device adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

from switchyard.manifest import Artefact
from switchyard.runtimes import Runtime, Session, Target

PROVIDERS = ("CPUExecutionProvider",)

#: ``TensorProto.BFLOAT16`` of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; importing
#: onnx for it would count as the model's memory.
BFLOAT16 = 16


class OrtSession(Session):
    def __init__(self, session: Any):
        self._session = session
        self._names = [output.name for output in session.get_outputs()]
        ends = [*session.get_inputs(), *session.get_outputs()]
        self._bound_alone = any(one.type == "tensor(bfloat16)" for one in ends)

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        if self._bound_alone:  # numpy has no bfloat16, so ``run`` neither takes nor gives it
            return self._run_bound(bound(self._session, feeds))
        arrays = self._session.run(self._names, dict(feeds))
        return dict(zip(self._names, arrays))

    def _run_bound(self, binding: Any) -> Dict[str, np.ndarray]:
        self._session.run_with_iobinding(binding)
        return dict(zip(self._names, map(_array, binding.get_outputs())))

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        session, binding = self._session, self._bind(feeds)

        # Up to 1.20 a binding has an array's memory and does not hold the array: ``held`` does.
        def once(held: Any = feeds) -> None:
            session.run_with_iobinding(binding)

        return once

    def _bind(self, feeds: Mapping[str, np.ndarray]) -> Any:
        return bound(self._session, feeds)


def bound(session: Any, feeds: Mapping[str, np.ndarray]) -> Any:
    """A binding in the CPU's memory: inputs where they lie, outputs allocated by the run, since
    their shapes may depend on the values."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, value(array))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cpu")
    return binding


def value(array: np.ndarray, device: str = "cpu") -> Any:
    """An OrtValue of the array, in ``device``'s memory. numpy's bfloat16 is a foreign dtype
    that only its bits can carry across, into host memory alone, from where binding it copies it to
    where the session wants it; versions without that door raise."""
    import numpy as np
    import onnxruntime

    if array.dtype.name != "bfloat16":
        if device == "cpu":
            return onnxruntime.OrtValue.ortvalue_from_numpy(array)
        return onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), BFLOAT16)


def room_for(array: np.ndarray, device: str) -> Any:
    """An OrtValue in ``device``'s memory for an answer of the array's shape and dtype."""
    import onnxruntime

    dtype: Any = array.dtype.type
    if array.dtype.name == "bfloat16":
        dtype = BFLOAT16
    return onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(array.shape), dtype, device, 0)


def _array(value: Any) -> np.ndarray:
    """The OrtValue as an array; bfloat16 by DLPack, since ``numpy()`` refuses it."""
    if value.data_type() != "tensor(bfloat16)":
        return value.numpy()
    import torch

    from switchyard.wire import dtype_named

    tensor = torch.utils.dlpack.from_dlpack(value._ortvalue.to_dlpack())
    return tensor.view(torch.int16).numpy().view(dtype_named("bfloat16"))


def session_options(target: Target) -> Any:
    """Options with the target's threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if target.threads is not None:
        options.intra_op_num_threads = target.threads
    return options


class OnnxRuntimeCpu(Runtime):
    aside = ("device", "graph")
    recording = "json"
    name = "ort"
    tunes = True  # share_on_cpu is of a profile
    format = "onnx"
    tier = "smoke"
    requires = ("onnxruntime",)

    def lacks(self, target: Target) -> str:
        from switchyard.runtimes import onnxruntime_cuda

        return onnxruntime_cuda.lacks(onnxruntime_cuda.CUDA)

    def load(self, artefact: Optional[Artefact], model: Any = None,
             target: Target = Target()) -> Session:  # fmt: skip
        """Raises what ONNX Runtime raises for a graph, an opset or an IR it does not take."""
        import onnxruntime

        assert artefact is not None
        if target.device == "cuda":
            from switchyard.runtimes import onnxruntime_cuda

            return onnxruntime_cuda.load(artefact, target)
        options = session_options(target)
        session = onnxruntime.InferenceSession(
            str(artefact.file(self.format)), sess_options=options, providers=list(PROVIDERS)
        )
        return OrtSession(session)


RUNTIMES = (OnnxRuntimeCpu(),)

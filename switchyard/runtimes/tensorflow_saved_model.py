"""TensorFlow, for SavedModels: the signature ``serving_default``, on the CPU or a GPU."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

from switchyard.hops.onnx_io import Declared
from switchyard.manifest import Artefact
from switchyard.runtimes import Runtime, Session, Target

SIGNATURE = "serving_default"


def read_signature(folder: pathlib.Path) -> Dict[str, List[Declared]]:
    """Inputs and outputs of ``serving_default``, from the protocol buffer alone.

    Raises KeyError where the SavedModel has no such signature.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    content.ParseFromString((pathlib.Path(folder) / "saved_model.pb").read_bytes())
    signatures = content.meta_graphs[0].signature_def
    if SIGNATURE not in signatures:
        raise KeyError(f"the SavedModel has no signature {SIGNATURE!r}")
    signature = signatures[SIGNATURE]

    def declared(name: str, info: Any) -> Declared:
        dims = tuple(d.size if d.size >= 0 else None for d in info.tensor_shape.dim)
        return (name, tf.dtypes.as_dtype(info.dtype).name, dims)

    return {
        "inputs": [declared(*item) for item in sorted(signature.inputs.items())],
        "outputs": [declared(*item) for item in sorted(signature.outputs.items())],
    }


class TensorFlowSession(Session):
    def __init__(self, loaded: Any, signature: Any):
        self._loaded = loaded  # owns the variables; the signature alone lets them go
        self._signature = signature

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        outputs = self._signature(**self._constants(feeds))
        return {name: value.numpy() for name, value in outputs.items()}

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        signature, constants = self._signature, self._constants(feeds)
        return lambda: signature(**constants)

    def _constants(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, Any]:
        """The arrays in their own dtype: never cast, so that a signature that wants another
        one refuses them."""
        import tensorflow as tf

        return {name: tf.constant(array) for name, array in feeds.items()}


class TensorFlowSavedModel(Runtime):
    name = "tf"
    recording = "xplane.pb"
    format = "saved_model"
    tier = "quick"
    requires = ("tensorflow",)
    tunes = True  # share_on_cpu is of times

    def lacks(self, target: Target) -> str:
        from switchyard.runtimes import tensorflow_cuda

        return tensorflow_cuda.lacks()

    def device_memory(self) -> Dict[str, Optional[float]]:
        from switchyard.runtimes import tensorflow_cuda

        return tensorflow_cuda.memory()

    def memory_after(self, call: Callable[[], Any]) -> Dict[str, Optional[float]]:
        from switchyard.runtimes import tensorflow_trace

        traced = tensorflow_trace.figures(tensorflow_trace.during(call))
        return {**self.device_memory(), **traced}

    def load(self, artefact: Optional[Artefact], model: Any = None,
             target: Target = Target()) -> Session:  # fmt: skip
        """Raises ValueError where there is no ``serving_default``, else what TensorFlow
        raises: RuntimeError where it has run already and another thread count is set."""
        import tensorflow as tf

        assert artefact is not None
        if target.threads is not None:
            tf.config.threading.set_intra_op_parallelism_threads(target.threads)
            # Operators that do not wait for each other would be given others beside these.
            tf.config.threading.set_inter_op_parallelism_threads(target.threads)
        if target.device == "cuda":
            from switchyard.runtimes import tensorflow_cuda

            tensorflow_cuda.set_up(target)
        path = str(artefact.file(self.format))
        loaded = tf.saved_model.load(path)
        if SIGNATURE not in loaded.signatures:
            known = ", ".join(sorted(loaded.signatures)) or "none at all"
            raise ValueError(f"the SavedModel has no signature {SIGNATURE!r}; it has {known}")
        if target.device == "cuda":
            return tensorflow_cuda.session_on_gpu(loaded, loaded.signatures[SIGNATURE], path)
        return TensorFlowSession(loaded, loaded.signatures[SIGNATURE])


RUNTIMES = (TensorFlowSavedModel(),)

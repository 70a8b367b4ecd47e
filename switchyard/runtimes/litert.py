"""LiteRT (once TensorFlow Lite), from the ``ai_edge_litert`` package, on the CPU.

Before October 2024 that package was called ``tflite_runtime``. Not ``tf.lite``, which has
TensorFlow's own operators linked in and is no runtime apart from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Mapping, Optional

if TYPE_CHECKING:
    import numpy as np

from switchyard.hops.onnx_io import Declared
from switchyard.manifest import Artefact, ManifestMismatch
from switchyard.runtimes import Runtime, Session, Target

SIGNATURE = "serving_default"


def tensors(interpreter: Any) -> Dict[str, Dict[str, Mapping[str, Any]]]:
    """Details of an interpreter's inputs and outputs, by the names of its signature, or by
    the tensors' own names in a file without one."""
    signatures = interpreter.get_signature_list()
    if signatures:
        key = SIGNATURE if SIGNATURE in signatures else next(iter(signatures))
        runner = interpreter.get_signature_runner(key)
        return {"inputs": runner.get_input_details(), "outputs": runner.get_output_details()}
    return {
        "inputs": {entry["name"]: entry for entry in interpreter.get_input_details()},
        "outputs": {entry["name"]: entry for entry in interpreter.get_output_details()},
    }


def read_signature(interpreter: Any) -> Dict[str, List[Declared]]:
    """Names, dtypes and declared dimensions (None where dynamic) of an open interpreter,
    ``ai_edge_litert``'s or ``tf.lite``'s."""
    import numpy as np

    def declared(name: str, details: Mapping[str, Any]) -> Declared:
        dims = details.get("shape_signature")
        dims = details["shape"] if dims is None or not len(dims) else dims
        shape = tuple(int(size) if size >= 0 else None for size in dims)
        return (name, np.dtype(details["dtype"]).name, shape)

    return {
        side: [declared(*item) for item in entries.items()]
        for side, entries in tensors(interpreter).items()
    }


class _LiteRtSession(Session):
    def __init__(self, interpreter: Any):
        self._interpreter = interpreter
        sides = tensors(interpreter)
        self._inputs = {name: entry["index"] for name, entry in sides["inputs"].items()}
        self._outputs = {name: entry["index"] for name, entry in sides["outputs"].items()}
        self._shapes: Dict[str, Any] = {}

    def run(self, feeds: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        self._set(feeds)
        self._interpreter.invoke()
        # get_tensor copies; tensor() would give a view that the next invoke overwrites.
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def prepare(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], Any]:
        """Inputs are set once: invoke does not write to them."""
        self._set(feeds)
        return self._interpreter.invoke

    def _set(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Raises ManifestMismatch for names that are not the file's, ValueError or
        RuntimeError where the file cannot take the dtype or the shape."""
        if set(feeds) != set(self._inputs):
            raise ManifestMismatch(
                f"the file's inputs are {sorted(self._inputs)}, not {sorted(feeds)}"
            )
        shapes = {name: tuple(array.shape) for name, array in feeds.items()}
        if shapes != self._shapes:
            self._shapes = {}
            for name, shape in shapes.items():
                # strict: a dimension that the file fixes may not be resized, which would
                # otherwise run on whatever constants were folded for the fixed size.
                self._interpreter.resize_tensor_input(self._inputs[name], shape, strict=True)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for name, array in feeds.items():
            self._interpreter.set_tensor(self._inputs[name], array)


class LiteRt(Runtime):
    name = "litert"
    format = "tflite"
    tier = "quick"
    requires = ("ai_edge_litert | tflite_runtime",)
    devices = ("cpu",)
    elsewhere = "LiteRT has no CUDA backend"

    def load(self, artefact: Optional[Artefact], model: Any = None,
             target: Target = Target()) -> Session:  # fmt: skip
        """Allocates as well, so that operators it lacks (``Flex...``) show at load.

        Raises what LiteRT raises: ValueError or RuntimeError; and RuntimeError where TensorFlow's
        own operators would run only because TensorFlow is in this process too.
        """
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ModuleNotFoundError:
            from tflite_runtime.interpreter import Interpreter

        assert artefact is not None
        path = str(artefact.file(self.format))
        interpreter = Interpreter(model_path=path, num_threads=target.threads)
        try:
            interpreter.allocate_tensors()
        except RuntimeError as error:
            # A size that is open counts as 1 here, at which a good file may not prepare; it is
            # allocated again at the inputs' own sizes. An operator that is missing stays so.
            if _lacks_operator(error) or not _has_open_sizes(interpreter):
                raise
        _refuse_borrowed(interpreter)
        return _LiteRtSession(interpreter)


def _refuse_borrowed(interpreter: Any) -> None:
    """An older LiteRT finds the Flex delegate of a TensorFlow that was imported beside it; where it
    serves, and where it is measured, there is none."""
    listed = getattr(interpreter, "_get_ops_details", list)()
    borrowed = sorted({each["op_name"] for each in listed if each["op_name"].startswith("Flex")})
    if borrowed:
        raise RuntimeError(
            "Select TensorFlow op(s), included in the given model, is(are) not supported by this "
            f"interpreter alone: {', '.join(borrowed)}"
        )


def _lacks_operator(error: Exception) -> bool:
    return any(words in str(error) for words in ("Select TensorFlow op", "custom op"))


def _has_open_sizes(interpreter: Any) -> bool:
    return any(-1 in entry["shape_signature"] for entry in interpreter.get_input_details())


RUNTIMES = (LiteRt(),)

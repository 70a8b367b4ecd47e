"""litert-torch (once ai-edge-torch): a torch program to a TFLite file, without ONNX or TensorFlow.

https://github.com/google-ai-edge/litert-torch; what is said of it here was read in its 0.10.0:

* layouts stay: NCHW goes in and comes out (``to_channel_last_io`` is for who asks);
* without ``enable_x64``, its default, 64-bit tensors become 32-bit ones, inputs and outputs too,
  and only a log says so;
* where a lowering takes an open size for a number it goes on with 0, and writes outputs that hold
  nothing, without a word;
* the signature's inputs are ``args_0`` and on for positional arguments, else forward's names; its
  outputs ``output_0`` and on, or a dict's keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence

if TYPE_CHECKING:
    import numpy as np

from switchyard.hops import Conversion, Hop
from switchyard.hops.channels_last import matched
from switchyard.hops.onnx_io import Declared
from switchyard.hops.torch_program import argument_order, dynamic_or_fixed, narrowed, notes
from switchyard.manifest import Manifest
from switchyard.runtimes import litert

FILE = "model.tflite"


class LiteRtTorch(Hop):
    """Dimensions declared dynamic stay so where that works, else all are fixed and ``facts`` say
    why (``dynamic``, ``dynamic_reason``). ``facts["narrowed"]``: dtypes that became others."""

    name = "litert-torch"
    source = "torch"
    targets = ("tflite",)
    tier = "full-only"
    environment = "litert-torch"
    requires = ("torch", "litert_torch")
    refusals = (
        ("", "Lowering not found", "unsupported-operator"),
        ("", "Unsupported ir element type", "unsupported-dtype"),
        ("KeyError", "torch.complex", "unsupported-dtype"),
        ("", "data-dependent", "data-dependent-control-flow"),
        ("GuardOnDataDependentSymNode", "", "data-dependent-control-flow"),
        ("", "Data-dependent", "data-dependent-control-flow"),
        ("TypeError", "but got FakeTensor", "data-dependent-control-flow"),
        ("NonConcreteBooleanIndexError", "", "dynamic-shape"),  # JAX's, of a size that is data
    )

    def convert(self, job: Conversion) -> Manifest:
        """Raises what torch.export and litert-torch raise."""
        import litert_torch
        from ai_edge_litert.interpreter import Interpreter

        outputs = job.model.run(job.example)
        path = job.target / FILE
        positional = len(job.model.arguments(job.example)[0])

        def export(shapes: Optional[dict]) -> None:
            # New tensors: torch marks those it was given as dynamic.
            args, kwargs = job.model.arguments(job.example)
            litert_torch.convert(
                job.model.module, args, sample_kwargs=kwargs or None, dynamic_shapes=shapes
            ).export(str(path))
            if shapes is not None:
                require_sizes(signature()["outputs"], outputs)

        def signature() -> Dict[str, List[Declared]]:
            return litert.read_signature(Interpreter(model_path=str(path)))

        facts = dynamic_or_fixed(job.dims, export)
        found = signature()
        order = argument_order(job.model.module.forward, list(job.example))
        sides = {
            "inputs": (job.example, input_names(order, positional)),
            "outputs": (outputs, output_names(list(outputs), found["outputs"])),
        }
        changed: Dict[str, str] = {}
        for side, (arrays, names) in sides.items():
            changed.update(narrowed(arrays, names, found[side]))
        if changed:
            facts["narrowed"] = changed
        return Manifest(
            {"tflite": FILE},
            *(notes(arrays, names, found[side]) for side, (arrays, names) in sides.items()),
            facts,
        )


def require_sizes(found: Sequence[Declared], outputs: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError where an output of the file can hold nothing and none of torch's is so."""
    if any(0 in array.shape for array in outputs.values()):
        return
    for name, _, dims in found:
        if 0 in dims:
            raise ValueError(f"with open sizes {name} is written with a size of 0")


def input_names(order: Sequence[str], positional: int) -> Dict[str, str]:
    """The tool's rule: path -> name in the signature, where ``positional`` of the inputs, in the
    order of forward's parameters, were given as positional arguments."""
    return {path: f"args_{place}" if place < positional else path
            for place, path in enumerate(order)}  # fmt: skip


def output_names(paths: Sequence[str], found: Sequence[Any]) -> Mapping[str, str]:
    """path -> name in the signature: a dict's keys as they are, else by place."""
    return matched(paths, [name for name, _, _ in found])


HOPS = (LiteRtTorch(),)

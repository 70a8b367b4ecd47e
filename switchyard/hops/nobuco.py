"""nobuco: a torch module, traced on its example, to a Keras 2 model, channels last.

https://github.com/AlexanderLutsenko/nobuco; what is said of it here was read in its 0.17.0:

* ``converters/tensor.py`` turns every tensor of three and more dimensions channels-last, whatever
  its meaning, and no other; inputs by default, outputs where it is asked to (else each stays as
  its last operator left it, which nothing says);
* it traces Python: a branch, a loop and a number read from a tensor stay the example's, and so do
  sizes unless ``trace_shape`` has it trace these as well;
* what it has no converter for is one ``Exception("Unimplemented nodes")``, the names on stdout;
  a converter that raises is printed and fails later, as ``Failed conversion: OP``;
* outputs are taken in the order of the structure, a mapping's by its values.
"""

from __future__ import annotations

import contextlib
import io
import re
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from switchyard.hops import Conversion, Hop, Refusal
from switchyard.hops.open_sizes import open_or_fixed
from switchyard.hops.printed import uncoloured
from switchyard.hops.torch_program import by_name
from switchyard.manifest import Manifest, TensorNote
from switchyard.runtimes.tensorflow_saved_model import read_signature

SAVED_MODEL = "saved_model"

#: A line of the tree that names what is missing: ``op[module](arguments) -> results``.
_NODE = re.compile(r"([\w.]+)\[([\w.]+)\]\(")
_STUB = re.compile(r"(?:Failed conversion|Unimplemented op): .*?(?:method|function) '?([\w.]+)")


def permutation(rank: int) -> Optional[Tuple[int, ...]]:
    """nobuco's rule (``perm_pytorch2keras``): channels-last from three dimensions on."""
    return (0, *range(2, rank), 1) if rank >= 3 else None


class Nobuco(Hop):
    """Sizes are traced where the model declares some dynamic; where that fails, the example's are
    taken and ``facts`` say so (``dynamic``)."""

    name = "nobuco"
    source = "torch"
    targets = ("saved_model",)
    tier = "full-only"
    environment = "nobuco"
    # Which imports torch and TensorFlow itself, in the one order that every set bears.
    requires = ("switchyard.worker.nobuco_ground",)
    preloads = ("rich.console", "rich.traceback", "sty", "tqdm")
    # What it puts in the place of an operator that it has no converter for.
    refusals = (("AttributeError", "UnimplementedOpStub", "unsupported-operator"),)

    def convert(self, job: Conversion) -> Manifest:
        """Raises Refusal (``unsupported-operator``), and what nobuco and Keras raise."""
        outputs = job.model.run(job.example)
        args, kwargs = job.model.arguments(job.example)
        # Before nobuco traces: it leaves every forward wrapped, and then none has its names.
        tensors = by_name(job, args, kwargs)
        import nobuco  # only now: see switchyard.worker.nobuco_ground

        dynamic = any(isinstance(dim, str) for dims in job.dims.values() for dim in dims)
        path = job.target / SAVED_MODEL

        def export(open_: bool) -> None:
            self._export(nobuco, job, (args, kwargs), tensors, list(outputs), path, open_)

        _, facts = open_or_fixed(dynamic, export, lambda error: not isinstance(error, Refusal))
        return manifest(job, outputs, read_signature(path), facts)

    def _export(self, nobuco: Any, job: Conversion, arguments: Tuple[tuple, Mapping[str, Any]],
                tensors: Mapping[str, Any], outputs: Sequence[str], path: Any,
                dynamic: bool) -> None:  # fmt: skip
        """Convert and save; ``dynamic``: named dimensions are, and shapes are traced.
        ``tensors``: the arguments by the names of the model's inputs."""
        import tensorflow as tf

        args, kwargs = arguments
        shapes = {
            tensor: [dim if isinstance(dim, int) else None for dim in job.dims[name]]
            for name, tensor in tensors.items()
        }
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                model = nobuco.pytorch_to_keras(
                    job.model.module,
                    list(args),
                    dict(kwargs),
                    input_shapes=shapes if dynamic else None,
                    inputs_channel_order=nobuco.ChannelOrder.TENSORFLOW,
                    outputs_channel_order=nobuco.ChannelOrder.TENSORFLOW,
                    output_names=dict(enumerate(outputs)),
                    trace_shape=dynamic,
                    full_validation=False,
                )
        except Exception as error:
            found = explained(error, printed.getvalue())
            if found is error:
                raise
            raise found from None  # else the first cause would speak, which names no operator
        finally:
            print(uncoloured(printed.getvalue()))
        # Keras would name them by its layers, of which it renames the second of a name.
        given = (*args, *kwargs.values())
        names = [name for one in given for name, tensor in tensors.items() if tensor is one]
        specs = [tf.TensorSpec(t.shape, t.dtype, n) for n, t in zip(names, model.inputs)]

        def serving(*tensors: Any) -> Dict[str, Any]:
            called = model(list(tensors) if len(tensors) > 1 else tensors[0], training=False)
            flat = called if isinstance(called, (list, tuple)) else [called]
            return dict(zip(outputs, flat))

        signature = tf.function(serving, input_signature=specs)
        tf.saved_model.save(model, str(path), signatures={"serving_default": signature})


def explained(error: Exception, said: str) -> Exception:
    """The failure with the operators that nobuco has no converter for, from what it printed."""
    if "Unimplemented nodes" in str(error):
        _, _, tree = uncoloured(said).rpartition("Unimplemented nodes:")
        missing = leaves(tree)
        message = f"nobuco has no converter for {', '.join(missing) or 'what it printed'}"
        return Refusal("unsupported-operator", message, missing[0] if missing else "")
    stub = _STUB.search(str(error))
    if stub:
        message = f"nobuco's converter failed: {error}"
        return Refusal("unsupported-operator", message, stub[1])
    return error


def leaves(tree: str) -> List[str]:
    """The nodes without children of a printed tree, each once: ``module.op``."""
    lines = [(line.find(found[0]), f"{found[2]}.{found[1]}")
             for line in tree.splitlines() if (found := _NODE.search(line))]  # fmt: skip
    last = len(lines) - 1
    deepest = (
        name for place, (depth, name) in enumerate(lines)
        if place == last or lines[place + 1][0] <= depth
    )  # fmt: skip
    return list(dict.fromkeys(deepest))


def manifest(
    job: Conversion, outputs: Mapping[str, Any], signature: Mapping[str, Any], facts: Mapping
) -> Manifest:
    """Notes by nobuco's own rule. An output that is not in the signature has no note, and the
    comparison will miss it."""

    def note(path: str, array: Any) -> TensorNote:
        order = permutation(array.ndim)
        basis = "unchanged" if order is None else "rule"
        return TensorNote(path, path, array.dtype.name, order, basis=basis)

    there = {side: {name for name, _, _ in signature[side]} for side in ("inputs", "outputs")}
    return Manifest(
        files={"saved_model": SAVED_MODEL},
        inputs=tuple(note(p, a) for p, a in job.example.items() if p in there["inputs"]),
        outputs=tuple(note(p, a) for p, a in outputs.items() if p in there["outputs"]),
        facts=facts,
    )


HOPS = (Nobuco(),)

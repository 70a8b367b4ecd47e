"""torchax: a torch program as JAX operations, which jax2tf writes as a SavedModel.

https://github.com/google/torchax, https://docs.jax.dev/en/latest/jax2tf.html; what is said of them
here was read in torchax 0.0.13 and JAX 0.10.2:

* torchax's tables name overloads for named tensors, which torch 2.13 no longer has, so that its
  import fails; ``declare`` gives torch those names, with nothing behind them;
* its ``exported_program_to_jax`` runs the decomposed program node by node and asserts that it
  knows the operator; the assertion's text is the operator;
* JAX computes in 32 bits unless told otherwise (``enable_accuracy_mode`` tells it);
* the SavedModel holds one XlaCallModule, StableHLO inside, lowered for the platforms named;
  weights are its variables, inputs and outputs have the model's own names, layouts stay.
"""

from __future__ import annotations

import functools
import re
from typing import Any, Callable, Dict, List, Optional, Tuple

from switchyard.hops import Conversion, Hop
from switchyard.hops.torch_program import argument_order, dynamic_or_fixed, narrowed, notes
from switchyard.manifest import Manifest
from switchyard.runtimes import tensorflow_saved_model

FOLDER = "saved_model"

#: What a SavedModel is lowered for: it runs nowhere else.
PLATFORMS = ("cpu", "cuda")

#: The overloads of ``aten`` that torchax 0.0.13 looks up as it is imported and torch 2.13 lacks:
#: all of them for dimensions with names.
OVERLOADS = (
    "all.dimname", "all.dimname_out", "index_add.dimname", "index_copy.dimname",
    "index_copy_.dimname", "index_fill.Dimname_Scalar", "index_fill.Dimname_Tensor",
    "index_fill_.Dimname_Scalar", "index_fill_.Dimname_Tensor", "norm.names_ScalarOpt_dim",
    "norm.names_ScalarOpt_dim_dtype", "norm.names_dtype_out", "norm.names_out",
    "prod.dim_Dimname", "std.correction_names", "std.correction_names_out", "std.names_dim",
    "std.names_out", "std_mean.correction_names", "std_mean.names_dim", "unbind.Dimname",
)  # fmt: skip


def declare(torch: Any) -> Tuple[Any, List[str]]:
    """Give torch those of OVERLOADS that it lacks; the library that holds them (they go with it)
    and their names. Nothing computes them: no program can come to hold one."""
    library = torch.library.Library("aten", "FRAGMENT")
    lacking = []
    for name in OVERLOADS:
        operator, _, overload = name.partition(".")
        if overload not in getattr(torch.ops.aten, operator).overloads():
            library.define(f"{name}(Tensor self) -> Tensor")
            lacking.append(name)
    return library, lacking


class Torchax(Hop):
    """Dimensions declared dynamic stay so where that works, else all are fixed and ``facts`` say
    why (``dynamic``, ``dynamic_reason``). Lowered for ``PLATFORMS``; where JAX lacks an operator
    for one of them, for the CPU alone, and ``facts`` say why (``platforms_reason``)."""

    name = "torchax"
    source = "torch"
    targets = ("saved_model",)
    tier = "full-only"
    environment = "torchax"
    # torchax itself can only be imported after ``declare``.
    requires = ("torch", "jax", "tensorflow")
    preloads = (
        "jax.experimental.jax2tf",
        "jax.export",
        "torch._decomp",
        "torch._refs",
        "torch.export._trace",
        "torch._export.passes.replace_autocast_with_hop_pass",
    )
    refusals = (
        # It asserts that it has a lowering, and says the overload alone (aten.fft_rfft.default);
        # behind it FX says at which node.
        ("AssertionError", re.compile(r"\A\w+(\.\w+)+$", re.MULTILINE), "unsupported-operator"),
        ("", "data-dependent", "data-dependent-control-flow"),
        ("GuardOnDataDependentSymNode", "", "data-dependent-control-flow"),
        ("", "Data-dependent", "data-dependent-control-flow"),
        ("TypeError", "but got FakeTensor", "data-dependent-control-flow"),
        ("NonConcreteBooleanIndexError", "", "dynamic-shape"),  # JAX's, of a size that is data
    )

    def convert(self, job: Conversion) -> Manifest:
        """Raises what torch.export, torchax, JAX and TensorFlow raise."""
        import torch

        library, lacking = declare(torch)
        import torchax

        torchax.enable_accuracy_mode()
        outputs = job.model.run(job.example)
        order = argument_order(job.model.module.forward, list(job.example))
        lowered: Dict[str, Any] = {}

        def export(shapes: Optional[dict]) -> None:
            # New tensors: torch marks those it was given as dynamic.
            args, kwargs = job.model.arguments(job.example)
            program = torch.export.export(
                job.model.module, args, kwargs, dynamic_shapes=shapes, strict=False
            )
            save = functools.partial(_save, program, order, list(outputs), str(job.target / FOLDER))
            lowered.update(for_all_or_the_cpu(save))

        facts: Dict[str, Any] = dynamic_or_fixed(job.dims, export)
        facts["declared_overloads"] = len(lacking)
        facts["accuracy_mode"] = True  # JAX's own default makes int32 of int64, and rounds more
        facts.update(lowered)
        found = tensorflow_saved_model.read_signature(job.target / FOLDER)
        same = {path: path for path in (*job.example, *outputs)}
        changed = narrowed(job.example, same, found["inputs"])
        changed.update(narrowed(outputs, same, found["outputs"]))
        if changed:
            facts["narrowed"] = changed
        return Manifest(
            {"saved_model": FOLDER},
            notes(job.example, same, found["inputs"]),
            notes(outputs, same, found["outputs"]),
            facts,
        )


def for_all_or_the_cpu(save: Callable[[Tuple[str, ...]], None]) -> Dict[str, Any]:
    """``save`` for all ``PLATFORMS``, or for the CPU where JAX has no rule for another of them,
    which is a NotImplementedError ("... not found for platform cuda"): what the manifest says."""
    try:
        save(PLATFORMS)
        return {"platforms": list(PLATFORMS)}
    except NotImplementedError as error:
        if "platform" not in str(error):
            raise
        reason = str(error)[:500]
    save(PLATFORMS[:1])
    return {"platforms": list(PLATFORMS[:1]), "platforms_reason": reason}


def _save(
    program: Any, inputs: List[str], outputs: List[str], folder: str, platforms: Tuple[str, ...]
) -> None:
    """The exported program as a SavedModel whose ``serving_default`` has these names."""
    import numpy as np
    import tensorflow as tf
    import torchax.export
    from jax.experimental import jax2tf

    states, function = torchax.export.exported_program_to_jax(program)
    avals = torchax.export.extract_avals(program)
    converted = jax2tf.convert(
        function,
        polymorphic_shapes=[None, [_polymorphic(aval.shape) for aval in avals]],
        polymorphic_constraints=_constraints(program),
        with_gradient=False,
        native_serialization_platforms=platforms,
    )
    module = tf.Module()
    module.weights = [tf.Variable(np.asarray(state), trainable=False) for state in states]

    def serve(*tensors: Any) -> Dict[str, Any]:
        answers = [one for one in converted(module.weights, list(tensors)) if one is not None]
        return dict(zip(outputs, answers))

    specs = [
        tf.TensorSpec([size if isinstance(size, int) else None for size in aval.shape],
                      tf.dtypes.as_dtype(aval.dtype), name=name)
        for name, aval in zip(inputs, avals)
    ]  # fmt: skip
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})


def _polymorphic(shape: Tuple[Any, ...]) -> str:
    return f"({', '.join(str(size) for size in shape)}{',' * (len(shape) == 1)})"


def _constraints(program: Any) -> Tuple[str, ...]:
    """What ``torch.export`` found to hold of the program's sizes, as JAX wants to be told."""
    found = []
    for symbol, between in program.range_constraints.items():
        found.append(f"{symbol} >= {max(1, int(between.lower))}")
        if str(between.upper).isdigit() and int(between.upper) < 2**31:
            found.append(f"{symbol} <= {int(between.upper)}")
    return tuple(found)


HOPS = (Torchax(),)

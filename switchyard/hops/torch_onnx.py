"""The two exporters of ``torch.onnx.export``: dynamo (``torch.export``) and TorchScript."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, Optional, Tuple

from switchyard.hops import Conversion, Hop, Refusal
from switchyard.hops.onnx_io import read_back
from switchyard.hops.open_sizes import open_or_fixed
from switchyard.hops.torch_program import argument_order, by_name
from switchyard.manifest import Manifest, TensorNote
from switchyard.worker.blame import chain

FILE = "model.onnx"


def _output_paths(job: Conversion) -> Tuple[str, ...]:
    # A module in train mode must not be asked: that alone would change its statistics.
    return job.outputs or tuple(job.model.run(job.example))


def _manifest(job: Conversion, outputs: Tuple[str, ...], **facts: Any) -> Manifest:
    """What was written, read back from the file.

    Outputs are matched by the names the exporter was given; where it did not take them
    all (it flattened the structure otherwise) the names stand as written and the
    comparison sees a structure that differs.
    """
    path = job.target / FILE
    found = read_back(path)
    inputs = tuple(
        TensorNote(path=name, name=name, dtype=str(job.example[name].dtype))
        for name in job.example
        if any(name == given for given, _, _ in found["inputs"])
    )
    dtypes = {name: dtype for name, dtype, _ in found["outputs"]}
    notes = tuple(TensorNote(path=name, name=name, dtype=dtypes.get(name, "")) for name in outputs)
    return Manifest(
        files={"onnx": FILE},
        inputs=inputs,
        outputs=notes,
        facts={"opset": found["opset"], "ir_version": found["ir_version"], **facts},
    )


def _named_dims(dims: Mapping[str, Tuple[Any, ...]]) -> Dict[str, Dict[int, str]]:
    """input -> axis -> dimension, of the dimensions that are declared dynamic."""
    return {
        name: {axis: dim for axis, dim in enumerate(shape) if isinstance(dim, str)}
        for name, shape in dims.items()
    }


def exporter_takes(option: str) -> bool:
    """Whether this torch's ``torch.onnx.export`` has an option of that name."""
    import inspect

    import torch

    return option in inspect.signature(torch.onnx.export).parameters


class Dynamo(Hop):
    """``torch.onnx.export(dynamo=True)``, with the model's named dimensions dynamic; before it
    took that option, ``torch.onnx.dynamo_export``.

    Where ``torch.export`` says that a dimension declared dynamic is not, it is exported
    again with fixed sizes, and the manifest says ``specialised``: never silently.
    """

    name = "dynamo"
    source = "torch"
    targets = ("onnx",)
    tier = "smoke"
    requires = ("torch", "onnx", "onnxscript")
    preloads = (
        "torch._dynamo.aot_compile",
        "torch._dynamo.repro.after_dynamo",
        "torch._export.passes.replace_autocast_with_hop_pass",
        "torch.export._trace",
        "torch.nn.attention.flex_attention",
        "torch.onnx._internal.exporter._core",
        "torch.onnx._internal.exporter._torchlib.ops",
        "onnxscript.function_libs.torch_lib.ops",
        "onnxscript.rewriter.onnx_fusions",
    )
    refusals = (
        ("", "data-dependent", "data-dependent-control-flow"),
        ("GuardOnDataDependentSymNode", "", "data-dependent-control-flow"),
        ("", "Data-dependent", "data-dependent-control-flow"),
        ("", "No ONNX function found for", "unsupported-operator"),
        ("", "No decompositions registered for the real-valued input", "unsupported-operator"),
        ("", "No decompositions registered for the complex-valued input", "unsupported-operator"),
        # As torch.onnx.dynamo_export says it.
        ("", "Unsupported FX nodes", "unsupported-operator"),
        ("", "Dynamic control flow is not supported", "data-dependent-control-flow"),
        # int() and bool() of a tensor, as torch up to 2.1 says it.
        (
            "",
            re.compile(r"BuiltinVariable\((int|bool)\) \[TensorVariable"),
            "data-dependent-control-flow",
        ),
        # A size that is data: torch.zeros of it, say.
        ("TypeError", "but got FakeTensor", "data-dependent-control-flow"),
        ("", "purposely graph breaks on RNN", "unsupported-operator"),
    )

    def convert(self, job: Conversion) -> Manifest:
        """Raises Refusal (``removed-api``) where this torch has neither exporter."""
        import torch

        if not exporter_takes("dynamo"):
            if not hasattr(torch.onnx, "dynamo_export"):
                version = torch.__version__
                raise Refusal("removed-api", f"torch {version} has no exporter on torch.export")
            return _by_dynamo_export(job, torch)
        outputs = _output_paths(job)
        named = _named_dims(job.dims)
        _, facts = open_or_fixed(
            any(named.values()),
            lambda open_: self._export(job, outputs, torch, named if open_ else None),
            _blames_shapes,
        )
        return _manifest(job, outputs, **facts)

    def _export(self, job: Conversion, outputs, torch, named: Optional[dict]) -> None:
        args, kwargs = job.model.arguments(job.example)
        inputs = argument_order(job.model.module.forward, list(job.example))
        shapes = None
        if named is not None:
            # torch.export takes one entry an argument, under forward's own names, and the exporter
            # renames the dimensions of its inputs by the place of their entries. Dim.AUTO, all that
            # there was before Dim.DYNAMIC, fixes a size without a word; a named one does not.
            automatic = getattr(torch.export.Dim, "DYNAMIC", None)
            kinds = {dim: automatic or torch.export.Dim(dim)
                     for axes in named.values() for dim in axes.values()}  # fmt: skip
            shapes = {
                name: {axis: kinds[dim] for axis, dim in named[name].items()} for name in inputs
            }
        program = torch.onnx.export(
            job.model.module,
            args,
            kwargs=kwargs,
            dynamo=True,
            dynamic_shapes=shapes,
            input_names=inputs,
            output_names=list(outputs),
            verbose=False,
        )
        program.save(str(job.target / FILE))


def _by_dynamo_export(job: Conversion, torch: Any) -> Manifest:
    """The exporter of 2.1 to 2.4: every dimension dynamic or none, and names of its own.

    Which of the file's tensors is which it says itself, by passing tensors through.
    """
    outputs = _output_paths(job)
    args, kwargs = job.model.arguments(job.example)

    def export(dynamic: bool) -> Any:
        options = torch.onnx.ExportOptions(dynamic_shapes=dynamic)
        return torch.onnx.dynamo_export(job.model.module, *args, export_options=options, **kwargs)

    program, facts = open_or_fixed(any(_named_dims(job.dims).values()), export)
    path = job.target / FILE
    program.save(str(path))
    found = read_back(path)
    given = by_name(job, args, kwargs)
    fed = program.adapt_torch_inputs_to_onnx(*args, **kwargs)
    inputs = tuple(
        TensorNote(path=name, name=declared, dtype=str(job.example[name].dtype))
        for tensor, (declared, _, _) in zip(fed, found["inputs"])
        for name in given
        if given[name] is tensor
    )
    notes = tuple(
        TensorNote(path=output, name=declared, dtype=dtype)
        for output, (declared, dtype, _) in zip(outputs, found["outputs"])
    )
    facts.update(opset=found["opset"], ir_version=found["ir_version"])
    return Manifest(files={"onnx": FILE}, inputs=inputs, outputs=notes, facts=facts)


#: What ``torch.export`` says where a dimension that was declared dynamic turned out not to be.
_SHAPES_BLAMED = (
    "Constraints violated",
    "was specialized",
    "conflicts between user-specified ranges and inferred ranges",
    "marked as dynamic",
    "marked dynamic",
)


def _blames_shapes(error: BaseException) -> bool:
    """Whether an export failed over a dimension declared dynamic."""
    return any(words in str(link) for link in chain(error) for words in _SHAPES_BLAMED)


class TorchScript(Hop):
    """``torch.onnx.export(dynamo=False)``: tracing, at the default opset or a given one."""

    source = "torch"
    targets = ("onnx",)
    requires = ("torch", "onnx")
    preloads = ("torch.onnx._internal.torchscript_exporter.utils",)
    refusals = (
        ("UnsupportedOperatorError", "", "unsupported-operator"),
        ("", "is not supported for opset", "unsupported-operator"),
        ("", "Unsupported: ONNX export of operator", "unsupported-operator"),
        ("", "Couldn't export Python operator", "unsupported-operator"),
        ("", "is currently not supported", "unsupported-operator"),
        ("", "torch.jit.trace a dynamo-optimized function", "data-dependent-control-flow"),
        ("SymbolicValueError", "is not constant", "dynamic-shape"),
        # The symbolic of a norm over batch statistics wants sizes that are fixed.
        ("", "batch_size and channel_size must be non-None", "dynamic-shape"),
    )

    def __init__(self, opset: Optional[int] = None):
        self.opset = opset
        self.name = "torchscript" if opset is None else f"torchscript{opset}"
        self.tier = "smoke" if opset is None else "quick"

    @property
    def options(self) -> Dict[str, Any]:
        return {"opset": self.opset}

    def asked(self, torch: Any) -> Dict[str, Any]:
        """Arguments of ``torch.onnx.export`` beside those that every export needs."""
        return {}

    def convert(self, job: Conversion) -> Manifest:
        import warnings

        import torch

        outputs = _output_paths(job)
        args, kwargs = job.model.arguments(job.example)
        inputs = argument_order(job.model.module.forward, list(job.example))
        axes = {name: dims for name, dims in _named_dims(job.dims).items() if dims}
        with warnings.catch_warnings():
            # Tracing warns at every constant it bakes; the probes say which ones matter.
            warnings.simplefilter("ignore")
            options: Dict[str, Any] = {"dynamo": False} if exporter_takes("dynamo") else {}
            options.update(self.asked(torch))
            if kwargs and exporter_takes("kwargs"):
                options["kwargs"] = kwargs
            elif kwargs:  # it takes a last dict for the arguments by name
                args = (*args, kwargs)
            torch.onnx.export(
                job.model.module,
                args,
                str(job.target / FILE),
                **options,
                opset_version=self.opset,
                input_names=inputs,
                output_names=list(outputs),
                dynamic_axes=axes or None,
            )
        return _manifest(job, outputs, dynamic="declared")


HOPS = (Dynamo(), TorchScript(), TorchScript(17), TorchScript(11))

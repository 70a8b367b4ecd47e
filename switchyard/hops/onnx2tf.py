"""onnx2tf: an ONNX file to a SavedModel and a TFLite file at once, channels last.

https://github.com/PINTO0309/onnx2tf; what is said of it here was read in its 1.29.24:

* it simplifies and renames *in place* the file it is given, so it gets a copy;
* it runs ``onnxsim`` from the PATH and goes on silently, mostly to fail, where there is none;
* it wants a file of calibration images in the working directory and downloads it otherwise;
* ``ops/Input.py`` turns every input of 3, 4 and 5 dimensions channels-last, whatever its
  meaning, and no other; an output stays as its last operator left it;
* a SavedModel or TFLite file that cannot be written is printed and not raised;
* its releases for Keras 2 (1.16, 1.20) give the SavedModel no signature by default;
* an input or output whose name TensorFlow takes for no scope name stops it at the very end,
  and since such names are the model's own they are made legal before;
* failures are exceptions with ``onnx_op_name``, or ``sys.exit`` with the reason on stdout.

``onnx2tf_call`` holds one call of it; here is what becomes of its inputs and outputs.
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import tempfile
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
)

if TYPE_CHECKING:
    import numpy as np

from switchyard.hops import Conversion, ConversionFailed, Hop, onnx2tf_call
from switchyard.hops.channels_last import (
    input_permutation,
    matched,
    output_permutation,
    scope_name,
)
from switchyard.hops.onnx_io import (
    Declared,
    batch_symbol,
    declared,
    fix_dims,
    read_back,
    rename_tensors,
    symbol_sizes,
    width_change,
)
from switchyard.hops.open_sizes import inherited
from switchyard.manifest import Manifest, TensorNote
from switchyard.runtimes import litert, tensorflow_saved_model

#: Of a format that was written with an open batch and cannot be run so.
FIXED_AT_MOST = "works only with a fixed batch, if at all"


class Onnx2Tf(Hop):
    """The batch stays dynamic where that works, for each format on its own; other dynamic
    dimensions become fixed at their example sizes and ``facts`` say so (``dynamic``,
    ``fixed_dims``)."""

    name = "onnx2tf"
    source = "onnx"
    targets = ("saved_model", "tflite")
    tier = "full"
    after = ("dynamo", "torchscript17")
    environment = "onnx2tf"
    requires = ("onnx2tf",)
    preloads = ("keras", "rich.progress")
    refusals = (
        ("", "OP is not yet implemented", "unsupported-operator"),
        ("", "is not currently supported", "unsupported-operator"),
        ("", "is not yet supported", "unsupported-operator"),
        ("", "is not supported", "unsupported-operator"),
        ("", "currently supports only", "unsupported-operator"),
        ("", "neither a custom op nor a flex op", "unsupported-operator"),
    )

    def convert(self, job: Conversion) -> Manifest:
        """Raises ConversionFailed, Refusal (``unsupported-operator``, ``missing-dependency``)
        or what onnx raises for the source.

        A format that was not written is missing from ``files`` and stands with its reason
        in ``facts["not_written"]``; if neither was written, this raises.
        """
        import onnx

        source = job.source.manifest.for_format("onnx")
        original = onnx.load(str(job.source.file("onnx")))
        renamed = rename_tensors(original, scope_name)
        declares = declared(original)
        source = _renamed(source, renamed)
        feeds = source.feeds(job.example)
        shapes = {name: array.shape for name, array in feeds.items()}
        sizes = symbol_sizes(declares["inputs"], shapes)
        called_so = _declared_names(job, source, declares["inputs"])
        kept = batch_symbol(declares["inputs"])
        # Not -ois: it cannot leave the batch alone. Users are told to fix that as well where
        # a conversion fails (-b, -ois), so it is the second attempt.
        attempts = [kept, None] if kept is not None else [None]
        made: Dict[str, Dict[str, Any]] = {}
        reasons: Dict[str, str] = {}
        for attempt in attempts:
            fixed = {name: size for name, size in sizes.items() if name != attempt}
            facts = inherited(source)
            names = {called_so.get(name, name) for name in fixed}
            names.update(source.facts.get("fixed_dims", ()))
            if renamed:
                facts["renamed"] = renamed
            if names:
                facts.update(dynamic="specialised", fixed_dims=sorted(names))
                facts.setdefault("dynamic_reason", f"fixed for onnx2tf: {', '.join(sorted(names))}")
            with tempfile.TemporaryDirectory(prefix="scratch-", dir=job.target) as scratch:
                folder = pathlib.Path(scratch).resolve()
                copy = onnx.ModelProto()
                copy.CopyFrom(original)
                fix_dims(copy, fixed, shapes)
                onnx.save(copy, str(folder / "model.onnx"))
                onnx.save(copy, str(folder / "before.onnx"))
                try:
                    written = onnx2tf_call.call(folder)
                except ConversionFailed as failure:
                    if attempt is attempts[-1] and not made:
                        raise
                    for format in FILES:
                        if format not in made:
                            reasons[format] = _both(reasons.get(format, ""), str(failure))
                    continue
                called = _shapes_when_called(written.model, declares, feeds)
                reasons.update(written.reasons)
                wanted = _onnx_shapes(folder / "before.onnx", feeds)
                for format, name in FILES.items():
                    path = folder / "out" / name
                    if format in made or not path.exists():
                        continue
                    if attempt is not attempts[-1] and (called is None or _needs_flex(path)):
                        reasons[format] = FIXED_AT_MOST
                        continue
                    shutil.move(str(path), str(job.target / name))
                    read = READERS[format](job.target / name)
                    notes = _notes(source, declares, wanted, called or {}, read)
                    own = {"onnxsim": written.simplified, **facts}
                    if attempt is not attempts[0] and reasons.get(format):
                        own["dynamic_reason"] += f": {reasons[format]}"
                    made[format] = {**notes, "facts": own}
            if len(made) == len(FILES):
                break
        if not made:
            raise ConversionFailed("; ".join(reasons.values()))
        shared = made[next(iter(made))]
        missing = {format: reasons.get(format, "") for format in FILES if format not in made}
        return Manifest(
            {format: FILES[format] for format in made},
            shared["inputs"],
            shared["outputs"],
            {**shared["facts"], **({"not_written": missing} if missing else {})},
            {format: own for format, own in made.items() if own is not shared},
        )


def _both(before: str, failure: str) -> str:
    """Why a format is missing where an attempt failed as a whole; ``before``: why it was before."""
    if not before or before == FIXED_AT_MOST:
        return failure
    return f"{before}; with a fixed batch: {failure}"


def _renamed(source: Manifest, names: Mapping[str, str]) -> Manifest:
    sides = (source.inputs, source.outputs)
    inputs, outputs = (
        tuple(note.then(names.get(note.name, note.name)) for note in side) for side in sides
    )
    return dataclasses.replace(source, inputs=inputs, outputs=outputs)


def _declared_names(
    job: Conversion, source: Manifest, inputs: Sequence[Declared]
) -> Dict[str, str]:
    """The model's names of the file's symbols: exporters make up their own (``s77``)."""
    names = {}
    dims_of = {name: dims for name, _, dims in inputs}
    for note in source.inputs:
        wanted = job.dims.get(note.path, ())
        order = note.permutation or range(len(wanted))
        for axis, symbol in zip(order, dims_of.get(note.name, ())):
            if isinstance(symbol, str) and isinstance(wanted[axis], str):
                names.setdefault(symbol, wanted[axis])
    return names


def _needs_flex(path: pathlib.Path) -> bool:
    """Whether a TFLite file holds TensorFlow's own operators, which LiteRT has not. A custom
    operator's name stands in the file as plain text."""
    return path.is_file() and b"Flex" in path.read_bytes()


def _onnx_shapes(path: pathlib.Path, feeds: Mapping[str, np.ndarray]) -> Dict[str, Tuple]:
    """The outputs' shapes on the example: run, or as declared where ONNX Runtime cannot."""
    try:
        import numpy as np
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return {n: np.shape(a) for n, a in zip(names, session.run(names, dict(feeds)))}
    except Exception:  # a type it does not take, or an opset it does not know
        return {name: dims for name, _, dims in read_back(path)["outputs"]}


def _shapes_when_called(
    model: Any, declares: Mapping[str, Any], feeds: Mapping[str, np.ndarray]
) -> Optional[Dict[str, Tuple[int, ...]]]:
    """The Keras model's output shapes on the example, by name; None if it cannot be called.

    Only shapes are looked at, never values.
    """
    import numpy as np
    import tensorflow as tf

    try:
        ranks = {name: len(dims) for name, _, dims in declares["inputs"]}
        # range: numpy takes None for "reverse the axes", not for "leave them".
        arguments = [
            tf.constant(np.transpose(feeds[name], input_permutation(rank) or range(rank)))
            for name, rank in ranks.items()
        ]
        outputs = model(arguments if len(arguments) > 1 else arguments[0])
        outputs = outputs if isinstance(outputs, (list, tuple)) else [outputs]
        return {n: tuple(t.shape) for n, t in zip(model.output_names, outputs)}
    except Exception:  # then the runtime says why, with the same inputs
        return None


Signature = Dict[str, List[Declared]]


def _read_tflite(path: pathlib.Path) -> Signature:
    """With TensorFlow's own interpreter, which the environment of onnx2tf has anyway."""
    import tensorflow as tf

    return litert.read_signature(tf.lite.Interpreter(model_path=str(path)))


def _notes(
    source: Manifest, declares: Mapping[str, Any], wanted: Mapping[str, Tuple],
    called: Mapping[str, Tuple], signature: Signature,
) -> Dict[str, Tuple[TensorNote, ...]]:  # fmt: skip
    """The source's notes after onnx2tf, for the format with this signature.

    A tensor that no rule finds in the signature has no note: nothing is guessed.
    """
    notes: Dict[str, Tuple[TensorNote, ...]] = {}
    for side, before in (("inputs", source.inputs), ("outputs", source.outputs)):
        read = {name: (dtype, dims) for name, dtype, dims in signature[side]}
        dtypes = {name: dtype for name, dtype, _ in declares[side]}
        ranks = {name: len(dims) for name, _, dims in declares[side]}
        names = matched([name for name, _, _ in declares[side]], list(read))
        after = []
        for note in before:
            if note.name not in names:
                continue
            name = names[note.name]
            dtype, dims = read[name]
            if side == "inputs":
                order = input_permutation(ranks[note.name])
                basis = "unchanged" if order is None else "rule"
            else:
                known = called.get(name) or called.get(note.name) or dims
                order, basis = output_permutation(wanted.get(note.name, ()), known)
            width = width_change(dtypes[note.name], dtype)
            after.append(note.then(name, order, width, basis))
        notes[side] = tuple(after)
    return notes


#: Where each format lies, and what reads its signature back.
FILES = {"saved_model": "saved_model", "tflite": "model.tflite"}
READERS = {"saved_model": tensorflow_saved_model.read_signature, "tflite": _read_tflite}

HOPS = (Onnx2Tf(),)

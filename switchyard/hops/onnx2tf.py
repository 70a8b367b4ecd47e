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
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import pathlib
import re
import shutil
import sys
import tempfile
from typing import (
    TYPE_CHECKING,
    Any,
    Dict,
    Iterator,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Sequence,
    Tuple,
)

if TYPE_CHECKING:
    import numpy as np

from switchyard.hops import Conversion, Hop, Refusal
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
from switchyard.manifest import Manifest, TensorNote
from switchyard.runtimes import litert, tensorflow_saved_model

#: The file ``download_test_image_data`` looks for, and its shape.
CALIBRATION_FILE = "calibration_image_sample_data_20x128x128x3_float32.npy"
CALIBRATION_SHAPE = (20, 128, 128, 3)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_WRAPPED = re.compile(r"^\s*(\w+(?:Error|Exception): .+)$", re.MULTILINE)
_NODE = re.compile(r"(?:onnx_op_name|graph_node\.name): *(\S+)")


class ConversionFailed(RuntimeError):
    """onnx2tf gave up. ``operator`` is the ONNX operator it gave up at, where it said."""

    def __init__(self, message: str, operator: str = ""):
        super().__init__(message)
        self.operator = operator


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
            facts: Dict[str, Any] = {
                name: source.facts[name] for name in ("dynamic",) if name in source.facts
            }
            names = {called_so.get(name, name) for name in fixed}
            names.update(source.facts.get("fixed_dims", ()))
            if renamed:
                facts["renamed"] = renamed
            if names:
                facts.update(dynamic="specialised", fixed_dims=sorted(names))
            with tempfile.TemporaryDirectory(prefix="scratch-", dir=job.target) as scratch:
                folder = pathlib.Path(scratch).resolve()
                copy = onnx.ModelProto()
                copy.CopyFrom(original)
                fix_dims(copy, fixed, shapes)
                onnx.save(copy, str(folder / "model.onnx"))
                onnx.save(copy, str(folder / "before.onnx"))
                try:
                    written = _run(folder)
                except ConversionFailed as failure:
                    if attempt is attempts[-1] and not made:
                        raise
                    reasons.setdefault("tflite", str(failure))
                    continue
                called = _shapes_when_called(written.model, declares, feeds)
                reasons.update(written.reasons)
                wanted = _onnx_shapes(folder / "before.onnx", feeds)
                for format, name in FILES.items():
                    path = folder / "out" / name
                    if format in made or not path.exists():
                        continue
                    if attempt is not attempts[-1] and (called is None or _needs_flex(path)):
                        reasons[format] = "works only with a fixed batch, if at all"
                        continue
                    shutil.move(str(path), str(job.target / name))
                    read = READERS[format](job.target / name)
                    notes = _notes(source, declares, wanted, called or {}, read)
                    made[format] = {**notes, "facts": {"onnxsim": written.simplified, **facts}}
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


class _Written(NamedTuple):
    """What one call of onnx2tf left: the Keras model, whether onnxsim ran, and for each
    format that is not there the reason."""

    model: Any
    simplified: str
    reasons: Dict[str, str]


def _run(folder: pathlib.Path) -> _Written:
    """Convert ``folder/model.onnx`` into ``folder/out``, in ``folder`` as working directory."""
    out = folder / "out"
    printed = io.StringIO()
    with _surroundings(folder), contextlib.redirect_stdout(printed):
        import onnx2tf

        failure: Optional[BaseException] = None
        model = None
        # Releases for Keras 2 leave the SavedModel without a signature, or leave it out where
        # writing it so fails (they then speak of a grouped convolution), unless told otherwise.
        told = {"output_signaturedefs": True}
        for options in ({}, told):
            try:
                model = onnx2tf.convert(
                    input_onnx_file_path="model.onnx",
                    output_folder_path=str(out / "saved_model"),
                    # "warn", not non_verbose: it alone says that onnxsim failed.
                    verbosity="warn",
                    **options,
                )
            except (Exception, SystemExit) as error:
                failure = error
            if failure is not None or options is told or _signed(out / "saved_model"):
                break
            shutil.rmtree(out, ignore_errors=True)
            shutil.copy(folder / "before.onnx", folder / "model.onnx")
    said = _COLOURS.sub("", printed.getvalue())
    lite = out / "saved_model" / "model_float32.tflite"
    if lite.exists():
        shutil.move(str(lite), str(out / "model.tflite"))
    for other in (out / "saved_model").glob("*.tflite"):
        other.unlink()  # float16, which onnx2tf cannot be told to leave out
    there = (out / "saved_model" / "saved_model.pb").exists()
    if not there:
        shutil.rmtree(out / "saved_model", ignore_errors=True)
    lite_there = (out / "model.tflite").exists()
    if failure is not None and not (there and _after_saving(failure)):
        raise _explained(failure, said, folder) from failure
    if not there and not lite_there:
        raise ConversionFailed(_reason(said) or "onnx2tf wrote neither format, without an error")
    reasons = {}
    if not there:
        reasons["saved_model"] = _reason(said) or "onnx2tf wrote no SavedModel and said nothing"
    if not lite_there:
        reasons["tflite"] = f"{type(failure).__name__}: {failure}"
    simplified = "failed" if "Failed to optimize the onnx file" in said else "ok"
    return _Written(model, simplified, reasons)


def _signed(folder: pathlib.Path) -> bool:
    """Whether a SavedModel is there that can be called by a signature."""
    if not (folder / "saved_model.pb").exists():
        return False
    try:
        tensorflow_saved_model.read_signature(folder)
    except KeyError:
        return False
    return True


@contextlib.contextmanager
def _surroundings(folder: pathlib.Path) -> Iterator[None]:
    """The interpreter's bin folder first on PATH, and ``folder`` as working directory with
    a calibration file in it. Raises Refusal where ``onnxsim`` is still not to be found."""
    import numpy as np

    path, here = os.environ.get("PATH", ""), os.getcwd()
    os.environ["PATH"] = os.pathsep.join([str(pathlib.Path(sys.executable).parent), path])
    try:
        if shutil.which("onnxsim") is None:
            raise Refusal("missing-dependency", "onnx2tf needs the onnxsim command")
        images = np.random.default_rng(0).random(CALIBRATION_SHAPE, dtype=np.float32)
        np.save(folder / CALIBRATION_FILE, images)
        os.chdir(folder)
        yield
    finally:
        os.chdir(here)
        os.environ["PATH"] = path


def _after_saving(failure: BaseException) -> bool:
    """Whether it comes from writing TFLite, after the SavedModel was written."""
    return not isinstance(failure, SystemExit) and not hasattr(failure, "onnx_op_name")


def _reason(said: str) -> str:
    """The errors that onnx2tf printed, without its advice."""
    lines = [line[6:].strip() for line in said.splitlines() if line.startswith("ERROR:")]
    advice = ("Read this", "Alternatively", "If the input OP", "Also, for", "The trace log",
              "input_onnx_file_path", "onnx_op_name", "Please convert again")  # fmt: skip
    return "; ".join(line for line in lines if line and not line.startswith(advice))[:500]


def _explained(failure: BaseException, said: str, folder: pathlib.Path) -> Exception:
    """The failure with the ONNX operator's type, the node's name and the reason."""
    node = getattr(failure, "onnx_op_name", None)
    if not node and _NODE.search(said):
        node = _NODE.findall(said)[-1]
    operator = _operator_of(node, folder) if node else ""
    if isinstance(failure, ModuleNotFoundError) and (failure.name or "").startswith("onnx2tf.ops."):
        operator = failure.name.rpartition(".")[2]
        return Refusal("unsupported-operator", f"{operator} OP is not yet implemented.", operator)
    if isinstance(failure, SystemExit):
        reason = _reason(said) or f"exit with {failure.code} and no reason"
    else:
        # TensorFlow and Keras wrap the error in the user's code and the call's arguments.
        wrapped = _WRAPPED.findall(str(failure))
        reason = wrapped[-1] if wrapped else f"{type(failure).__name__}: {failure}"
    where = f"{operator or 'operator'} {node}: " if node else ""
    return ConversionFailed(f"{where}{reason}", operator)


def _operator_of(node: str, folder: pathlib.Path) -> str:
    """The type of the node that onnx2tf names ``node``, or "": it names nodes in its copy
    of the file, and replaces ``:`` there by ``__``."""
    import onnx

    for name in ("model.onnx", "before.onnx"):
        for entry in onnx.load(str(folder / name), load_external_data=False).graph.node:
            if entry.name.replace(":", "__") == node:
                return entry.op_type
    return ""


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

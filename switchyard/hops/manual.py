"""Manual recreation: a model's Keras twin, written by hand, with torch's weights ported into it.

The twin and its table of weights stand in ``models_zoo/twins``; this hop builds it, checks its
signature against the model's, fills it and exports it. https://keras.io/guides/

The twins are imported by the functions: a server imports this file once for all of its children,
and what they then hold counts as a source of every model.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from switchyard.hops import Conversion, Hop, Refusal
from switchyard.hops.printed import uncoloured
from switchyard.manifest import Manifest, TensorNote
from switchyard.vocabulary import UnknownName

if TYPE_CHECKING:
    from models_zoo.twins import Twin

SAVED_MODEL, KERAS = "saved_model", "model.keras"


class SignatureMismatch(ValueError):
    """A twin whose inputs or outputs are not its model's: ``kind`` says in what."""

    def __init__(self, kind: str, message: str):
        super().__init__(message)
        self.kind = kind


class TwinHop(Hop):
    """What hops that arrive at a Keras twin have in common; ``weigh`` is how it gets its
    weights."""

    source = "torch"
    targets = ("saved_model", "keras")
    # Keras 3 and no older one has keras.ops.
    requires = ("torch", "tensorflow", "keras.ops")
    preloads = ("keras",)

    def takes(self, model: Mapping[str, Any]) -> bool:
        from models_zoo.twins import has_twin

        return has_twin(model)

    def weigh(self, job: Conversion, keras_model: Any, table: list) -> None:
        """Fill the twin's variables. Raises UnmatchedWeights or Refusal."""
        raise TypeError(f"{type(self).__name__} has no weigh")

    def convert(self, job: Conversion) -> Manifest:
        """Raises SignatureMismatch, UnmatchedWeights, and what Keras raises."""
        import keras

        from models_zoo.twins import twin_of

        require_defaults(keras.config)
        keras.utils.set_random_seed(0)
        twin = twin_of(job.model.entry)
        with in_dtype(keras.config, job.model.cast):
            return self._convert(job, twin)

    def _convert(self, job: Conversion, twin: Twin) -> Manifest:
        model, table = twin.build()
        if model.weights and not twin.weights:
            raise SignatureMismatch(
                "unmatched-weights",
                f"the twin of {twin.name} is declared with weights=False and has "
                f"{len(model.weights)} variables: leave weights=False out",
            )
        outputs = job.model.run(job.example)
        check_layouts(twin, [*job.example, *outputs])
        inputs = input_notes(twin, model, job)
        notes = output_notes(twin, model, outputs)
        self.weigh(job, model, table)
        model.export(str(job.target / SAVED_MODEL), format="tf_saved_model", verbose=False)
        model.save(job.target / KERAS)
        return Manifest(
            files={"saved_model": SAVED_MODEL, "keras": KERAS},
            inputs=inputs,
            outputs=notes,
            facts={"twin": twin.module, "keras_weights": len(model.weights)},
        )


class Manual(TwinHop):
    """The weights go where the twin's own table says."""

    name = "manual"
    trains = ("tf",)

    def weigh(self, job: Conversion, keras_model: Any, table: list) -> None:
        from models_zoo.twins.weights import fill

        fill(keras_model, table, state_of(job.model.module))


def state_of(module: Any) -> Dict[str, Any]:
    """A ``state_dict`` as arrays, each in its own dtype."""
    from switchyard.worker.building import to_numpy

    return {name: to_numpy(tensor) for name, tensor in module.state_dict().items()}


def require_defaults(config: Any) -> None:
    """Raises RuntimeError where the user's ``keras.json`` or an environment variable sets
    another backend, layout or dtype: the twins are written for the defaults."""
    for setting, wanted in (
        ("backend", "tensorflow"),
        ("image_data_format", "channels_last"),
        ("floatx", "float32"),
    ):
        found = getattr(config, setting)()
        if found != wanted:
            raise RuntimeError(
                f"Keras is set to {setting} {found!r}, and the twins are written for {wanted!r}: "
                "unset it in keras.json and in KERAS_BACKEND"
            )


#: How Keras and TensorFlow call a dtype in what they raise, each a word of its own.
_SAID = {
    "float16": re.compile(r"\b(?:float16|half|DT_HALF)\b"),
    "bfloat16": re.compile(r"\b(?:bfloat16|DT_BFLOAT16)\b"),
    "float64": re.compile(r"\b(?:float64|double|DT_DOUBLE)\b"),
}


def speaks_of(error: Exception, dtype: str) -> bool:
    """Whether an error names the dtype. Keras adds to what a layer raises, which it colours, the
    arguments that the layer was called with: there it is named whatever is wrong."""
    said, _, _ = uncoloured(str(error)).partition("Arguments received by")
    return _SAID[dtype].search(said) is not None


@contextlib.contextmanager
def in_dtype(config: Any, dtype: str) -> Iterator[None]:
    """Have what is built meanwhile compute and keep its weights in ``dtype`` (none: as it is),
    where a twin does not say otherwise. An error that speaks of the dtype (a twin that says
    otherwise, an operation that TensorFlow has not in it) becomes a Refusal, ``unsupported-dtype``;
    one that has another kind of its own stays what it is.
    """
    if not dtype:
        yield
        return
    floatx, policy = config.floatx(), config.dtype_policy()
    config.set_floatx(dtype)
    config.set_dtype_policy(dtype)
    try:
        yield
    except Refusal:
        raise
    except Exception as error:
        kind = getattr(error, "kind", "")
        if kind == "dtype" or (not kind and speaks_of(error, dtype)):
            raise Refusal("unsupported-dtype", f"the twin in {dtype}: {error}") from error
        raise
    finally:
        config.set_floatx(floatx)
        config.set_dtype_policy(policy)


def check_layouts(twin: Twin, paths: Sequence[str]) -> None:
    """Raises SignatureMismatch where ``channels_last`` names neither input nor output: passed over,
    a name that is misspelt would show only as a wrong answer, if at all."""
    for name in sorted(twin.channels_last.difference(paths)):
        unknown = UnknownName("input or output", name, paths)
        raise SignatureMismatch(
            "output-structure", f"the twin of {twin.name} has channels_last of an {unknown}"
        )


def dims_as_declared(
    twin: Twin, path: str, dims: Tuple[Any, ...]
) -> Tuple[Tuple[Any, ...], Any]:
    """A tensor's dimensions as its twin should have them (None where dynamic), permutation."""
    order = twin.permutation(path, len(dims))
    turned = dims if order is None else tuple(dims[axis] for axis in order)
    return tuple(dim if isinstance(dim, int) else None for dim in turned), order


def input_notes(twin: Twin, model: Any, job: Conversion) -> Tuple[TensorNote, ...]:
    """Notes on a twin's inputs. Raises SignatureMismatch where they are not the model's."""
    found = {tensor.name: tensor for tensor in model.inputs}
    if set(found) != set(job.example):
        raise SignatureMismatch(
            "output-structure",
            f"the twin of {twin.name} has the inputs {sorted(found)}, its model "
            f"{sorted(job.example)}: name them in keras.Input",
        )
    notes = []
    for path, array in job.example.items():
        wanted, order = dims_as_declared(twin, path, job.dims[path])
        got = tuple(found[path].shape)
        if got != wanted:
            raise SignatureMismatch(
                "shape",
                f"input {path!r} of the twin of {twin.name} has shape {got}, its model's is "
                f"{wanted}" + (" with channels last" if order else ""),
            )
        if str(found[path].dtype) != array.dtype.name:
            raise SignatureMismatch(
                "dtype",
                f"input {path!r} of the twin of {twin.name} is {found[path].dtype}, its "
                f"model's is {array.dtype.name}",
            )
        basis = "unchanged" if order is None else "rule"
        notes.append(TensorNote(path, path, array.dtype.name, order, basis=basis))
    return tuple(notes)


def output_pairs(model: Any, paths: Sequence[str]) -> List[Tuple[str, str]]:
    """(path in the torch model, name that Keras's export gives it) of a twin's outputs, in their
    order: a dict's keys are both, the rest are ``output_0`` and on. ``paths``: the model's."""
    structure = model.output
    if isinstance(structure, dict):
        return [(name, name) for name in structure]
    if len(model.outputs) == len(paths) == 1:
        return [(paths[0], "output_0")]
    return [(f"output_{place}", f"output_{place}") for place in range(len(model.outputs))]


def output_notes(
    twin: Twin, model: Any, outputs: Mapping[str, Any]
) -> Tuple[TensorNote, ...]:
    """Notes on a twin's outputs. Raises SignatureMismatch where they are not the model's."""
    pairs = output_pairs(model, list(outputs))
    if {path for path, _ in pairs} != set(outputs):
        raise SignatureMismatch(
            "output-structure",
            f"the twin of {twin.name} gives {[path for path, _ in pairs]}, its model "
            f"{list(outputs)}",
        )
    notes = []
    for path, name in pairs:
        array = outputs[path]
        order = twin.permutation(path, array.ndim)
        basis = "unchanged" if order is None else "rule"
        notes.append(TensorNote(path, name, array.dtype.name, order, basis=basis))
    return tuple(notes)


HOPS = (Manual(),)

"""KerasHub's converters of known architectures: a model of transformers or timm, saved as a local
folder, to a Keras 3 model.

https://keras.io/keras_hub/; what is said of it here was read in its 0.32.0:

* ``utils/transformers/`` has a converter for each ``model_type``, which builds its own backbone
  from ``config.json`` and ports ``model.safetensors`` into it by name;
* a task's head is ported for image classifiers alone; a language model's is its tied embedding,
  and any other keeps the weights it was drawn with, without a word;
* ``utils/timm/`` has one for each family of image classifiers, which knows the widths and depths
  of an ``architecture`` by its name;
* a backbone's outputs have KerasHub's names (``sequence_output``, ``pooled_output``), images are
  channels-last, token ids int32, and what nobody gives (``padding_mask``, ``segment_ids``) is what
  its preprocessing would: all ones, all zeros.
"""

from __future__ import annotations

import json
import pathlib
import tempfile
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from switchyard.hops import Conversion, Hop, Refusal
from switchyard.manifest import Manifest, TensorNote

SAVED_MODEL = "saved_model"

#: What transformers calls an argument, and KerasHub an input.
INPUTS = {
    "input_ids": "token_ids",
    "attention_mask": "padding_mask",
    "token_type_ids": "segment_ids",
    "pixel_values": "images",
    "x": "images",  # timm's
}
#: What transformers calls an output, and KerasHub. Heads have one output without a name.
OUTPUTS = {"last_hidden_state": "sequence_output", "pooler_output": "pooled_output"}

#: By how an architecture's name ends: the class of ``keras_hub.models`` that has its head.
TASKS = (
    ("LMHeadModel", "CausalLM"),
    ("ForCausalLM", "CausalLM"),
    ("ForImageClassification", "ImageClassifier"),
    ("ForMaskedLM", "MaskedLM"),
    ("ForSequenceClassification", "TextClassifier"),
)

#: What of a timm net's ``pretrained_cfg`` KerasHub reads beside the architecture.
PICTURE = ("input_size", "mean", "std", "interpolation")


class Observed(NamedTuple):
    """How a model's inputs and outputs pass through its transformers model or timm net: by path,
    the name of the argument, and of the field of its output."""

    inner: Any
    arguments: Dict[str, str]
    fields: Dict[str, str]
    outputs: Dict[str, Any]


class KerasHub(Hop):
    name = "keras-hub"
    source = "torch"
    targets = ("saved_model",)
    tier = "full-only"
    environment = "keras-hub"
    requires = ("torch", "transformers", "safetensors", "tensorflow", "keras_hub")
    refusals = (
        ("", "KerasHub has no converter for", "unsupported-operator"),
        ("", "Currently, the architecture", "unsupported-operator"),
        ("", "Unable to find a subclass of", "unsupported-operator"),
        ("KeyError", "vgg", "unsupported-operator"),
        ("SafetensorError", "does not contain tensor", "unmatched-weights"),
        ("", "The shape of the target variable", "unmatched-weights"),
    )

    def takes(self, model: Mapping[str, Any]) -> bool:
        """The models that are built with transformers or timm, or laid out as timm's; of these the
        hop refuses by name what KerasHub has no converter for."""
        needs, tags = model.get("needs", ()), model.get("tags", ())
        return "transformers" in needs or "timm" in needs or "timm" in tags

    def convert(self, job: Conversion) -> Manifest:
        """Raises Refusal, UnmatchedWeights, and what KerasHub, safetensors and Keras raise."""
        import keras

        observed = observe(job)
        with tempfile.TemporaryDirectory(prefix="scratch-", dir=job.target) as scratch:
            if of_timm(observed.inner):
                name = "ImageClassifier"
                save_timm(observed.inner, pathlib.Path(scratch))
            else:
                name = model_class(type(observed.inner).__name__, set(observed.fields.values()))
                observed.inner.save_pretrained(scratch)
            model = _loaded(name, pathlib.Path(scratch))
        names = output_names(observed.fields, model.output)
        notes = _input_notes(job, observed), _output_notes(observed, names)
        archive = keras.export.ExportArchive()
        archive.track(model)
        archive.add_endpoint("serving_default", *_serving(job, observed, model, names))
        archive.write_out(str(job.target / SAVED_MODEL), verbose=False)
        facts = {"keras_hub_class": type(model).__name__, "dynamic": "declared"}
        return Manifest({"saved_model": SAVED_MODEL}, *notes, facts)


def observe(job: Conversion) -> Observed:
    """Run the model once and look which tensors pass into its transformers model or timm net and
    out of it unchanged. Raises Refusal where it has none, or does more than pass them."""
    import torch
    from transformers import PreTrainedModel

    from switchyard.worker.building import flatten, to_numpy

    inner = next(
        (m for m in job.model.module.modules() if isinstance(m, PreTrainedModel) or of_timm(m)),
        None,
    )
    if inner is None:
        raise Refusal(
            "unsupported-operator", "KerasHub reads models of transformers and timm: here is none"
        )
    calls: List[Tuple[Mapping[str, Any], Any]] = []
    hook = inner.register_forward_hook(
        lambda module, args, kwargs, output: calls.append((_bound(module, args, kwargs), output)),
        with_kwargs=True,
    )
    args, kwargs = job.model.arguments(job.example)
    given = dict(_bound(job.model.module, args, kwargs))
    try:
        with torch.no_grad():
            found = flatten(job.model.module(*args, **kwargs))
    finally:
        hook.remove()
    if len(calls) != 1:
        raise Refusal("ambiguous-mapping", f"the inner model is called {len(calls)} times")
    into, output = calls[0]
    if of_timm(inner):
        output = {"logits": output}
    elif not isinstance(output, Mapping):
        raise Refusal("ambiguous-mapping", "the transformers model returns a tuple: no names")
    arguments = {path: _same(tensor, into) for path, tensor in given.items()}
    fields = {path: _same(tensor, output) for path, tensor in found}
    unknown = [path for path, name in (*arguments.items(), *fields.items()) if name is None]
    if unknown:
        raise Refusal(
            "ambiguous-mapping",
            f"{', '.join(unknown)}: changed on the way into the inner model or out of it",
        )
    outputs = {path: to_numpy(tensor) for path, tensor in found}
    return Observed(inner, arguments, fields, outputs)


def of_timm(module: Any) -> bool:
    """Whether this is a classifier as timm builds it (or says, as one built by it does)."""
    config = getattr(module, "pretrained_cfg", None)
    return isinstance(config, Mapping) and "architecture" in config


def save_timm(net: Any, folder: pathlib.Path) -> None:
    """config.json and model.safetensors as ``timm.models.save_for_hf`` writes them, as far as
    KerasHub reads them. Raises Refusal for a net without a head, whose features timm pools."""
    from safetensors.torch import save_file

    given, known = net.pretrained_cfg, ("num_classes", "num_features")
    if not getattr(net, "num_classes", 0):
        raise Refusal(
            "unsupported-operator",
            "KerasHub has no converter for a timm net without classes: it gives feature maps",
            given["architecture"],
        )
    config = {
        "architecture": given["architecture"],
        **{name: getattr(net, name) for name in known if hasattr(net, name)},
        "pretrained_cfg": {name: given[name] for name in PICTURE if name in given},
    }
    (folder / "config.json").write_text(json.dumps(config))
    weights = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    save_file(weights, str(folder / "model.safetensors"))


def _bound(module: Any, args: tuple, kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    import inspect

    return inspect.signature(module.forward).bind(*args, **kwargs).arguments


def _same(tensor: Any, among: Mapping[str, Any]) -> Optional[str]:
    return next((name for name, other in among.items() if other is tensor), None)


def model_class(architecture: str, fields: set) -> str:
    """The class of ``keras_hub.models`` that gives these fields. Raises Refusal where none does."""
    if fields <= set(OUTPUTS):
        return "Backbone"
    task = next((task for end, task in TASKS if architecture.endswith(end)), None)
    if fields != {"logits"} or task is None:
        raise Refusal(
            "unsupported-operator",
            f"KerasHub has no converter for {architecture} with {', '.join(sorted(fields))}",
            architecture,
        )
    return task


def _loaded(name: str, folder: pathlib.Path) -> Any:
    """The Keras model with the folder's weights. Raises UnmatchedWeights where some were drawn."""
    import keras
    import keras_hub
    import numpy as np

    from models_zoo.twins.weights import UnmatchedWeights

    cls = getattr(keras_hub.models, name)
    options = {} if name == "Backbone" else {"preprocessor": None}
    found = []
    for seed in (0, 1):  # what is drawn differs
        keras.utils.set_random_seed(seed)
        found.append(cls.from_preset(str(folder), **options))
    drawn = [
        one.path for one, other in zip(*(model.weights for model in found))
        if "seed_generator" not in one.path
        and not np.array_equal(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    ]  # fmt: skip
    if drawn:
        name = type(found[0]).__name__
        said = f"KerasHub's {name} leaves {len(drawn)} weights as they were drawn: "
        raise UnmatchedWeights([said + ", ".join(drawn)])
    return found[0]


def output_names(fields: Mapping[str, str], structure: Any) -> Dict[str, Optional[str]]:
    """By path the name that KerasHub gives an output, None for a lone one.

    Raises Refusal where it gives none of the kind, as for what a pooler makes.
    """
    if not isinstance(structure, Mapping):
        lone = [path for path, field in fields.items() if field != "pooler_output"]
        if len(fields) != 1 or not lone:
            given = ", ".join(sorted(fields.values()))
            raise Refusal("ambiguous-mapping", f"KerasHub has one output in place of {given}")
        return {path: None for path in fields}
    names = {path: OUTPUTS.get(field, field) for path, field in fields.items()}
    missing = sorted(set(names.values()) - set(structure))
    if missing:
        raise Refusal("ambiguous-mapping", f"KerasHub has no output {', '.join(missing)}")
    return names


def _channels_last(rank: int) -> Optional[Tuple[int, ...]]:
    """KerasHub's rule: images, the only tensors of four dimensions it knows, are channels-last."""
    return (0, 2, 3, 1) if rank == 4 else None


def _note(path: str, array: Any) -> TensorNote:
    order = _channels_last(array.ndim)
    basis = "unchanged" if order is None else "rule"
    return TensorNote(path, path, array.dtype.name, order, basis=basis)


def _input_notes(job: Conversion, observed: Observed) -> Tuple[TensorNote, ...]:
    return tuple(_note(path, job.example[path]) for path in observed.arguments)


def _output_notes(observed: Observed, names: Mapping[str, Any]) -> Tuple[TensorNote, ...]:
    return tuple(_note(path, observed.outputs[path]) for path in names)


def _serving(
    job: Conversion, observed: Observed, model: Any, names: Mapping[str, Optional[str]]
) -> Tuple[Any, Sequence[Any]]:
    """The function of the signature, called as the torch model is, and what it takes.

    Raises Refusal where the Keras model has no place for an input.
    """
    import tensorflow as tf

    paths = list(observed.arguments)
    wanted = model.input if isinstance(model.input, Mapping) else {"images": model.input}
    placed = {path: INPUTS.get(name, name) for path, name in observed.arguments.items()}
    homeless = [path for path, name in placed.items() if name not in wanted]
    if homeless:
        raise Refusal("ambiguous-mapping", f"KerasHub's model takes no {', '.join(homeless)}")
    specs = []
    for path in paths:
        dims = [dim if isinstance(dim, int) else None for dim in job.dims[path]]
        order = _channels_last(len(dims))
        dims = dims if order is None else [dims[axis] for axis in order]
        specs.append(tf.TensorSpec(dims, job.example[path].dtype, path))

    def serving(*tensors: Any) -> Dict[str, Any]:
        given = {placed[path]: tensor for path, tensor in zip(paths, tensors)}
        fed = {}
        for name, like in wanted.items():
            if name in given:
                fed[name] = tf.cast(given[name], like.dtype)
            elif name == "padding_mask":
                fed[name] = tf.ones_like(given["token_ids"], dtype=like.dtype)
            elif name == "segment_ids":
                fed[name] = tf.zeros_like(given["token_ids"], dtype=like.dtype)
            else:
                raise Refusal("ambiguous-mapping", f"nobody gives KerasHub's model its {name}")
        lone = not isinstance(model.input, Mapping)
        called = model(fed["images"] if lone else fed, training=False)
        return {path: called if name is None else called[name] for path, name in names.items()}

    return serving, specs


HOPS = (KerasHub(),)

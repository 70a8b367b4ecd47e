"""What an entry of the zoo is: the ``@model`` decorator, ``Tensor`` and ``Task``.

Imports no framework; a family file imports torch itself.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import pathlib
import re
from typing import Any, Callable, Iterator, Mapping, Optional, Tuple, Union

from models_zoo.preprocessing import Preprocessing

Dimension = Union[int, str]

#: Example size and other size of the one dimension that nearly every model has.
DEFAULT_SIZES = {"batch": (2, 3)}

DTYPES = (
    "float16", "bfloat16", "float32", "float64", "complex64",
    "int8", "int16", "int32", "int64", "uint8", "bool",
)  # fmt: skip

TIERS = ("smoke", "quick", "full", "full-only")
PRECISIONS = ("float32", "float16", "bfloat16", "float64")

#: Files here that are no family of models.
NO_FAMILIES = ("__init__", "entry", "preprocessing")

#: ``gpu``: only planned in runs on a CUDA device. ``mode``: also sent through the hops that make a
#: mistake with BatchNorm or the mode, and asked at batch 1 and 64. ``sharing``: on a CUDA device
#: also held by torch and TensorFlow at once, and by torch on one that is too small. ``timm``: laid
#: out as timm lays it out, for converters of its folders.
TAGS = ("gpu", "mode", "sharing", "timm")

#: The probes that are made for every model, or for some, without its entry's naming them.
GENERATED = (
    "example", "fresh", "negated", "zeros", "tenfold", "thousandth", "resized", "picture",
)  # fmt: skip

_NAME = re.compile(r"[a-z0-9_]+\Z")


@dataclasses.dataclass(frozen=True, init=False)
class Tensor:
    """One input of a model.

    ``dims``: an integer is a fixed size, a name a dynamic one whose sizes stand in the
    model's ``sizes``. ``range`` is the half-open interval [low, high) values are drawn
    from, uniformly; without it floats are standard normal, integers lie in [0, 10) and
    booleans are fair coins. Floats without one are asked ten times the example as well, and those
    whose range reaches zero, or that have none, a thousandth of it.
    """

    dims: Tuple[Dimension, ...]
    dtype: str
    range: Optional[Tuple[float, float]]

    def __init__(self, *dims: Dimension, dtype: str = "float32", range=None):
        for dim in dims:
            if not (isinstance(dim, (int, str)) and not isinstance(dim, bool)):
                raise TypeError(f"a dimension is an integer or a name, not {dim!r}")
            if isinstance(dim, int) and dim < 0:
                raise ValueError(f"a fixed dimension cannot be {dim}")
        if dtype not in DTYPES:
            raise ValueError(f"unknown dtype {dtype!r}; known: {', '.join(DTYPES)}")
        if range is not None:
            low, high = range
            if not low < high:
                raise ValueError(f"range ({low}, {high}) is empty")
            if dtype in ("bool", "complex64"):
                raise ValueError(f"a range says nothing of {dtype}, whose values are drawn without")
            range = (low, high)
        object.__setattr__(self, "dims", tuple(dims))
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "range", range)

    def as_dict(self) -> dict:
        return {"dims": list(self.dims), "dtype": self.dtype, "range": self.range}


@dataclasses.dataclass(frozen=True)
class Task:
    """Labelled examples, so that a model's accuracy at its task is real.

    ``examples`` returns (inputs, labels): a dict of arrays whose first axis is the batch,
    and an integer array of labels. A prediction is the argmax of the model's first output.
    """

    examples: Callable[[], Tuple[Mapping[str, Any], Any]]


@dataclasses.dataclass(frozen=True)
class Model:
    """An entry of the zoo. ``build`` returns the ``nn.Module``; all else is description."""

    name: str
    family: str
    build: Callable[[], Any]
    inputs: Mapping[str, Tensor]
    sizes: Mapping[str, Tuple[int, int]]
    exercises: Tuple[str, ...]
    probes: Mapping[str, Mapping[str, Any]]
    tier: str
    precision: str
    precisions: Tuple[str, ...]
    stochastic: bool
    classifier: bool
    train: bool
    trained: bool
    files: Tuple[str, ...]
    needs: Tuple[str, ...]
    tags: Tuple[str, ...]
    task: Optional[Task]
    picture: Optional[Preprocessing]
    seed: int
    file: str
    line: int

    def as_dict(self) -> dict:
        """The description that travels: all but the code."""
        return {
            "name": self.name,
            "family": self.family,
            "inputs": {name: spec.as_dict() for name, spec in self.inputs.items()},
            "sizes": {name: list(pair) for name, pair in self.sizes.items()},
            "exercises": list(self.exercises),
            "probes": list(self.probes),
            "tier": self.tier,
            "precision": self.precision,
            "precisions": list(self.precisions),
            "stochastic": self.stochastic,
            "classifier": self.classifier,
            "needs": list(self.needs),
            "tags": list(self.tags),
            "task": self.task is not None,
            "picture": self.picture is not None,
            "twin": _twin_of(self.name),
            "file": self.file,
            "line": self.line,
        }


def _twin_of(name: str) -> Optional[dict]:
    """What a description says of the twin that the model's own file declares, if it does."""
    found = twins.get(name)
    return None if found is None else {"weights": found.weights, "chain": found.chain}


_entries: list = []

#: Keras twins by the name of their model; ``models_zoo.twins.twin`` declares one.
twins: dict = {}


@contextlib.contextmanager
def collect() -> Iterator[list]:
    """Collect the entries declared while the block runs (an import, usually)."""
    global _entries
    outer, _entries = _entries, []
    try:
        yield _entries
    finally:
        _entries = outer


def _one_of(what: str, given: str, known: Tuple[str, ...]) -> str:
    if given not in known:
        raise ValueError(f"unknown {what} {given!r}; known: {', '.join(known)}")
    return given


def _check_picture(picture: Preprocessing, inputs: Mapping[str, Tensor]) -> None:
    if picture.input not in inputs:
        raise ValueError(f"picture names {picture.input!r}, which is no input")
    spec = inputs[picture.input]
    if len(spec.dims) != 4 or spec.dims[1] != 3 or not all(
        isinstance(size, int) for size in spec.dims[2:]
    ):
        raise ValueError(
            f"input {picture.input!r} takes a picture, so its dimensions are a batch, 3 channels, "
            f"and height and width as numbers, not {spec.dims}"
        )


def model(
    *,
    sizes: Optional[Mapping[str, Tuple[int, int]]] = None,
    exercises: Tuple[str, ...] = (),
    probes: Optional[Mapping[str, Mapping[str, Any]]] = None,
    tier: str = "quick",
    precision: str = "float32",
    precisions: Tuple[str, ...] = (),
    stochastic: bool = False,
    classifier: bool = False,
    train: bool = False,
    trained: bool = False,
    files: Tuple[str, ...] = (),
    needs: Tuple[str, ...] = (),
    tags: Tuple[str, ...] = (),
    task: Optional[Task] = None,
    picture: Optional[Preprocessing] = None,
    seed: int = 0,
    **inputs: Tensor,
) -> Callable[[Callable[[], Any]], Model]:
    """Declare the function below as a model of the zoo; its name is the model's name.

    ``**inputs``: a ``Tensor`` for each argument of the module's ``forward``, by its name.
    ``sizes``: for each named dimension its example size and one other size; ``batch`` is
    (2, 3) unless said otherwise. ``exercises``: operators this model is here for.
    ``probes``: inputs by hand beside those of ``GENERATED`` (the other branch, another loop
    count), as ``{"probe": {"input": value}}`` where a value is a number (fills the
    tensor), a nested list or array, or a ``Tensor`` (same dimensions, another range);
    inputs not named keep the example's values. ``tier``: ``smoke`` models go down every
    route already in a ``quick`` run; ``quick`` ones down the cheap routes; ``full`` ones
    only down the cheapest before a ``full`` run; ``full-only`` ones nowhere else.
    ``precision``: the model's own dtype.
    ``precisions``: others that a ``quick`` run casts it to, for cells beside its own.
    ``stochastic``: outputs vary by design and are compared by mean and spread.
    ``classifier``: the first output's last axis are class scores. ``train``: leave the
    module in train mode. ``trained``: it is as it was trained, so that nothing is drawn; otherwise
    BatchNorms whose statistics are the initial ones, and parameters that hold one value throughout
    as constructors leave them, are given others, since what a converter loses of these does not
    show. ``files``: what the builder reads otherwise than with Python's ``open`` (safetensors'
    checkpoints), relative to the file that declares it: artefacts are made anew once one has
    changed, as they are for what is read with ``open``.
    ``needs``: distributions beyond torch that it imports.
    ``tags``: of ``TAGS``. ``task``: labelled examples. ``picture``: how both ecosystems make
    an input of a picture; such a model is planned on the ways to TensorFlow alone, and where the
    two inputs differ its cells stop at ``preprocess``. ``seed``: what parameters are drawn from.

    Raises TypeError or ValueError on a declaration that makes no sense.
    """
    for name, spec in inputs.items():
        if not isinstance(spec, Tensor):
            raise TypeError(f"input {name!r} must be a Tensor, not {type(spec).__name__}")
    if not inputs:
        raise ValueError("a model needs at least one input")
    named = {dim for spec in inputs.values() for dim in spec.dims if isinstance(dim, str)}
    all_sizes = {name: pair for name, pair in DEFAULT_SIZES.items() if name in named}
    for name, pair in (sizes or {}).items():
        if name not in named:
            raise ValueError(f"sizes names {name!r}, which is no dimension of any input")
        example, other = pair
        if example == other:
            raise ValueError(f"the two sizes of {name!r} are the same ({example})")
        all_sizes[name] = (int(example), int(other))
    for name in sorted(named - set(all_sizes)):
        raise ValueError(f"dimension {name!r} has no sizes=")
    for probe, values in (probes or {}).items():
        if not _NAME.match(probe):
            raise ValueError(f"probe name {probe!r} may hold only a-z, 0-9 and _")
        if probe in GENERATED:
            raise ValueError(f"probe name {probe!r} is that of one which is made for every model")
        for name in values:
            if name not in inputs:
                raise ValueError(f"probe {probe!r} names {name!r}, which is no input")
    if precisions and precision != "float32":
        raise ValueError(f"a {precision} model is what it is: only float32 models are cast")
    if picture is not None:
        _check_picture(picture, inputs)

    def declare(build: Callable[[], Any]) -> Model:
        name = build.__name__
        if not _NAME.match(name):
            raise ValueError(f"model name {name!r} may hold only a-z, 0-9 and _")
        code = inspect.unwrap(build).__code__
        entry = Model(
            name=name,
            family=pathlib.Path(code.co_filename).stem,
            build=build,
            inputs=dict(inputs),
            sizes=all_sizes,
            exercises=tuple(exercises),
            probes=dict(probes or {}),
            tier=_one_of("tier", tier, TIERS),
            precision=_one_of("precision", precision, PRECISIONS),
            precisions=tuple(_one_of("precision", one, PRECISIONS[1:]) for one in precisions),
            stochastic=stochastic,
            classifier=classifier,
            train=train,
            trained=trained,
            files=tuple(str(pathlib.Path(code.co_filename).parent / file) for file in files),
            needs=tuple(needs),
            tags=tuple(_one_of("tag", tag, TAGS) for tag in tags),
            task=task,
            picture=picture,
            seed=seed,
            file=code.co_filename,
            line=code.co_firstlineno,
        )
        _entries.append(entry)
        return entry

    return declare

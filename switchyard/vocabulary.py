"""The words of Switchyard as values: stage, kind, verdict, cell, outcome.

Pure values: no I/O, no framework, nothing but the standard library, so that the
runner, the worker of any version set and the table readers share one meaning.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import signal
from typing import Iterable

FORMATS = ("torch", "exported_program", "onnx", "saved_model", "tflite", "keras")

PRECISIONS = ("float32", "tf32", "float16", "bfloat16", "float64")

#: What a float32 model can be cast to for a cell of its own; ``tf32`` is a mode of a device.
CAST = ("float16", "bfloat16", "float64")

#: The route of no hops, which stands beside every other: its time is what theirs is divided by.
NATIVE = "torch-eager"

#: How far a cell came, in order. A conversion's stage names its hop: ``convert:dynamo``.
STAGES = (
    "resolve",
    "import",
    "build",
    "reference",
    "preprocess",
    "convert",
    "load",
    "run",
    "compare",
    "measure",
)

#: From best to worst; ``unavailable`` and ``void`` say nothing about the route.
VERDICTS = (
    "excellent",
    "acceptable",
    "investigate",
    "refused",
    "failed",
    "unavailable",
    "void",
)

#: Verdicts of a conversion that may be used.
PASSING = frozenset({"excellent", "acceptable"})

#: Verdicts that count neither for nor against a route's success rate.
UNCOUNTED = frozenset({"unavailable", "void"})

#: The closed list of what can go wrong, by the family that says whose fault it is.
KINDS_BY_FAMILY = {
    "environment": (
        "unsatisfiable-pins",
        "missing-dependency",
        "removed-api",
        "abi-mismatch",
        "ir-or-opset-too-new",
        "driver-too-old",
        "provider-fallback",
    ),
    "capability": (
        "unsupported-operator",
        "data-dependent-control-flow",
        "dynamic-shape",
        "unsupported-dtype",
        "ambiguous-mapping",
    ),
    "artefact": ("invalid-graph", "load-rejected", "unmatched-weights"),
    "agreement": (
        "output-structure",
        "shape",
        "dtype",
        "non-finite",
        "layout-permuted",
        "channel-affine",
        "padding-shift",
        "constant-baked",
        "constant-output",
        "precision",
        "preprocessing",
        "unstable-across-runs",
        "unexplained",
    ),
    "process": (
        "crash",
        "timeout",
        "host-oom",
        "device-oom",
        "device-lost",
        "no-result",
    ),
    "performance": ("slower", "cpu-fallback", "noisy"),
    "harness": ("bad-reference", "bad-fixture"),
}

#: Every kind, with its family.
KINDS = {kind: family for family, kinds in KINDS_BY_FAMILY.items() for kind in kinds}

#: Kinds that may never become an expectation: the next run may end otherwise.
UNACCEPTABLE_KINDS = frozenset({"timeout", "host-oom", "device-oom", "device-lost", "no-result"})

#: Whether another batch size, length or image size works, where a model declares it.
DYNAMIC = ("ok", "specialised", "failed", "wrong", "not-declared")

#: Whether undoing a converter's change of layout was possible.
LAYOUT_BASES = ("unchanged", "rule", "shape", "undetermined")

TIERS = ("smoke", "quick", "full")

#: What a model, a hop or a runtime costs: a run's tiers, and what only a full run takes, with
#: anything.
COSTS = (*TIERS, "full-only")

#: Hops that make a mistake on purpose, to find out what it costs: they count for or against no
#: converter. ``switchyard/hops/export_mistakes.py`` and ``twin_mistakes.py`` hold them.
MISTAKES = (
    "dynamo_left_in_train",
    "torchscript_left_in_train",
    "torchscript_preserve_train",
    "torchscript_training",
    "traced_in_train",
    "manual_default_eps",
    "manual_default_momentum",
    "manual_copied_momentum",
    "manual_statistics_forgotten",
    "manual_statistics_swapped",
)

#: What each suite is answerable for. An expectation binds to the suite of its stage.
SUITE_OF_STAGE = {
    "resolve": "conversion",
    "import": "conversion",
    "build": "conversion",
    "reference": "conversion",
    "preprocess": "conversion",
    "convert": "conversion",
    "load": "accuracy",
    "run": "accuracy",
    "compare": "accuracy",
    "measure": "measure",
}


class NotUsable(Exception):
    """What a run was asked for, or is to begin with, cannot be used; the message says why, for the
    person who asked."""


class UnknownName(NotUsable, ValueError):
    """A name that is not in the list it should be in; the message offers the nearest."""

    def __init__(self, what: str, given: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
        if near:
            hint = "did you mean " + " or ".join(near) + "?"
        elif len(known) <= 16:
            hint = "known: " + ", ".join(known)
        else:
            hint = f"{len(known)} are known, none of them near"
        super().__init__(f"unknown {what} {given!r}; {hint}")


def by_version(name: str) -> list[tuple[int, str]]:
    """A key that sorts names as versions are ordered: ``torch2.5`` before ``torch2.13``."""
    parts = re.findall(r"\d+|\D+", name)
    return [(int(part), "") if part.isdigit() else (0, part) for part in parts]


def is_mistake(hops: str | None) -> bool:
    """Whether hops joined by ``>``, as a table has them, hold one that is a mistake on purpose."""
    return not set(MISTAKES).isdisjoint((hops or "").split(">"))


def stage_base(stage: str) -> str:
    """``convert:dynamo`` -> ``convert``; raises UnknownName for what is no stage."""
    base = stage.partition(":")[0]
    if base not in STAGES:
        raise UnknownName("stage", stage, STAGES)
    return base


def cast_to(own: str, precision: str) -> str:
    """The dtype to which a model of precision ``own`` is cast for a cell of ``precision``; ""
    where it stays as it is. Only float32 models are cast: others are what they are on purpose."""
    return precision if own == "float32" and precision in CAST else ""


def in_tier(model_tier: str, route_tier: str, wanted: str) -> bool:
    """Whether a cell belongs to a run of tier ``wanted``.

    Model and route each cost 0 (smoke), 1 (quick) or 2 (full); a run of tier t takes the
    cells whose two costs together are at most 2 t. So ``quick`` is every quick model on
    every quick route, and the models tagged smoke on the dear (full) routes as well. ``full``
    takes everything; what is ``full-only`` costs 3, which no other run has to spend.
    """
    if wanted == "full":
        return True
    cost = COSTS.index(model_tier) + COSTS.index(route_tier)
    return cost <= 2 * TIERS.index(wanted)


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """The unit that gets a row: version set x device x precision x model x route."""

    version_set: str
    device: str
    precision: str
    model: str
    route: str

    @property
    def id(self) -> str:
        """The test id, ``SET:DEVICE:PRECISION:MODEL-ROUTE``."""
        return f"{self.version_set}:{self.device}:{self.precision}:{self.model}-{self.route}"

    @property
    def short(self) -> str:
        """``MODEL-ROUTE``; no ambiguity, since model names hold no hyphen."""
        return f"{self.model}-{self.route}"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How far something came, and what stopped it there.

    ``verdict`` is empty while nothing has judged the cell (a conversion that succeeded).
    ``signature`` is the message with everything that changes from run to run taken out,
    so that one cause behind forty cells has one signature.
    """

    stage: str
    verdict: str = ""
    kind: str = ""
    operator: str = ""
    message: str = ""
    signature: str = ""
    detail: str = ""

    def __post_init__(self):
        stage_base(self.stage)
        if self.verdict and self.verdict not in VERDICTS:
            raise UnknownName("verdict", self.verdict, VERDICTS)
        if self.kind and self.kind not in KINDS:
            raise UnknownName("kind", self.kind, KINDS)

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: dict) -> "Outcome":
        return cls(**{f.name: fields.get(f.name, "") or "" for f in dataclasses.fields(cls)})


def verdict_of_failure(stage: str, kind: str) -> str:
    """``refused`` is a capability kind raised at convert; ``void`` a fault of the harness or
    its fixtures; ``unavailable`` what the environment, torch itself included, lacks before a
    converter is at work."""
    family = KINDS[kind]
    base = stage_base(stage)
    if family == "harness":
        return "void"
    if base in ("resolve", "import"):
        return "unavailable"
    if base in ("build", "reference") and family in ("environment", "capability"):
        return "unavailable"
    if family == "capability" and base == "convert":
        return "refused"
    return "failed"


def silent_end(status: int) -> tuple[str, str]:
    """Kind and message of a process that ended without a word; ``status`` as ``subprocess`` has
    it, a signal's number below zero. Of one that was killed on purpose whoever killed it knows
    better."""
    if status == -signal.SIGKILL:
        return "host-oom", "killed from outside, most likely by the kernel for memory"
    if status < 0:
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-status, f"signal {-status}")  # most of the real-time ones have none
        return "crash", f"the process was ended by {name}"
    return "no-result", f"exit {status} with no result"


_SCRUB = (
    (re.compile(r"0x[0-9a-fA-F]+"), "0x"),
    (re.compile(r"(?:/[\w.+@-]+){2,}/?"), "<path>"),
    (re.compile(r"\b(?:tmp|temp)[\w-]{4,}\b"), "<temp>"),
    (re.compile(r"\b[0-9a-f]{12,}\b"), "<hash>"),
    (re.compile(r"\d+(?:\.\d+)?(?:[eE][-+]?\d+)?"), "#"),
    (re.compile(r"(?:#[,x ]+)*#"), "#"),
    (re.compile(r"\s+"), " "),
)


#: Characters of a signature. Tables of before have more, of a message that was cut first: behind
#: these it depends on how long the paths in it were.
SIGNATURE_LENGTH = 160


def signature_of(message: str) -> str:
    """The message without paths, addresses, numbers and temporary names, at most
    ``SIGNATURE_LENGTH`` long. To be given the whole message: where it is cut, paths decide."""
    text = message.strip()
    for pattern, replacement in _SCRUB:
        text = pattern.sub(replacement, text)
    return text[:SIGNATURE_LENGTH]

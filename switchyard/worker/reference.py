"""The reference: torch eager on the CPU, in the model's own dtype and in float64.

Made once a model, on every probe, and kept on disk; everything a converted model is asked
and everything its answers are compared with comes from here.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import Any, Dict, Mapping, Optional, Tuple

import numpy as np

from switchyard import wire
from switchyard.worker.blame import Told, kind_of, of_the_moment
from switchyard.worker.drawing import GENERATED, RESIZED, SCALED, draw, probes_of
from switchyard.worker.elements import as_float64, same_places
from switchyard.worker.rounding import SIXTEEN_BITS, rms

#: By the path of an input or output.
Arrays = Mapping[str, np.ndarray]

#: A model that is declared stochastic: its runs on each side, and the probes that it is asked. Of
#: one alone it could not be told whether a route listens to its inputs.
STOCHASTIC_RUNS, STOCHASTIC_PROBES = 64, ("example", "fresh")


#: Probes whose inputs are drawn each by itself, and the share of its root mean square by which an
#: answer must differ between two of them: a hundred roundings of float32, as many as a route may
#: add (``agreement``), so that less could not be told from them.
_DRAWN_APART = ("example", "fresh", "negated")
_DEAF = 1e-5

#: Inputs that are drawn at most to find one that changes a label.
_LABELS_ASKED = 200


class BadReference(Told):
    """The model itself cannot be asked: no route is to blame."""

    kind = "bad-reference"
    stage = "reference"


class BadFixture(Told):
    """The zoo's entry is at fault: its builder or its probes."""

    kind = "bad-fixture"
    stage = "build"


@dataclasses.dataclass(frozen=True)
class Reference:
    """What lies in a reference's folder. ``facts`` has the output paths, in order, and
    the probes in the order they are asked."""

    folder: pathlib.Path
    facts: Mapping[str, Any]

    @classmethod
    def read(cls, folder) -> "Reference":
        folder = pathlib.Path(folder)
        return cls(folder, json.loads((folder / "reference.json").read_text()))

    @property
    def probes(self) -> Tuple[str, ...]:
        return tuple(self.facts["probes"])

    def _load(self, what: str, probe: str) -> Dict[str, np.ndarray]:
        return wire.load_tensors(self.folder / f"{probe}.{what}.tensors")

    def inputs(self, probe: str) -> Dict[str, np.ndarray]:
        """input path -> array."""
        return self._load("inputs", probe)

    def outputs(self, probe: str) -> Dict[str, np.ndarray]:
        """output path -> array, in the model's own dtype."""
        return self._load("outputs", probe)

    def outputs64(self, probe: str) -> Optional[Dict[str, np.ndarray]]:
        """The same from a float64 run, or None where the model has none."""
        path = self.folder / f"{probe}.outputs64.tensors"
        return wire.load_tensors(path) if path.exists() else None

    def many(self, probe: str) -> Dict[str, np.ndarray]:
        """For a stochastic model: output path -> runs stacked on a new first axis. ``probe``: of
        ``STOCHASTIC_PROBES``."""
        return self._load("runs", probe)


def _same(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    """Equal to the bit, but for NaN payloads and differences at the last places.

    A thread pool may sum in another order; a model whose outputs depend on chance differs
    by far more. NaN and infinities must stand in the same places, and give no scale to the rest:
    beside one infinity every difference would be small.
    """
    for path, array in first.items():
        other = second[path]
        if array.shape != other.shape:
            return False
        kind = array.dtype.kind
        if kind in "biu":
            if not np.array_equal(array, other):
                return False
            continue
        wide = np.complex128 if kind == "c" else np.float64
        a, b = array.astype(wide), other.astype(wide)
        if not same_places(as_float64(a), as_float64(b)):
            return False
        a, b = a[np.isfinite(a)], b[np.isfinite(b)]
        scale = np.sqrt(np.mean(np.abs(a) ** 2)) if a.size else 0.0
        if not np.allclose(a, b, rtol=1e-4, atol=1e-4 * float(scale)):
            return False
    return True


def make_reference(job: Mapping[str, Any]) -> Dict[str, Any]:
    """Write the reference of one model into ``job["target"]``.

    Raises BadFixture where the entry cannot be built or asked, BadReference where its
    answers are NaN or differ between two runs without being declared stochastic.
    """
    from switchyard.worker import batches
    from switchyard.worker.building import build, project_sources
    from switchyard.worker.casting import NotInThisDtype
    from switchyard.worker.preprocessing import torch_picture

    try:
        model = build(job["file"], job["model"], job.get("precision", ""))
    except NotInThisDtype:
        raise
    except Exception as error:
        error.stage = "build"
        raise
    entry, target = model.entry, pathlib.Path(job["target"])
    probes = probes_of(entry)
    if entry.stochastic or any(spec.dtype in SIXTEEN_BITS for spec in entry.inputs.values()):
        # compared by mean and spread; where 16 bits overflow or have no digits left, nothing shows
        probes = {probe: inputs for probe, inputs in probes.items() if probe not in SCALED}
    if entry.picture is not None:  # the converted model is asked real pictures as well
        example = probes["example"]
        fed = example[entry.picture.input]
        picture = torch_picture(entry, len(fed)).astype(fed.dtype)
        probes["picture"] = {**example, entry.picture.input: picture}
    facts: Dict[str, Any] = {"stochastic": entry.stochastic, "float64": True, "probes": []}
    facts["left_out"] = {}  # of SCALED, which nobody said the model is made for: why

    def keep(probe: str, inputs: Arrays, outputs: Arrays) -> None:
        exact: Optional[Arrays] = None
        if facts["float64"] and not entry.stochastic:
            try:
                exact = model.run_float64(inputs)
            except Exception as error:  # then `acceptable` is the best verdict
                if of_the_moment(error):  # the reference is kept
                    raise
                if probe in SCALED:
                    facts["left_out"][probe] = _said(error)
                    return
                facts["float64"] = False
                facts["float64_reason"] = _said(error)
        wire.save_tensors(target / f"{probe}.inputs.tensors", inputs)
        wire.save_tensors(target / f"{probe}.outputs.tensors", outputs)
        if exact is not None:
            wire.save_tensors(target / f"{probe}.outputs64.tensors", exact)
        if probe not in facts["probes"]:
            facts["probes"].append(probe)

    for probe, inputs in probes.items():
        try:
            first = model.run(inputs)
            second = model.run(inputs)
        except Exception as error:
            if probe in SCALED and not of_the_moment(error):
                facts["left_out"][probe] = _said(error)
                continue
            if model.cast:  # the zoo's own precision is asked in a cell of its own
                raise NotInThisDtype(f"{entry.name} in {model.cast}: {error}") from error
            if probe == RESIZED:
                raise BadFixture(
                    f"{entry.name} declares other sizes that torch itself does not take: {error}"
                ) from error
            error.stage = "reference"
            if probe in GENERATED[1:] and kind_of(error, "reference") == BadReference.kind:
                raise BadReference(
                    f"{entry.name} takes its example, but not the probe {probe!r} that is made of "
                    f"it ({type(error).__name__}: {error}): say by range= of a Tensor which values "
                    "are legal"
                ) from error
            raise
        if probe == "example":
            usual = first
            facts["outputs"] = list(first)
            _refuse_nan(entry, first, NotInThisDtype if model.cast else BadReference)
        if probe in SCALED and not (_in_range(usual, first) and _same(first, second)):
            facts["left_out"][probe] = (
                "torch's own answer is not finite, is another structure, or differs in two runs"
            )
            continue
        if not entry.stochastic and not _same(first, second):
            raise BadReference(
                f"{entry.name} answers probe {probe!r} differently in two runs and is not "
                "declared stochastic: it draws at random, or keeps something from call to call"
            )
        keep(probe, inputs, first)
    # Of another dtype than the zoo's own a small difference may be rounded away.
    if not entry.stochastic and not model.cast:
        heard = _another_fresh(entry, model, target)
        if heard is not None:
            keep("fresh", *heard)
    for probe in STOCHASTIC_PROBES if entry.stochastic else ():
        runs = [model.run(probes[probe]) for _ in range(STOCHASTIC_RUNS)]
        wire.save_tensors(
            target / f"{probe}.runs.tensors",
            {path: np.stack([run[path] for run in runs]) for path in runs[0]},
        )
    if entry.task is not None:
        facts["task_accuracy"] = task_accuracy(entry, model.run)
    if "mode" in entry.tags:
        batches.write(entry, model.run, target)
        facts["batches"] = True
    (target / "reference.json").write_text(json.dumps(facts, indent=1))
    return {"facts": facts, "sources": project_sources()}


def _refuse_nan(entry, outputs: Mapping[str, np.ndarray], error=BadReference) -> None:
    if not outputs:
        raise BadFixture(f"{entry.name} has no tensor in its output")
    for path, array in outputs.items():
        if array.dtype.kind in "fcV" and np.isnan(array.astype(np.complex128)).any():
            raise error(
                f"{entry.name} gives NaN in {path!r} on its own example: say by range= of a Tensor "
                "which values are legal, if those that were drawn are not"
            )


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


def _in_range(usual: Arrays, outputs: Arrays) -> bool:
    """Whether outputs are those of the example, and finite but where its are not either, as behind
    a mask."""
    if list(outputs) != list(usual):  # another structure for other values
        return False
    for path, array in outputs.items():
        values, example = as_float64(array), as_float64(usual[path])
        if not np.isfinite(values).all() and not (
            values.shape == example.shape and same_places(example, values)
        ):
            return False
    return True


def _another_fresh(entry, model, target: pathlib.Path) -> Optional[Tuple[Arrays, Arrays]]:
    """Inputs and outputs in place of the probe ``fresh``, where none of the drawn ones changes the
    answer and one more does: a model that answers by a label alone may give the same few times
    running. None where nothing is wrong. Raises BadFixture where it answers alike whatever it is
    asked, so that any loss would pass.
    """
    example, *others = (
        wire.load_tensors(target / f"{probe}.outputs.tensors") for probe in _DRAWN_APART
    )
    apart = max(_apart(example, other) for other in others)
    if apart > _DEAF:
        return None
    asked = len(_DRAWN_APART)
    if all(array.dtype.kind in "biu" for array in example.values()):
        for number in range(2, _LABELS_ASKED):
            inputs = draw(entry, f"fresh-{number}", {})
            outputs = model.run(inputs)
            asked += 1
            if _apart(example, outputs) > _DEAF:
                return inputs, outputs
    raise BadFixture(
        f"{entry.name} answers alike whatever it is asked: on {asked} probes its answers are at "
        f"most {apart:.2g} of their size apart, and below {_DEAF:g} rounding hides what differs, "
        "so that no loss in a conversion could be seen (a layer of zeros, a signal that many "
        "layers let vanish, a large constant beside it?)"
    )


def _apart(one: Arrays, two: Arrays) -> float:
    """How far two answers are from each other, in parts of the first's root mean square, by the
    output that differs most; infinite where shapes or places without a number differ."""
    furthest = 0.0
    for path, array in one.items():
        if array.shape != two[path].shape:
            return math.inf
        a, b = as_float64(array), as_float64(two[path])
        if not same_places(a, b):
            return math.inf
        with np.errstate(invalid="ignore"):  # of infinities in the same places
            gap = rms(a - b)
        if gap:
            furthest = max(furthest, gap / rms(a) if rms(a) else math.inf)
    return furthest


def task_accuracy(entry, run, batch: int = 64, fill: bool = False) -> float:
    """The share of labelled examples that ``run`` gets right, in [0, 1], as ``batches.accuracy``
    defines it. Raises what ``run`` raises."""
    from switchyard.worker.batches import accuracy, labelled

    return accuracy(run, *labelled(entry.task), batch, fill)

"""What a hop says of its artefact: where each tensor went and what was changed on the way.

A converter may rename tensors, turn layouts (NCHW to NHWC) and narrow integers. The
manifest records that per tensor, by the *path* it has in the model's own inputs or outputs,
from the tool's rule and from shapes only, never from values; the worker undoes it.
Floats are never undone.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import TYPE_CHECKING, Any, Dict, List, Mapping, Optional, Sequence, Tuple

if TYPE_CHECKING:
    import numpy as np

from switchyard.vocabulary import LAYOUT_BASES
from switchyard.wire import dtype_named

INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class ManifestMismatch(ValueError):
    """The artefact does not hold the tensors that its manifest speaks of."""


@dataclasses.dataclass(frozen=True)
class TensorNote:
    """One input or output of an artefact.

    ``path``: its name in the model. ``name``: its name in the artefact. ``permutation``:
    artefact axes = model axes transposed by this, or None where unchanged. ``width``: the
    integer dtype that the artefact has in place of the model's, or None. ``basis``: one of
    ``unchanged``, ``rule``, ``shape``, ``undetermined``: what the permutation rests on.
    """

    path: str
    name: str
    dtype: str = ""
    permutation: Optional[Tuple[int, ...]] = None
    width: Optional[str] = None
    basis: str = "unchanged"

    def then(
        self,
        name: str,
        permutation: Optional[Sequence[int]] = None,
        width: Optional[str] = None,
        basis: str = "unchanged",
    ) -> "TensorNote":
        """This note after one more hop, which renamed, transposed or narrowed the artefact's
        tensor; both hops' changes are undone at once and the weaker basis stands."""
        both = self.permutation
        if permutation is not None:
            first = range(len(permutation)) if both is None else both
            both = tuple(first[axis] for axis in permutation)
            if both == tuple(range(len(both))):
                both = None
        return dataclasses.replace(
            self,
            name=name,
            permutation=both,
            width=width or self.width,
            basis=max(self.basis, basis, key=LAYOUT_BASES.index),
        )

    def to_artefact(self, array: np.ndarray) -> np.ndarray:
        """The model's input as the artefact wants it."""
        import numpy as np

        if self.permutation is not None:
            array = np.transpose(array, self.permutation)
        if self.width is not None:
            array = array.astype(dtype_named(self.width))
        return np.asarray(array, order="C")  # ascontiguousarray would give a scalar a dimension

    def to_model(self, array: np.ndarray) -> np.ndarray:
        """The artefact's output as the model would have given it; integers widened back."""
        import numpy as np

        array = np.asarray(array)
        if self.permutation is not None and array.ndim == len(self.permutation):
            array = np.transpose(array, np.argsort(self.permutation))
        if self.width is not None and array.dtype.name == self.width and self.dtype in INTEGERS:
            array = array.astype(dtype_named(self.dtype))
        return array


@dataclasses.dataclass(frozen=True)
class Manifest:
    """``files`` names what lies in the artefact's folder, by format. ``facts`` is what the
    hop read back (the opset written, the exporter's own notes, how it was made dynamic).
    ``by_format``: ``{"inputs": notes, "outputs": notes, "facts": more facts}`` for a format
    that differs from the rest, where one hop writes several formats."""

    files: Mapping[str, str]
    inputs: Tuple[TensorNote, ...]
    outputs: Tuple[TensorNote, ...]
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    by_format: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)

    def for_format(self, format: str) -> "Manifest":
        """The manifest as it holds for the file of ``format``: its own notes if it has
        any, else the shared ones; its own facts on top of the shared ones."""
        own = self.by_format.get(format)
        if own is None:
            return self
        return dataclasses.replace(
            self,
            inputs=own["inputs"],
            outputs=own["outputs"],
            facts={**self.facts, **own.get("facts", {})},
            by_format={},
        )

    @property
    def layout_basis(self) -> str:
        """The weakest ground any tensor's layout rests on."""
        notes = self.inputs + self.outputs
        return max((note.basis for note in notes), key=LAYOUT_BASES.index, default="unchanged")

    def feeds(self, inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """The model's inputs, by path, as the artefact's inputs, by name."""
        return {note.name: note.to_artefact(inputs[note.path]) for note in self.inputs}

    def results(self, outputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """The artefact's outputs, by name, as the model's outputs, by path.

        An output that the manifest does not know keeps its own name, and one that is
        missing is missing: the comparison, not the manifest, judges structure.
        """
        notes = {note.name: note for note in self.outputs}
        return {
            notes[name].path if name in notes else name: (
                notes[name].to_model(array) if name in notes else array
            )
            for name, array in outputs.items()
        }

    def as_dict(self) -> dict:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Manifest":
        def notes(entries: Sequence[Mapping[str, Any]]) -> Tuple[TensorNote, ...]:
            read: List[TensorNote] = []
            for entry in entries:
                entry = dict(entry)
                if entry.get("permutation") is not None:
                    entry["permutation"] = tuple(entry["permutation"])
                read.append(TensorNote(**entry))
            return tuple(read)

        return cls(
            files=dict(fields["files"]),
            inputs=notes(fields["inputs"]),
            outputs=notes(fields["outputs"]),
            facts=dict(fields.get("facts", {})),
            by_format={
                format: {
                    "inputs": notes(own["inputs"]),
                    "outputs": notes(own["outputs"]),
                    "facts": dict(own.get("facts", {})),
                }
                for format, own in fields.get("by_format", {}).items()
            },
        )


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A hop's output on disk: a folder and its manifest."""

    folder: pathlib.Path
    manifest: Manifest

    def file(self, format: str) -> pathlib.Path:
        """The path of this artefact in ``format``. Raises ManifestMismatch if there is none."""
        try:
            path = self.folder / self.manifest.files[format]
        except KeyError:
            raise ManifestMismatch(
                f"the artefact in {self.folder.name} has no {format}, only "
                + ", ".join(sorted(self.manifest.files))
            ) from None
        if not path.exists():
            raise ManifestMismatch(f"{path.name} is named by the manifest and not there")
        return path

    @classmethod
    def read(cls, folder) -> "Artefact":
        folder = pathlib.Path(folder)
        fields = json.loads((folder / "manifest.json").read_text())
        return cls(folder, Manifest.from_dict(fields))

    def write(self) -> None:
        text = json.dumps(self.manifest.as_dict(), indent=1)
        (self.folder / "manifest.json").write_text(text)

    @property
    def size_bytes(self) -> int:
        """All files that the manifest names, folders with what they hold."""
        total = 0
        for name in set(self.manifest.files.values()):
            path = self.folder / name
            for part in [path] if path.is_file() else path.rglob("*"):
                total += part.stat().st_size if part.is_file() else 0
        return total

"""From a zoo file to a built model: import, build, draw, and the torch side of arrays."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import os
import pathlib
import random
import site
import sys
import sysconfig
from typing import Any, Dict, List, Mapping, Sequence, Set, Tuple

import numpy as np

import models_zoo
from switchyard.vocabulary import UnknownName, cast_to
from switchyard.wire import dtype_named
from switchyard.worker import arguments, files_read, norm_scales, partial
from switchyard.worker.casting import cast_entry, cast_module
from switchyard.worker.drawing import draw, draw_parameters

#: Files of the built-in zoo that were imported, and what they declared.
_imported: Dict[str, Tuple["models_zoo.Model", ...]] = {}

#: Variables that name folders which go with a process or with its run.
_PASSING = ("TMPDIR", "TORCH_EXTENSIONS_DIR")

#: What the entries of the models built so far name as files of theirs.
_named_files: Set[str] = set()


def import_zoo_file(path: str) -> List["models_zoo.Model"]:
    """The entries that a zoo file declares. Raises whatever its import raises, unless that is
    an API which this version set lacks: then only the models that use it fail, when built.

    A file of the built-in zoo is imported as part of its package, once; any other by its path,
    with its folder first on ``sys.path`` as Python does for a script.
    """
    file = pathlib.Path(path)
    own = file.parent == pathlib.Path(models_zoo.__file__).parent
    if own and path in _imported:  # a second import of a package's module declares nothing
        return list(_imported[path])
    name = f"models_zoo.{file.stem}" if own else f"zoo_file_{file.stem}"
    if not own:
        sys.path.insert(0, str(file.parent))
        sys.dont_write_bytecode = True  # nothing is left beside a file of somebody's
    with models_zoo.collect() as entries, files_read.noting():
        try:
            if own:
                importlib.import_module(name)
            else:
                spec = importlib.util.spec_from_file_location(name, file)
                module = importlib.util.module_from_spec(spec)
                sys.modules[spec.name] = module
                spec.loader.exec_module(module)
        except Exception as error:
            if not partial.lacks_api(error):
                raise
            entries.clear()
            partial.import_what_stands(name, file)
    names = [entry.name for entry in entries]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{file.name} declares {name!r} twice")
    if own:
        _imported[path] = tuple(entries)
    return list(entries)


@functools.cache
def _installations() -> Tuple[str, ...]:
    """Where modules lie that are part of an installation and not of somebody's project."""
    roots = {*site.getsitepackages(), sysconfig.get_paths()["stdlib"]}
    return tuple(root + os.sep for root in roots)


def project_sources() -> Dict[str, str]:
    """path -> sha256 of every project file imported so far and of what the models built so far
    read, Switchyard's own left out, and what TensorFlow and torch write and import themselves: it
    goes with the process's temporary folder, a C++ extension with the run's. Raises OSError where
    one of ``files=`` is not there.
    """
    own = pathlib.Path(__file__).parent.parent
    passing = tuple(os.environ[name] + os.sep for name in _PASSING if os.environ.get(name))
    imported = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    found = {path for path in imported if path and os.path.isfile(path)} | files_read.noted()
    return files_read.digests(_named_files) | files_read.digests(
        path
        for path in sorted(found)
        if not path.startswith(_installations())
        and own not in pathlib.Path(path).parents
        and not path.startswith(passing)
    )


@dataclasses.dataclass
class BuiltModel:
    """A module that is ready to be asked, exported or timed. ``cast``: the dtype that a float32
    model was cast to, ``entry`` with it; empty where it is as the zoo has it."""

    entry: "models_zoo.Model"
    module: Any
    cast: str = ""

    def arguments(self, inputs: Mapping[str, np.ndarray], dtype: Any = None) -> Tuple[tuple, dict]:
        """``inputs`` as forward's positional and keyword arguments; floats cast to ``dtype``.
        Raises arguments.Misnamed."""
        tensors = {name: to_torch(inputs[name], dtype) for name in self.entry.inputs}
        return arguments.bind(self.module.forward, tensors)

    def run(self, inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """One forward pass: path -> array of every output."""
        import torch

        args, kwargs = self.arguments(inputs)
        with torch.no_grad():
            return {path: to_numpy(t) for path, t in flatten(self.module(*args, **kwargs))}

    def run_float64(self, inputs: Mapping[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """The same in float64, on a twin. Raises where an operator has no float64."""
        import torch

        twin = self._in_float64  # built in the default dtype, as the model was
        args, kwargs = twin.arguments(inputs, dtype=torch.float64)
        default = torch.get_default_dtype()
        # What forward makes of no input (a first state of zeros) is to be float64 as well.
        torch.set_default_dtype(torch.float64)
        try:
            with torch.no_grad():
                outputs = twin.module(*args, **kwargs)
                return {path: to_numpy(t) for path, t in flatten(outputs)}
        finally:
            torch.set_default_dtype(default)

    @functools.cached_property
    def _in_float64(self) -> "BuiltModel":
        """The model built once more, since not every module can be copied (one that holds a
        scripted function cannot), with these parameters: a lazy one draws its own when asked."""
        twin = _built(self.entry, self.cast)
        # Not strict: what forward adds to a module when it is called, the twin's own adds to it.
        twin.module.load_state_dict(self.module.state_dict(), strict=False)
        twin.module.double()
        return twin


def build(file: str, name: str, precision: str = "") -> BuiltModel:
    """Import ``file``, build its model ``name`` from its seed, draw, and set its mode; for a
    cell of another ``precision`` than its own, cast. Raises what these raise, UnknownName."""
    entries = {entry.name: entry for entry in import_zoo_file(file)}
    if name not in entries:
        raise UnknownName("model", name, entries)
    entry = entries[name]
    return _built(entry, cast_to(entry.precision, precision))


def _built(entry: "models_zoo.Model", dtype: str) -> BuiltModel:
    """What ``entry`` declares, cast to ``dtype`` where that is not empty."""
    import torch

    random.seed(entry.seed)
    np.random.seed(entry.seed)
    torch.manual_seed(entry.seed)
    for file in entry.files:
        if not os.path.isfile(file):
            raise FileNotFoundError(f"{entry.name} names {file} in files=, which is not there")
    with files_read.noting():
        module = entry.build()
    _named_files.update(entry.files)
    if not entry.trained:
        unscaled = draw_parameters(module, entry.name)
        if unscaled:
            model = BuiltModel(entry, module.eval())
            norm_scales.scale(unscaled, lambda: model.run(draw(entry, "example", {})))
    module.train(entry.train)
    if dtype:
        cast_module(module, entry.name, dtype)
    torch.manual_seed(entry.seed)
    return BuiltModel(cast_entry(entry, dtype), module, dtype)


def by_place(module: Any, places: int, names: Sequence[str]) -> Any:
    """``module`` for a tracer, which gives every argument by its place: those called ``names`` come
    behind the ``places`` that forward itself takes so. It is as it was where none has to be
    given by name."""
    import torch

    if not names:
        return module

    class ByPlace(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, *given):
            return self.inner(*given[:places], **dict(zip(names, given[places:])))

    return ByPlace()


def flatten(output: Any, path: str = "") -> List[Tuple[str, Any]]:
    """Every tensor of a model's output with its path, in the order of the structure.

    A lone tensor is ``output``; ``output_0``, ``output_1`` are those of a tuple or list; a
    mapping's are its keys; deeper levels are joined by ``_``. None holds no tensor.
    """
    if output is None:
        return []
    if isinstance(output, Mapping):
        parts = [(f"{path}_{key}" if path else str(key), value) for key, value in output.items()]
    elif isinstance(output, (tuple, list)):
        parts = [(f"{path or 'output'}_{i}", value) for i, value in enumerate(output)]
    elif hasattr(output, "shape"):
        return [(path or "output", output)]
    else:
        raise TypeError(f"a model's output may not hold a {type(output).__name__}")
    return [pair for name, value in parts for pair in flatten(value, name)]


def to_torch(array: np.ndarray, float_dtype: Any = None) -> Any:
    """An array as a torch tensor of the same dtype (bfloat16 by its bits)."""
    import torch

    if array.dtype.name == "bfloat16":
        tensor = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    else:
        tensor = torch.from_numpy(np.array(array, order="C"))
    if float_dtype is not None and tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.to(float_dtype) if float_dtype and tensor.is_floating_point() else tensor


def to_numpy(tensor: Any) -> np.ndarray:
    """A torch tensor as an array of the same dtype (bfloat16 by its bits)."""
    import torch

    tensor = tensor.detach().cpu()
    if tensor.dtype == torch.bfloat16:
        bits = tensor.contiguous().view(torch.int16).numpy()
        return bits.view(dtype_named("bfloat16")).copy()
    return tensor.resolve_conj().resolve_neg().numpy().copy()

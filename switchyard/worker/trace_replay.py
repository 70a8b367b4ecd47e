"""Whether something of the example was written into the graph: what would then be answered."""

from __future__ import annotations

import contextlib
import math
from typing import Any, Callable, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

from switchyard.worker.blame import first_line
from switchyard.worker.building import by_place, to_numpy
from switchyard.worker.elements import as_float64, distance
from switchyard.worker.evidence import GROSS, Evidence, ProbeOutputs, same_within
from switchyard.worker.rounding import rms

#: A replay differs from torch by what was baked alone, since torch computes both: this many times
#: what the route may be off the replay and be the same, a route stands on the replay's side. No
#: more is asked than what is gross anyway.
_APART = 10.0


def replay_trace(
    model, example_inputs: Mapping, probe_inputs: Mapping, probes: Sequence[ProbeOutputs]
) -> Evidence:
    """Whether the route does on a wrong probe what the example's own path, or what a scripted
    function gave on the example, would have done.

    torch's tracer keeps the path of the example, but in a scripted function, of which it keeps all,
    and in an autograd function, which it calls again; a converter that sees only what Python calls
    keeps the value of the one, and one that looks inside the other keeps its numbers. Where torch's
    answer and the replay's differ on a probe by more than the route and the replay may, and the
    route gives the replay's, it was baked: proof of ``constant-baked`` without an assumption about
    the probe. Never raises.

    ``model``: a ``BuiltModel`` that nobody asks afterwards, whose ``arguments`` knows which input
    forward takes where.
    """
    try:
        import warnings

        import torch

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for what, replay in _replays(model, example_inputs):
                for probe in probes:
                    args, kwargs = model.arguments(probe_inputs[probe.probe])
                    apart = _baked(_flat(replay(*args, *kwargs.values())), probe)
                    if apart:
                        return Evidence(
                            "constant-baked",
                            f"on probe {probe.probe!r} the route gives what {what},"
                            f" {apart:.2g} of the RMS from torch",
                        )
        return Evidence("", "the example's path, replayed, does not give the route's answers")
    except Exception as error:
        return Evidence("", f"replaying the example's path: {first_line(error)}")


def _replays(model, example_inputs: Mapping) -> Iterator[Tuple[str, Callable[..., Any]]]:
    """What may have been baked, and the model with that baked, called by places alone."""
    import torch

    args, kwargs = model.arguments(example_inputs)
    example = (*args, *kwargs.values())
    module = by_place(model.module, len(args), list(kwargs))

    def traced() -> Any:
        return torch.jit.trace(module, example, check_trace=False, strict=False)

    path = traced()
    yield "the example's path gives", path
    if list(path.inlined_graph.findAllNodes("prim::PythonOp")):
        with _functions_open():
            path = traced()
        yield "the example's path through its autograd functions gives", path
    if _keep_scripted(model.module):
        module(*example)
        yield "a scripted function's value on the example gives", module


def _keep_scripted(module: Any) -> bool:
    """Has each scripted function that a part of ``module`` holds give for ever what it gives in the
    next run. Whether there is one."""
    import torch

    found = False
    for owner in module.modules():
        for name, held in list(vars(owner).items()):
            if isinstance(held, torch.jit.ScriptFunction):
                setattr(owner, name, _Kept(held))
                found = True
    return found


@contextlib.contextmanager
def _functions_open() -> Iterator[None]:
    """Has autograd functions run their ``forward`` as plain Python, so that a tracer sees it."""
    from torch.autograd import Function
    from torch.autograd.function import FunctionCtx

    def apply(cls, *args, **kwargs):
        # One that sets up its context apart has a forward without it.
        apart = cls.setup_context is not Function.setup_context
        return cls.forward(*(() if apart else (FunctionCtx(),)), *args, **kwargs)

    own = Function.__dict__["apply"]
    Function.apply = classmethod(apply)
    try:
        yield
    finally:
        Function.apply = own


class _Kept:
    """What is called in place of a function, once a run: its first value."""

    def __init__(self, function: Callable[..., Any]):
        self._function, self._values = function, []

    def __call__(self, *args, **kwargs):
        if not self._values:
            self._values.append(self._function(*args, **kwargs))
        return self._values[0]


def _baked(replayed: Sequence[np.ndarray], probe: ProbeOutputs) -> float:
    """How far ``replayed`` is from torch's outputs, in parts of the RMS, where the route's are as
    replayed and that is further than those two may stand apart; 0.0 where not."""
    if len(replayed) != len(probe.reference) or not replayed:
        return 0.0
    triples = [
        (answer, wanted, probe.got[path])
        for answer, (path, wanted) in zip(replayed, probe.reference.items())
    ]
    within = [same_within(np.asarray(wanted).dtype.name) for _, wanted, _ in triples]
    baked = [[as_float64(x) for x in triple] for triple in triples]
    if any(len({x.shape for x in triple}) != 1 for triple in baked):
        return 0.0
    floor = [part * max(rms(r), rms(w)) for part, (r, w, _) in zip(within, baked)]
    alike = all(rms(distance(r, g)) <= f for (r, _, g), f in zip(triples, floor))
    parts = [rms(r - w) / max(rms(w), rms(r), 1e-300) for r, w, _ in baked]
    beyond = any(
        part > min(_APART * allowed, math.sqrt(GROSS)) for part, allowed in zip(parts, within)
    )
    return max(parts) if alike and beyond else 0.0


def _flat(outputs) -> List[np.ndarray]:
    """The tensors of nested outputs in order, None left out."""
    if hasattr(outputs, "detach"):
        return [to_numpy(outputs)]
    if outputs is None:
        return []
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [array for part in parts for array in _flat(part)]

"""Whether the path of the example was written into the graph: torch's own trace, replayed."""

from __future__ import annotations

import copy
from typing import List, Mapping, Sequence

import numpy as np

from switchyard.worker.agreement import rms
from switchyard.worker.building import by_place
from switchyard.worker.capture import to_numpy
from switchyard.worker.elements import as_float64
from switchyard.worker.evidence import GROSS, Evidence, ProbeOutputs, same_within


def replay_trace(
    model, example_inputs: Mapping, probe_inputs: Mapping, probes: Sequence[ProbeOutputs]
) -> Evidence:
    """Whether the route does on a wrong probe what the example's own path would have done.

    torch's tracer keeps the path of the example. Where torch's answer and the trace's differ
    grossly on a probe, and the route gives the trace's, the path was baked: proof of
    ``constant-baked`` without an assumption about the probe. Never raises.

    ``model``: a ``BuiltModel``, whose ``arguments`` knows which input forward takes where.
    """
    try:
        import warnings

        import torch

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            args, kwargs = model.arguments(example_inputs)
            traced = torch.jit.trace(
                by_place(copy.deepcopy(model.module), len(args), list(kwargs)),
                (*args, *kwargs.values()),
                check_trace=False,
                strict=False,
            )
            for probe in probes:
                args, kwargs = model.arguments(probe_inputs[probe.probe])
                replayed = _flat(traced(*args, *kwargs.values()))
                if len(replayed) != len(probe.reference) or not replayed:
                    continue
                triples = [
                    (answer, wanted, probe.got[path])
                    for answer, (path, wanted) in zip(replayed, probe.reference.items())
                ]
                within = [same_within(np.asarray(wanted).dtype.name) for _, wanted, _ in triples]
                baked = [[as_float64(x) for x in triple] for triple in triples]
                if any(len({x.shape for x in triple}) != 1 for triple in baked):
                    continue
                floor = [part * max(rms(r), rms(w)) for part, (r, w, _) in zip(within, baked)]
                alike = all(rms(r - g) <= f for (r, _, g), f in zip(baked, floor))
                apart = max(rms(r - w) / max(rms(w), rms(r), 1e-300) for r, w, _ in baked)
                if alike and apart**2 > GROSS:
                    return Evidence(
                        "constant-baked",
                        f"on probe {probe.probe!r} the route gives what the example's path gives,"
                        f" {apart:.2g} of the RMS from torch",
                    )
        return Evidence("", "the example's path, replayed, does not give the route's answers")
    except Exception as error:
        return Evidence("", f"replaying the example's path: {type(error).__name__}")


def _flat(outputs) -> List[np.ndarray]:
    """The tensors of nested outputs in order, None left out."""
    if hasattr(outputs, "detach"):
        return [to_numpy(outputs)]
    if outputs is None:
        return []
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [array for part in parts for array in _flat(part)]

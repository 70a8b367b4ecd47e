"""Whether the path of the example was written into the graph: torch's own trace, replayed."""

from __future__ import annotations

import copy
from typing import List, Mapping, Sequence

import numpy as np

from switchyard.worker.agreement import as_float64, rms
from switchyard.worker.capture import to_numpy, to_tensors
from switchyard.worker.evidence import GROSS, Evidence, ProbeOutputs


def replay_trace(
    module, example_inputs, probe_inputs: Mapping, probes: Sequence[ProbeOutputs]
) -> Evidence:
    """Whether the route does on a wrong probe what the example's own path would have done.

    torch's tracer keeps the path of the example. Where torch's answer and the trace's differ
    grossly on a probe, and the route gives the trace's, the path was baked: proof of
    ``constant-baked`` without an assumption about the probe. Never raises.
    """
    try:
        import warnings

        import torch

        names = list(example_inputs)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            arguments = tuple(to_tensors(example_inputs).values())
            traced = torch.jit.trace(
                copy.deepcopy(module), arguments, check_trace=False, strict=False
            )
            for probe in probes:
                given = to_tensors(probe_inputs[probe.probe])
                replayed = _flat(traced(*(given[name] for name in names)))
                triples = list(zip(replayed, probe.reference.values(), probe.got.values()))
                if len(replayed) != len(probe.reference) or not triples:
                    continue
                baked = [[as_float64(x) for x in triple] for triple in triples]
                if any(len({x.shape for x in triple}) != 1 for triple in baked):
                    continue
                floor = [1e-4 * max(rms(r), rms(w)) for r, w, _ in baked]
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

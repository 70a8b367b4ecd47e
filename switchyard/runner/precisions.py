"""Which precisions a model has cells of, on which routes, in which run."""

from __future__ import annotations

from typing import Any, Mapping, Sequence, Tuple

from switchyard import routes
from switchyard.vocabulary import CAST, NATIVE, cast_to

#: Torch's own route, one road to ONNX and one to TensorFlow: what a quick run casts models on.
QUICK_ROUTES = (NATIVE, "dynamo-ort", "manual-tf")


def precisions_of(
    model: Mapping[str, Any],
    route: routes.Route,
    tier: str,
    named: Sequence[str] = (),
    tf32: bool = False,
) -> Tuple[str, ...]:
    """The precisions of a model's cells on one route, its own first.

    ``named``: these alone, float32 models cast to what is not their own; a model of another
    precision has only its own. Without names: its own, and for float32 models in a quick run
    what they declare (``precisions=``) on ``QUICK_ROUTES``, in a full run all of ``CAST`` for
    those of tier smoke on these and on every other route of tier smoke. ``tf32``: beside float32.
    """
    own = model["precision"]
    castable = tuple(dtype for dtype in CAST if cast_to(own, dtype))
    if named:
        found = [one for one in (own, *castable) if one in named]
    else:
        found = [own]
        cheap = route.name in QUICK_ROUTES
        if tier == "full" and model["tier"] == "smoke" and (cheap or route.tier == "smoke"):
            found += castable
        elif tier == "quick" and cheap:
            found += [dtype for dtype in castable if dtype in model.get("precisions", ())]
    if tf32 and "float32" in found:
        found.insert(found.index("float32") + 1, "tf32")
    return tuple(found)

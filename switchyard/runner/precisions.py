"""Which precisions a model has cells of, on which routes, in which run."""

from __future__ import annotations

from typing import Any, Mapping, Sequence, Tuple

from switchyard import routes
from switchyard.vocabulary import CAST, TIERS, cast_to

#: A quick run asks the models that declare other precisions on torch's own route, on one road to
#: ONNX and on one to TensorFlow.
QUICK_ROUTES = (routes.NATIVE, "dynamo-ort", "manual-tf")


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
    those of tier smoke on every route that is not dear. ``tf32``: beside float32.
    """
    own = model["precision"]
    castable = tuple(dtype for dtype in CAST if cast_to(own, dtype))
    if named:
        found = [one for one in (own, *castable) if one in named]
    else:
        found = [own]
        if tier == "full" and model["tier"] == "smoke" and route.tier != TIERS[-1]:
            found += castable
        elif tier == "quick" and route.name in QUICK_ROUTES:
            found += [dtype for dtype in castable if dtype in model.get("precisions", ())]
    if tf32 and "float32" in found:
        found.insert(found.index("float32") + 1, "tf32")
    return tuple(found)

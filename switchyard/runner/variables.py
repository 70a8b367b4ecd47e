"""What the processes of a version set see of the user's environment, and what is set for them."""

from __future__ import annotations

import os
import pathlib
from typing import Dict, List

from switchyard.runner.version_sets import CURRENT
from switchyard.tables.provenance import ENVIRONMENT_PREFIXES, OVERRIDDEN

#: The user's settings that no process of a version set has. Nor are they recorded
#: (``provenance.ENVIRONMENT_PREFIXES``).
WITHHELD = (
    # Whether a cell is computed in TF32 is the cell's to say, and this overrides what it says.
    "NVIDIA_TF32_OVERRIDE",
    # For debugging: each launch of a kernel is waited for, which is another latency.
    "CUDA_LAUNCH_BLOCKING",
)


#: The user's settings by which a framework or converter may make another artefact of the same:
#: those that ``run.json`` keeps, and some of converters'. What only says how much is logged is not.
_SHAPING = (
    *(one for one in ENVIRONMENT_PREFIXES if one not in ("CUDA_VISIBLE_DEVICES", "TF_CPP_")),
    "JAX_",
    "KERAS_",
)


def shaping() -> Dict[str, str]:
    """Those of ``_SHAPING`` that are set, and what to; part of what an artefact is known by."""
    return {
        name: value
        for name, value in sorted(os.environ.items())
        if name.startswith(_SHAPING) and name not in (*WITHHELD, *OVERRIDDEN, "KERAS_HOME")
    }


def environment_variables(
    environment, worker_path: pathlib.Path, cache: pathlib.Path, visible: str = "-1"
) -> dict:
    """What a version set's processes see: their own path and scripts, nothing of the runner's.

    ``visible``: the CUDA device they may use, none by default.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PYTHON", "VIRTUAL_ENV", "PYTEST", "COV_", "TOX_"))
        and name not in WITHHELD
        # The compilers and CUDA of the user's shell, which a locked set is to do without; of the
        # set that is just this interpreter they may be the very ones it came with.
        and (not name.startswith("CONDA_") or environment.version_set == CURRENT)
    }
    kept.update(
        PYTHONPATH=os.pathsep.join([str(worker_path), *_own_path(environment)]),
        # What a process said before it was ended is in its log, and not still in a buffer.
        PYTHONUNBUFFERED="1",
        PYTHONHASHSEED="0",
        PATH=os.pathsep.join([environment.bin, kept.get("PATH", "")]),
        # Which CUDA library did not load it says in a warning.
        TF_CPP_MIN_LOG_LEVEL=kept.get("TF_CPP_MIN_LOG_LEVEL", "2" if visible == "-1" else "0"),
        TORCHINDUCTOR_CACHE_DIR=str(cache / "inductor" / environment.fingerprint),
        # Else Triton builds its own modules in the user's home, whatever inductor is told.
        TRITON_CACHE_DIR=str(cache / "triton" / environment.fingerprint),
        # What the driver compiles for a card that a framework brings no code for, TensorFlow's
        # kernels on the newest above all; in a container its own place would go with it.
        CUDA_CACHE_PATH=str(cache / "cuda" / environment.fingerprint),
        CUDA_CACHE_MAXSIZE=str(2**32 - 1),  # bytes; the most there is
        # A pool of compile workers would outlive the child that started it.
        TORCHINDUCTOR_COMPILE_THREADS="1",
        # Else each Keras takes its dtype and layout from a file in the user's home.
        KERAS_HOME=str(cache / "keras" / environment.fingerprint),
        HF_HUB_OFFLINE=kept.get("HF_HUB_OFFLINE", "1"),
        CUDA_VISIBLE_DEVICES=visible,
    )
    if environment.version_set == CURRENT:  # which may have its packages there
        own = ("PYTHONUSERBASE", "PYTHONNOUSERSITE")
        kept.update({name: os.environ[name] for name in own if name in os.environ})
    else:
        kept["PYTHONNOUSERSITE"] = "1"
    return kept


def _own_path(environment) -> List[str]:
    """Where the runner's own interpreter was told to find packages, for the set that is just
    that interpreter; behind the worker's path, which has all that is Switchyard's."""
    given = os.environ.get("PYTHONPATH") if environment.version_set == CURRENT else None
    return [path for path in (given or "").split(os.pathsep) if path]

"""The command that runs one cell alone, with what its run was given.

Asked for by the run itself and, where its folder is read, by what ``run.json`` says of it.
"""

from __future__ import annotations

import shlex
from typing import Any, Mapping

from switchyard.vocabulary import Cell

#: Options without which the cell would be another one, or be expected to do something else.
_REPEATED = ("zoo", "hop")


def command(cell: Cell, cast: str, default_set: str, options: Mapping[str, Any]) -> str:
    """``options`` are a run's, by name without dashes; ``cast`` is the dtype that the model is
    cast to, "" where it stays."""
    words = ["pytest", "bench/", "--model", cell.model, "--route", cell.route]
    if cell.device != "cpu":
        device = options.get("device")
        words += ["--device", device] if device else ["--gpu"]
    if cell.precision == "tf32":
        words.append("--tf32")
    if cast:
        words += ["--precision", cast]
    if cell.version_set != default_set:
        words += ["--version-set", cell.version_set]
    for name in _REPEATED:
        for value in options.get(name) or ():
            words += [f"--{name}", str(value)]
    if options.get("expectations") is not None:
        words += ["--expectations", str(options["expectations"])]
    return shlex.join(words)

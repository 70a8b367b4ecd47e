"""The command that runs one cell alone, with what its run was given.

Asked for by the run itself and, where its folder is read, by what ``run.json`` says of it.
"""

from __future__ import annotations

import shlex
from typing import Any, Mapping

from switchyard.runner.defaults import DEFAULT_SET, MEMORY_LIMIT_MIB, STAGE_TIMEOUT_SECONDS
from switchyard.tables import schema
from switchyard.vocabulary import CAST, Cell

#: Options without which the cell would be another one, or be expected to do something else.
_REPEATED = ("zoo", "hop")

#: Options with which it may end otherwise, or take another time, and what they are where nobody
#: gave them.
_SETTINGS = {
    "stage-timeout": STAGE_TIMEOUT_SECONDS,
    "memory-limit": MEMORY_LIMIT_MIB,
    "threads": None,
    "launches": 1,
}


def command(cell: Cell, options: Mapping[str, Any] = {}) -> str:
    """``options`` are those of the cell's run, by name without dashes."""
    words = ["pytest", "bench/", "--model", cell.model, "--route", cell.route]
    if cell.device != "cpu":
        device = options.get("device")
        words += ["--device", device] if device else ["--gpu"]
    if cell.precision == "tf32":
        words.append("--tf32")
    if cell.precision in CAST:  # named, also a model of that precision has just this cell
        words += ["--precision", cell.precision]
    if cell.version_set != DEFAULT_SET:
        words += ["--version-set", cell.version_set]
    for name in _REPEATED:
        for value in options.get(name) or ():
            words += [f"--{name}", str(value)]
    if options.get("expectations") is not None:
        words += ["--expectations", str(options["expectations"])]
    for name, default in _SETTINGS.items():
        given = options.get(name)
        if given is not None and given != default:
            words += [f"--{name}", str(given).removesuffix(".0")]
    line = shlex.join(words)
    if any("<path>" in word or word.startswith("~") for word in words):
        line += "  # tables keep no folders: put yours in"
    return line


def of_row(row: Mapping[str, Any], options: Mapping[str, Any] = {}) -> str:
    """The same of the cell that a table's row is of."""
    return command(schema.cell_of(row), options)

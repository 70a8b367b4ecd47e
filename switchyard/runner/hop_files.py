"""The hops of a run: the built-in ones, and those of the files that ``--hop`` names."""

from __future__ import annotations

import pathlib
import traceback
from typing import Any, Dict, Sequence

from switchyard import hops
from switchyard.vocabulary import NotUsable


class BadHopFile(NotUsable):
    """A ``--hop`` file that cannot be used: ``FILE:LINE`` and why."""


def known(files: Sequence[pathlib.Path]) -> Dict[str, Any]:
    """Every hop by name, those of ``files`` last. Raises BadHopFile."""
    try:
        return hops.known(files)
    except hops.BadHop as error:
        raise BadHopFile(f"--hop {error.where}: {error}") from error
    except Exception as error:
        if isinstance(error, SyntaxError) and error.filename:
            raise BadHopFile(
                f"--hop {error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
            ) from error
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if frame.filename in {str(file) for file in files}]
        where = f"{own[-1].filename}:{own[-1].lineno}" if own else ", ".join(map(str, files))
        hint = ""
        if isinstance(error, ImportError):
            hint = " (it is imported where no framework is: import its tool inside convert)"
        raise BadHopFile(f"--hop {where}: {type(error).__name__}: {error}{hint}") from error

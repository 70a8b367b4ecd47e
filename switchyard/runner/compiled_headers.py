"""The headers that torch compiles once for all kernels of the CPU, and where it looks for them.

torch 2.9 and 2.13 (2.5 has none) keep them in ``torchinductor_USER`` beside all other temporary
files, whatever TORCHINDUCTOR_CACHE_DIR says. Where each process has a folder of its own for those,
each would compile them again: most of its first call, and 150 MiB.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pathlib
import re


def share(temporary: str, kept: str) -> None:
    """Have torch keep them in ``kept``, in a process whose temporary files are in ``temporary``."""
    try:
        user = getpass.getuser()
    except (KeyError, ImportError, OSError):  # a number without a name, as containers have
        user = f"uid_{os.getuid()}"
    name = "torchinductor_" + re.sub(r'[\\/:*?"<>|]', "_", user)
    with contextlib.suppress(OSError):  # then they are compiled again
        os.symlink(kept, os.path.join(temporary, name))


def drop(kept: str) -> None:
    """Those of a process that was killed: of a file that was cut short torch sees only that it is
    there, and no kernel compiles any more. Where they were whole they are made once more."""
    for path in pathlib.Path(kept).glob("precompiled_headers/*.gch"):
        path.unlink(missing_ok=True)

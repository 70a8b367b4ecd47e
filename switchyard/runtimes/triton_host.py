"""What Triton needs of the host. It builds a launcher in C for what it has compiled, when a kernel
is first called: a slim image lacks the compiler or Python's headers, and says so only then."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig

#: As Triton looks for one, where ``CC`` names none.
COMPILERS = ("gcc", "clang")


def lacks() -> str:
    """What is missing, and what to install; empty where all is there."""
    if importlib.util.find_spec("triton") is None:
        return "no module named 'triton', with which torch.compile makes kernels for a card: " + (
            "install torch's CUDA build, which brings it, or triton"
        )
    needed = "with which Triton builds the launcher of a kernel"
    named = os.environ.get("CC")
    if named is not None and shutil.which(named) is None:
        return f"no C compiler CC={named!r}, {needed}: install it, or unset CC"
    if named is None and not any(map(shutil.which, COMPILERS)):
        return f"no C compiler ({' or '.join(COMPILERS)}), {needed}: install gcc, or set CC"
    if not os.path.exists(os.path.join(_headers(), "Python.h")):
        return f"no Python.h, {needed}: install this Python's headers (python3-dev)"
    return ""


def _headers() -> str:
    """Where Triton has the compiler look: Debian's own scheme knows another folder."""
    scheme = sysconfig.get_default_scheme()
    return sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]

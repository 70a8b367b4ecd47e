"""What Triton needs of the host. It builds a launcher in C for what it has compiled, when a kernel
is first called, and asks where the driver's library lies: a slim image lacks the compiler, Python's
headers or ldconfig, and says so only then."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig

#: As Triton looks for one, where ``CC`` names none.
COMPILERS = ("gcc", "clang")

#: What Triton runs, by this path, to find libcuda (``libcuda_dirs`` in backends/nvidia/driver.py of
#: its package), and the variable that saves it the asking.
LDCONFIG, LIBCUDA = "/sbin/ldconfig", "TRITON_LIBCUDA_PATH"


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
    if not os.environ.get(LIBCUDA) and not os.path.exists(LDCONFIG):
        found = "with which Triton finds the driver's libcuda"
        return f"no {LDCONFIG}, {found}: install it (libc-bin), or set {LIBCUDA} to its folder"
    return ""


def _headers() -> str:
    """Where Triton has the compiler look: Debian's own scheme knows another folder."""
    scheme = sysconfig.get_default_scheme()
    return sysconfig.get_paths("posix_prefix" if scheme == "posix_local" else scheme)["include"]

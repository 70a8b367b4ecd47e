"""NVIDIA's libraries as pip installs them, for a package that does not find them there."""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
from typing import List

#: What ONNX Runtime's CUDA provider is linked against; each before what needs it.
_NAMES = (
    "libcudart.so.*",
    "libcublasLt.so.*",
    "libcublas.so.*",
    "libcurand.so.*",
    "libcufft.so.*",
    "libnvrtc.so.*",
    "libcudnn*.so.*",
)


def load() -> List[str]:
    """Load them into this process, where a library that names them finds them; the files that
    were loaded. One that does not load is left out: who needs it says so, in its own words."""
    found = importlib.util.find_spec("nvidia")
    loaded = []
    for folder in (found and found.submodule_search_locations) or ():
        for name in _NAMES:
            for file in sorted(glob.glob(os.path.join(glob.escape(folder), "*", "lib", name))):
                try:
                    ctypes.CDLL(file)
                except OSError:
                    continue
                loaded.append(file)
    return loaded

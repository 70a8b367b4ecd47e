"""NVIDIA's libraries as pip installs them, for a package that does not find them there."""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
from typing import List, Sequence

#: What ONNX Runtime's CUDA provider is linked against; each before what needs it.
PROVIDER = (
    "libcudart.so.*",
    "libcublasLt.so.*",
    "libcublas.so.*",
    "libcurand.so.*",
    "libcufft.so.*",
    "libnvrtc.so.*",
    "libcudnn*.so.*",
)

#: What TensorFlow opens, all of it or it has no GPU.
TENSORFLOW = (*PROVIDER, "libcusparse.so.*", "libcusolver.so.*")


def load(names: Sequence[str] = PROVIDER) -> List[str]:
    """Load them into this process, where a library that names them finds them, or only uses them
    (ONNX Runtime 1.15's); the files that were loaded. One that does not load is left out: who
    needs it says so, in its own words."""
    found = importlib.util.find_spec("nvidia")
    loaded = []
    for folder in (found and found.submodule_search_locations) or ():
        for name in names:
            for file in sorted(glob.glob(os.path.join(glob.escape(folder), "*", "lib", name))):
                try:
                    ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)
                    # By its name too: one that only uses it, without naming it, finds it so.
                    ctypes.CDLL(os.path.basename(file), mode=ctypes.RTLD_GLOBAL)
                except OSError:
                    continue
                loaded.append(file)
    return loaded

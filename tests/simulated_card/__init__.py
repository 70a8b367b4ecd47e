"""A CUDA card of host memory, for the CUDA builds of torch, ONNX Runtime and TensorFlow.

What lies below the frameworks is replaced, and nothing in them: the CUDA runtime, the driver, NVML,
and of cuBLAS the matrix product, which is computed on the CPU. Every other kernel does nothing, so
that a model of products answers rightly and any other does not. Placement, allocators, memory
limits, events, graphs and errors are the frameworks' own; times mean nothing.

The library is built from the C files here for the headers of one environment, and preloaded.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
from typing import Dict, Iterable

HERE = pathlib.Path(__file__).parent
LIBRARY = "libsimulated_card.so"

#: Opened by name by everybody.
DRIVER = ("libcuda.so", "libcuda.so.1", "libnvidia-ml.so.1")

#: Opened by name by TensorFlow, of whose CUDA it has only stubs, by the file that tells of which
#: version they are. (torch and ONNX Runtime open their own, whose functions the preloaded precede.)
BY_NAME = {
    "libcudart.so.12": (
        "libcudart.so.12", "libcublas.so.12", "libcublasLt.so.12", "libcufft.so.11",
        "libcusolver.so.11", "libcusparse.so.12",
    ),
    "libcudart.so.11.0": (
        "libcudart.so.11.0", "libcublas.so.11", "libcublasLt.so.11", "libcufft.so.10",
        "libcusolver.so.11", "libcusparse.so.11",
    ),
}  # fmt: skip

#: Looked up by name in the driver, by ONNX Runtime up to 1.22 while its CUDA provider is loaded:
#: where one is missing, as where there is no driver, that ends the process.
LOOKED_UP = ("cuLinkAddFile_v2", "cuLinkDestroy")

#: Opened by name once it is loaded, by ONNX Runtime: the first of that name is taken.
CUDNN = "libcudnn.so.9"

#: The driver's functions, and ours, have no version; those of CUDA's libraries have their file's.
_OF_DRIVER = re.compile(r"(__)?(cu|nvml)[A-Za-z]")


def build(packages: pathlib.Path, folder: pathlib.Path) -> Dict[str, str]:
    """Build the card for the frameworks in ``packages`` (a site-packages) into ``folder``: the
    environment variables of a process that is to run on it.

    Raises CalledProcessError, behind what the compiler said, and OSError where there is none.
    """
    # CUDA's own first: those of Triton and TensorFlow have the rest, of another version at times.
    headers = [*packages.glob("nvidia/cu*/include"),
               packages / "triton" / "backends" / "nvidia" / "include",
               packages / "tensorflow" / "include" / "third_party" / "gpus" / "cuda" / "include"]
    sources = sorted(map(str, HERE.glob("*.c")))
    command = ["gcc", "-shared", "-fPIC", "-O2", *(f"-I{each}" for each in headers),
               "-o", str(folder / LIBRARY)]  # fmt: skip
    _run([*command, *sources, "-ldl", "-lpthread"])
    # A library that is bound when it is loaded wants all its names: those that nothing here calls.
    absent = sorted({*_names(_libraries(packages), "--undefined-only"), *LOOKED_UP}
                    - set(_names([folder / LIBRARY], "--defined-only")))  # fmt: skip
    stubs = folder / "stubs.c"
    stubs.write_text("".join(_STUB % {"name": name} for name in absent))
    _run([*command, *sources, str(stubs), "-ldl", "-lpthread"])
    own = [name for told, names in BY_NAME.items()
           if list(packages.glob(f"nvidia/*/lib/{told}")) for name in names]  # fmt: skip
    for name in (*DRIVER, *own):
        (folder / name).symlink_to(LIBRARY)
    _run(["gcc", "-shared", f"-Wl,-soname,{CUDNN}", "-o", str(folder / CUDNN), "-Wl,--no-as-needed",
          f"-L{folder}", f"-l:{LIBRARY}", "-Wl,-rpath,$ORIGIN"])  # fmt: skip
    return {
        "LD_PRELOAD": f"{folder / LIBRARY}:{folder / CUDNN}",
        "LD_LIBRARY_PATH": str(folder),
        "SIMULATED_CARD_LEDGER": str(folder / "ledger"),
    }


_STUB = """
int fprintf(void *, const char *, ...); extern void *stderr;
int %(name)s(void) { fprintf(stderr, "simulated card: no %(name)s\\n"); return 801; }
"""


def _libraries(packages: pathlib.Path) -> Iterable[pathlib.Path]:
    yield from (packages / "torch" / "lib").glob("lib*.so")
    yield from (packages / "onnxruntime" / "capi").glob("libonnxruntime_providers_cuda.so")


def _names(libraries: Iterable[pathlib.Path], which: str) -> Iterable[str]:
    for library in libraries:
        for line in _run(["nm", "-D", which, str(library)]).splitlines():
            name, _, version = line.split()[-1].partition("@")
            if "libcu" in version or _OF_DRIVER.match(name):
                yield name


def _run(command: Iterable[str]) -> str:
    return subprocess.run(
        list(command), check=True, stdout=subprocess.PIPE, text=True, timeout=300
    ).stdout

"""Operators with a kernel of their own on a GPU, behind ``torch.library``: one in Triton, and one
in CUDA C++ that is built in place."""

import functools
import glob
import importlib.util
import os
import subprocess
import tempfile
from typing import List

import torch
from torch import nn

from models_zoo import Tensor, model

try:  # comes with torch's CUDA builds
    import triton
    import triton.language as tl
except ImportError:
    triton = None


def _missing(what: str) -> ModuleNotFoundError:
    """Told at the first call, and yet what the machine lacks and not what torch did wrong."""
    error = ModuleNotFoundError(what)
    error.stage, error.kind = "import", "missing-dependency"
    return error


def swish(x: torch.Tensor) -> torch.Tensor:
    """What the kernel computes, on the CPU: the reference."""
    return x * torch.sigmoid(x)


if triton is not None:

    @triton.jit
    def _kernel(source, target, count, BLOCK: tl.constexpr):
        places = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        inside = places < count
        x = tl.load(source + places, mask=inside)
        tl.store(target + places, x * tl.sigmoid(x), mask=inside)


def _on_the_card(x: torch.Tensor) -> torch.Tensor:
    if triton is None:
        raise _missing("no module named 'triton', which has this operator's kernel")
    if x.dtype in (torch.float16, torch.bfloat16):  # Triton has no sigmoid of these
        return _on_the_card(x.float()).to(x.dtype)
    x = x.contiguous()
    out, count, block = torch.empty_like(x), x.numel(), 256
    try:
        _kernel[(triton.cdiv(count, block),)](x, out, count, BLOCK=block)
    except (RuntimeError, AssertionError, OSError, subprocess.CalledProcessError) as error:
        of_compiler = isinstance(error, subprocess.CalledProcessError) and (
            "ldconfig" not in str(error.cmd)
        )
        if not of_compiler and ("ldconfig" in str(error) or "libcuda" in str(error)):
            wanted = "libcuda.so.1 where ldconfig -p lists it"
        elif of_compiler or isinstance(error, FileNotFoundError) or "C compiler" in str(error):
            wanted = "C compiler (gcc, or CC) that finds Python.h (python3-dev)"
        else:
            raise  # CUDA's own
        raise _missing(f"no {wanted}, with which Triton builds a launcher: {error}") from None
    return out


def register_swish():
    """Once a process: torch refuses to register a name twice. Needs torch 2.4."""
    if hasattr(torch.ops.switchyard, "triton_swish"):
        return
    operator = torch.library.custom_op(
        "switchyard::triton_swish", swish, mutates_args=(), device_types="cpu"
    )
    operator.register_kernel("cuda")(_on_the_card)
    operator.register_fake(torch.empty_like)


class UseSwish(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(37, 64), nn.Linear(64, 11)

    def forward(self, x):
        return self.after(torch.ops.switchyard.triton_swish(self.before(x)))


@model(x=Tensor("batch", 37), exercises=("custom_operator", "triton"), tags=("gpu",))
def triton_swish():
    # Opaque to every exporter; torch runs one kernel on the CPU and another on the card.
    register_swish()
    return UseSwish()


#: float32 alone: what has 16 bits is computed in it.
SQUAREPLUS = r"""
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAStream.h>

__global__ void kernel(const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = 0.5f * (x[i] + sqrtf(x[i] * x[i] + 4.0f));
}

torch::Tensor squareplus(torch::Tensor x) {
  x = x.contiguous();
  auto y = torch::empty_like(x);
  const int64_t n = x.numel(), block = 256;
  if (n > 0) {
    kernel<<<(n + block - 1) / block, block, 0, c10::cuda::getCurrentCUDAStream()>>>(
        x.data_ptr<float>(), y.data_ptr<float>(), n);
    C10_CUDA_KERNEL_LAUNCH_CHECK();
  }
  return y;
}
"""


def squareplus(x: torch.Tensor) -> torch.Tensor:
    """What the kernel computes, on the CPU: the reference. Barron, 2021 (arXiv 2112.11687)."""
    return 0.5 * (x + torch.sqrt(x * x + 4))


def _toolkits() -> List[str]:
    """Folders that may hold a CUDA toolkit, of which pip's packages are one, in parts: the one that
    the environment names, this torch's generation of pip's, the one that torch finds."""
    from torch.utils import cpp_extension

    places = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH")]
    found = importlib.util.find_spec("nvidia")
    generation = "cu" + (torch.version.cuda or "").partition(".")[0]
    for folder in (found and found.submodule_search_locations) or ():
        places.append(os.path.join(folder, generation))
    # torch takes /usr/local/cuda for one wherever there is such a folder.
    return list(filter(None, [*places, cpp_extension.CUDA_HOME]))


def _bare_names(places: List[str]) -> str:
    """A folder with ``libcudart.so``, as torch links it: pip's has it under its version alone. The
    same for every process that builds in the same place: ninja links anew where a command changed.
    """
    from torch.utils import cpp_extension

    root = os.environ.get("TORCH_EXTENSIONS_DIR") or cpp_extension.get_default_build_root()
    folder = os.path.join(root, "switchyard_libraries")
    os.makedirs(folder, exist_ok=True)
    named = [os.path.join(glob.escape(p), "lib", "libcudart.so.*") for p in places]
    for runtime in [file for name in named for file in glob.glob(name)][:1]:
        # Moved there whole: another process may be at it, and another torch's may be there.
        with tempfile.TemporaryDirectory(dir=folder) as own:
            link = os.path.join(own, "libcudart.so")
            os.symlink(os.path.abspath(runtime), link)
            os.replace(link, os.path.join(folder, "libcudart.so"))
    return folder


@functools.lru_cache(maxsize=None)
def _extension():
    """Built by nvcc when it is first called on a card, in the folder that torch is told."""
    from torch.utils import cpp_extension

    if importlib.util.find_spec("ninja"):  # pip's, whose folder need not be on the path
        import ninja

        os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, os.environ.get("PATH", "")])
    places = _toolkits()
    toolkit = next((p for p in places if os.path.exists(os.path.join(p, "bin", "nvcc"))), None)
    if toolkit is None or not cpp_extension.is_ninja_available():
        wanted = "ninja" if toolkit else "CUDA toolkit with nvcc (CUDA_HOME)"
        raise _missing(f"no {wanted}, with which this operator's kernel is built")
    cpp_extension.CUDA_HOME = toolkit
    return cpp_extension.load_inline(
        "switchyard_squareplus",
        cpp_sources="torch::Tensor squareplus(torch::Tensor x);",
        cuda_sources=SQUAREPLUS,
        functions=["squareplus"],
        extra_ldflags=[f"-L{_bare_names(places)}"],
    )


def _built(x: torch.Tensor) -> torch.Tensor:
    return _extension().squareplus(x.float()).to(x.dtype)


def register_squareplus():
    """Once a process, as ``register_swish``."""
    if hasattr(torch.ops.switchyard, "built_squareplus"):
        return
    operator = torch.library.custom_op(
        "switchyard::built_squareplus", squareplus, mutates_args=(), device_types="cpu"
    )
    operator.register_kernel("cuda")(_built)
    operator.register_fake(torch.empty_like)


class UseSquareplus(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.Linear(37, 64), nn.Linear(64, 11)

    def forward(self, x):
        return self.after(torch.ops.switchyard.built_squareplus(self.before(x)))


@model(x=Tensor("batch", 37), exercises=("custom_operator", "cuda_extension"), tags=("gpu",))
def built_extension():
    # As ``triton_swish``; beside it one sees whether it is the operator or its language.
    register_squareplus()
    return UseSquareplus()

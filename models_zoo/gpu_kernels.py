"""Operators with a kernel of their own on a GPU: a Triton kernel behind ``torch.library``."""

import torch
from torch import nn

from models_zoo import Tensor, model

try:  # comes with torch's CUDA builds
    import triton
    import triton.language as tl
except ImportError:
    triton = None


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
        raise ModuleNotFoundError("no module named 'triton', which has this operator's kernel")
    x = x.contiguous()
    out, count, block = torch.empty_like(x), x.numel(), 256
    _kernel[(triton.cdiv(count, block),)](x, out, count, BLOCK=block)
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

"""On which device torch computed each operation of one call, and for how long."""

from __future__ import annotations

import time
from typing import Any, Callable, List

from switchyard.worker.placement import MOST_SIZES, Executed


def executed(call: Callable[[], Any], wait: Callable[[], None]) -> List[Executed]:
    """The operations of an eager ``call``, by the device of what each returns; that of a scalar is
    no device of its own, since one on the CPU takes part wherever the others are. ``wait`` waits
    for the device, behind each. Raises what the call raises.

    https://docs.pytorch.org/docs/stable/notes/extending.html, torch_dispatch
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_flatten

    found: List[Executed] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            began = time.perf_counter()
            returned = func(*args, **(kwargs or {}))
            wait()
            seconds = time.perf_counter() - began
            tensors = [one for one in tree_flatten(returned)[0] if isinstance(one, torch.Tensor)]
            told = [one for one in tensors if one.dim() or one.device.type != "cpu"]
            if told:
                there = [one for one in told if one.device.type == "cpu"]
                sizes = all(
                    not (one.is_floating_point() or one.is_complex()) and one.numel() <= MOST_SIZES
                    for one in there
                )
                # One that returns sizes beside what it computed on the device was not on the CPU.
                on_cpu = len(there) == len(told) or not sizes
                name = func.overloadpacket.__name__
                found.append(Executed(name, on_cpu, on_cpu and sizes, seconds))
            return returned

    with torch.no_grad():
        call()  # what is done once, such as the choice of a kernel, is no operation's
        with Watch():
            call()
    return found

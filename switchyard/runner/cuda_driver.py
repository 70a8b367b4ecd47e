"""Whether CUDA starts on a card that NVML found: the second half of what ``--gpu`` looks for.

NVML answers where CUDA does not: a fabric manager that is not up (error 802), a card that another
process has for itself, a container that was given one of the two libraries. Found out here it is
one sentence at the start; found out later it would look like a fault of every route.
"""

from __future__ import annotations

import os
import subprocess
import sys

from switchyard.runner.nvml import Card, NoDevice

#: Seconds after which a driver that does not answer is taken for hung.
PATIENCE = 60

#: In a process of its own, since a context that is open keeps memory of the card. The names are
#: the driver API's (https://docs.nvidia.com/cuda/cuda-driver-api).
_START = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
def check(status):
    if status:
        name, words = ctypes.c_char_p(), ctypes.c_char_p()
        cuda.cuGetErrorName(status, ctypes.byref(name))
        cuda.cuGetErrorString(status, ctypes.byref(words))
        text = [(one.value or b"?").decode() for one in (name, words)]
        raise SystemExit(f"{text[0]} ({status}): {text[1]}")
device, context = ctypes.c_int(), ctypes.c_void_p()
check(cuda.cuInit(0))
check(cuda.cuDeviceGet(ctypes.byref(device), 0))
check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device))
cuda.cuDevicePrimaryCtxRelease_v2(device)
"""


def not_started(uuid: str) -> str:
    """Why CUDA does not start on the card of that name; empty where it does."""
    command = [sys.executable, "-I", "-c", _START]
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": uuid},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PATIENCE} s"
    if done.returncode == 0:
        return ""
    words = done.stderr.strip().splitlines()
    return words[-1] if words else f"the process that asked ended with status {done.returncode}"


def check(card: Card) -> None:
    """Raises NoDevice where CUDA does not start on ``card``."""
    reason = not_started(card.uuid)
    if reason:
        raise NoDevice(
            f"a CUDA device was asked for; NVML found {card.name} (its number {card.index}; driver "
            f"{card.driver}, for CUDA {card.cuda_of_driver}), and CUDA (libcuda.so.1) does not "
            f"start on it: {reason}; "
            "mend the driver (its fabric manager, the container's devices), free the card, choose "
            "another with --device cuda:N, or run without --gpu"
        )

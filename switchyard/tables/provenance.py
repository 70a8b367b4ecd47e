"""Where a table came from: machine, packages, source, options.

Tables are published, so neither the host's name nor anybody's paths are recorded: every text of
``run.json`` passes ``published``, as every message in ``cells.csv`` loses its paths where
``schema.checked`` takes it in. What cannot be found out is absent, never guessed.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
import subprocess
import warnings
from pathlib import Path
from typing import Any, Mapping, Sequence

from switchyard.tables import schema

#: Environment variables that change what is measured, those left out that no cell is given
#: (``runner/variables.py``). An allow-list: anything else may hold a secret or say whose machine
#: this is. TensorFlow's are spelt out, since Terraform
#: uses the prefix ``TF_`` too, and keeps passwords in it.
ENVIRONMENT_PREFIXES = (
    "OMP_",
    "MKL_",
    "KMP_",
    "OPENBLAS_",
    "ORT_",
    "PYTORCH_",
    "TORCH_",
    "TORCHDYNAMO_",
    "TORCHINDUCTOR_",
    "TRITON_",
    "XLA_",
    "MALLOC_",
    "TF_CPP_",
    "TF_CUDNN_",
    "TF_DETERMINISTIC_",
    "TF_DISABLE_",
    "TF_ENABLE_",
    "TF_FORCE_",
    "TF_GPU_",
    "TF_NUM_",
    "TF_ONEDNN_",
    "TF_USE_",
    "TF_XLA_",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_MODULE_LOADING",
    "CUBLAS_",
    "CUDNN_",
    "LD_PRELOAD",
)

#: Of those, what each process has from the runner, whatever the user's shell says.
OVERRIDDEN = ("TORCHINDUCTOR_CACHE_DIR", "TORCHINDUCTOR_COMPILE_THREADS", "TRITON_CACHE_DIR")

_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY", re.IGNORECASE)

#: As CUDA_VISIBLE_DEVICES may name a card, or a part of one: no other machine has one of that name.
_CARD_UUID = re.compile(r"\b(GPU|MIG)-[0-9A-Fa-f-]{4,}(/\d+)*")

#: Seconds git may take; a repository on a slow disk must not hold a run up.
GIT_TIMEOUT_S = 10.0

_FILE_URL = re.compile(r"file://[^\s'\",;]*/")
_ABSOLUTE = re.compile(r"(?<![\w.:/>~])/(?:[^/\s:'\",;=]+/)+")


def published(text: str, root: Path | None = None) -> str:
    """``text`` without the home folder, the host's name and absolute folders.

    The project's folder becomes ``.``, the home folder ``~``; of any other absolute path
    only the last part stays, as ``<path>/name``.
    """
    for folder, sign in ((str(root or ""), "."), (os.path.expanduser("~"), "~")):
        if len(folder) > 1:
            text = re.sub(r"(?<![\w/.-])" + re.escape(folder.rstrip("/")) + r"(?=\W|$)", sign, text)
    host = platform.node()
    # A host called "test" or "cuda" would take words out of messages that mean no host.
    if len(host) > 5:
        text = text.replace(host, "<host>")
    text = _FILE_URL.sub("file://<path>/", text)
    # below the home folder the names are the user's own as well: ~/clients/acme/zoo.py
    text = re.sub(r"~/(?:[^/\s:'\",;=]+/)+", "~/<path>/", text)
    return _ABSOLUTE.sub("<path>/", text)


def published_all(value: Any, root: Path | None) -> Any:
    """``value`` as plain lists, mappings and numbers, every text in it ``published``."""
    if isinstance(value, str):
        return published(value, root)
    if isinstance(value, Path):
        return published(str(value), root)
    if isinstance(value, Mapping):
        return {
            published(str(key), root): published_all(item, root) for key, item in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return [published_all(item, root) for item in items]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return published(str(value), root)


def collect(
    *,
    root: Path,
    command: Sequence[str],
    options: Mapping[str, Any],
    version_sets: Mapping[str, Mapping[str, Any]],
    whole_selection: bool,
    started: datetime.datetime,
) -> dict[str, Any]:
    """Everything a later reader may ask, as plain values for ``run.json``.

    ``version_sets`` gives per set what its environment says: its lock's hash, its Python,
    its packages as installed. ``root`` is the project's folder, asked for its commit.
    Goes to ``RunFolder.record`` or ``close``.
    """
    found = {
        "schema_version": schema.SCHEMA_VERSION,
        "started": _utc(started),
        "command": shlex.join(command),
        "options": dict(options),
        "whole_selection": whole_selection,
        "machine": machine(),
        "gpus": gpus(),
        "runner": {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "packages": installed_packages(),
        },
        "source": source(root),
        "environment_variables": environment_variables(os.environ),
        "sets": {name: dict(about) for name, about in version_sets.items()},
    }
    return {name: published_all(value, root) for name, value in found.items() if value is not None}


def _utc(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.timezone.utc).isoformat(timespec="seconds")


def environment_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of ``ENVIRONMENT_PREFIXES``, none whose name smells of a secret, and no card's UUID."""
    return {
        name: _CARD_UUID.sub(r"\1-<uuid>", value)
        for name, value in sorted(environment.items())
        if name.startswith(ENVIRONMENT_PREFIXES)
        and name not in OVERRIDDEN
        and not _SECRET.search(name)
    }


def installed_packages() -> dict[str, str]:
    """Name to version of what this interpreter has, local versions included."""
    packages = {}
    for distribution in importlib.metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a half-removed distribution has none
            packages.setdefault(name.lower().replace("_", "-"), distribution.version)
    return dict(sorted(packages.items()))


def _digest_of_boot() -> str | None:
    """Tables are published, so that the kernel's own number of this boot is not shown."""
    number = _first_line("/proc/sys/kernel/random/boot_id")
    return number and hashlib.sha256(number.encode()).hexdigest()[:12]


def machine() -> dict[str, Any]:
    """Processor, cores, memory and operating system. Sizes in MiB, clocks in MHz. ``boot`` tells
    one start of one machine from another, and no more than that."""
    found: dict[str, Any] = {
        "architecture": platform.machine(),
        "cpu": _cpu_model(),
        "cores_logical": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "cores_of_cgroup": cgroup_cores(),
        "ram_mib": _ram_mib(),
        "ram_of_cgroup_mib": cgroup_memory_mib(),
        "load_average_1min": _load(),
        "system": platform.system(),
        "kernel": platform.release(),
        "distribution": _distribution(),
        "libc": " ".join(platform.libc_ver()).strip() or None,
        "boot": _digest_of_boot(),
        "governor": _first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
    }
    try:
        import psutil
    except ImportError:
        pass
    else:
        found["cores_physical"] = psutil.cpu_count(logical=False)
        clock = psutil.cpu_freq()
        found["cpu_max_mhz"] = (clock.max or None) if clock else None
    return {name: value for name, value in found.items() if value is not None}


def _first_line(path: str) -> str | None:
    try:
        return Path(path).read_text("utf-8", "replace").splitlines()[0].strip() or None
    except (OSError, IndexError):
        return None


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return platform.processor() or None
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.processor() or None


def _ram_mib() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20
    except (ValueError, OSError):
        return None


def cgroup_cores() -> float | None:
    """What a container may use of the cores; None where nothing limits it."""
    quota, _, period = (_first_line("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return round(int(quota) / int(period), 2) if quota.isdigit() and period.isdigit() else None


def cgroup_memory_mib() -> int | None:
    """What a container may use of the memory, MiB; None where nothing limits it."""
    limit = _first_line("/sys/fs/cgroup/memory.max") or "max"
    return int(limit) // 2**20 if limit.isdigit() else None


def _load() -> float | None:
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return None


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def source(root: Path) -> dict[str, Any] | None:
    """Commit and whether anything differs from it; None where git cannot say.

    ``results/`` is left out of the question: the run's own folder lies there.
    """
    inside = _git(root, "rev-parse", "--is-inside-work-tree")
    if inside != "true":
        return None
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    changes = _git(root, "status", "--porcelain", "--", ".", ":(exclude)results")
    found = {"commit": commit or None, "dirty": None if changes is None else bool(changes)}
    return {name: value for name, value in found.items() if value is not None}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        finished = subprocess.run(
            ["git", "-C", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            # a status must not take the index lock from somebody who is committing
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() if finished.returncode == 0 else None


def gpus() -> dict[str, Any] | None:
    """Driver, CUDA version and cards by NVML; None where there is no NVML or no card.

    No serial number or UUID: they name the machine. Memory in MiB, clocks in MHz.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pynvml
        pynvml.nvmlInit()
    except Exception:  # no module, no library, no driver: all mean that nothing can be said
        return None
    try:
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        if not handles:
            return None
        return {
            "driver": _as_text(pynvml.nvmlSystemGetDriverVersion()),
            "cuda_of_driver": f"{cuda // 1000}.{cuda % 1000 // 10}",
            "cards": [_card(pynvml, handle) for handle in handles],
        }
    except Exception as error:  # a run of hours is not lost over what its card does not answer
        return {"error": str(error)}
    finally:
        with contextlib.suppress(Exception):
            pynvml.nvmlShutdown()


def _card(pynvml, handle) -> dict[str, Any]:
    def asked(name: str, *arguments) -> Any:
        try:
            return getattr(pynvml, name)(handle, *arguments)
        except (pynvml.NVMLError, AttributeError):
            return None  # not every card answers every question

    memory = asked("nvmlDeviceGetMemoryInfo")
    found = {
        "name": _as_text(asked("nvmlDeviceGetName")),
        "memory_mib": memory.total // 2**20 if memory else None,
        "compute_capability": asked("nvmlDeviceGetCudaComputeCapability"),
        "sm_clock_max_mhz": asked("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_SM),
        "memory_clock_max_mhz": asked("nvmlDeviceGetMaxClockInfo", pynvml.NVML_CLOCK_MEM),
        "power_limit_mw": asked("nvmlDeviceGetEnforcedPowerLimit"),
        "persistence": asked("nvmlDeviceGetPersistenceMode"),
    }
    return {name: value for name, value in found.items() if value is not None}


def _as_text(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value

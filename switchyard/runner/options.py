"""The options that Switchyard adds to pytest, and what is wrong with a wrong one."""

from __future__ import annotations

import errno
import os
import pathlib
import re
import sys
import tempfile
from typing import Any, Dict, Optional

import psutil
import pytest

from switchyard.runner import environments
from switchyard.runner.defaults import DEFAULT_SET, MEMORY_LIMIT_MIB, STAGE_TIMEOUT_SECONDS
from switchyard.runner.staging import PROJECT
from switchyard.tables import provenance
from switchyard.vocabulary import CAST, TIERS, UnknownName

#: What ``--zoo`` calls the zoo of Switchyard's own.
BUILTIN = "builtin"

#: What ``--precision`` takes.
OWN_OR_CAST = ("float32", *CAST)

#: What a job may hold at once at the worst of the built-in zoo, for the default of --jobs.
_MIB_A_JOB = 4096


def default_jobs() -> int:
    """A job a core, as far as memory reaches; of those that a container may use."""
    memory = psutil.virtual_memory().total // (1024 * 1024)
    memory = min(memory, provenance.cgroup_memory_mib() or memory)
    # not every system has it, and that a run needs one that does is for ``check`` to say
    allowed = getattr(os, "sched_getaffinity", None)
    cores = len(allowed(0)) if allowed else os.cpu_count() or 1
    cores = min(cores, int(provenance.cgroup_cores() or cores))
    return max(1, min(cores, memory // _MIB_A_JOB))


def _positive(kind):
    def parse(text: str):
        value = kind(text)
        if not value > 0:
            raise ValueError(text)
        return value

    parse.__name__ = f"positive {kind.__name__}"
    return parse


def add(parser: pytest.Parser) -> None:
    group = parser.getgroup("switchyard", "Switchyard: conversions of PyTorch models")
    option = group.addoption
    option("--zoo", action="append", default=[], metavar="FILE",
           help="models to send down the routes, instead of the built-in zoo; repeatable; "
           "'builtin' names the built-in one")  # fmt: skip
    option("--hop", action="append", default=[], metavar="FILE",
           help="converters of your own, beside the built-in ones; repeatable")  # fmt: skip
    option("--model", action="append", default=[], metavar="NAME",
           help="only this model; repeatable")  # fmt: skip
    option("--route", action="append", default=[], metavar="NAME",
           help="only this route, also one that no tier takes; repeatable")  # fmt: skip
    option("--version-set", action="append", default=[], metavar="SET",
           help=f"package versions to measure; repeatable; 'current' is this interpreter "
           f"(default: {DEFAULT_SET})")  # fmt: skip
    option("--tier", default="quick", choices=TIERS,
           help="how much: smoke, quick (default) or full")  # fmt: skip
    option("--gpu", action="store_true",
           help="run every route on a CUDA device: the first, if --device names none")  # fmt: skip
    option("--device", default=None, metavar="DEVICE",
           help="cpu (default), cuda or cuda:N")  # fmt: skip
    option("--record-memory", action="store_true",
           help="with --gpu: keep each cell's allocations, as its framework's viewer opens them")
    option("--tf32", action="store_true",
           help="with --gpu: every float32 model also with TF32 on, as cells of their own")
    option("--precision", action="append", default=[], metavar="NAME",
           help=f"only cells of this precision: {', '.join(OWN_OR_CAST)}; repeatable; float32 "
           "models are cast to it (default: each model's own, and some others)")  # fmt: skip
    option("--stage-timeout", type=_positive(float), default=STAGE_TIMEOUT_SECONDS,
           metavar="SECONDS", help="wall time one stage of one cell may take; on a GPU, what a "
           "launch measures after its latency is a stage, and so is each reload for it "
           f"(default: {STAGE_TIMEOUT_SECONDS:g})")  # fmt: skip
    option("--memory-limit", type=_positive(float), default=MEMORY_LIMIT_MIB, metavar="MIB",
           help="private memory one stage of one cell may hold "
           f"(default: {MEMORY_LIMIT_MIB:g})")  # fmt: skip
    option("--jobs", type=_positive(int), default=default_jobs(), metavar="N",
           help=f"conversions side by side (default here: {default_jobs()}); measuring is "
           "always alone")  # fmt: skip
    option("--launches", type=_positive(int), default=1, metavar="N",
           help="fresh processes that time each cell (default: 1)")  # fmt: skip
    option("--threads", type=_positive(int), default=None, metavar="N",
           help="threads of the CPU that each framework computes with while it is timed (default: "
           "as many as it chooses: one for LiteRT, one a core for the others)")  # fmt: skip
    option("--results", default=None, metavar="DIR",
           help="where the run's folder goes (default: results/runs)")  # fmt: skip
    option("--resume", nargs="?", const="newest", default=None, metavar="RUN",
           help="go on with an interrupted run: its folder, or the newest")  # fmt: skip
    option("--expectations", default=None, metavar="DIR",
           help="where the tables of what is known not to work lie "
           "(default: bench/expectations)")  # fmt: skip
    option("--keep-artifacts", action="store_true",
           help="copy what the conversions made into the run's folder")  # fmt: skip
    option("--accept", action="store_true",
           help="take the selected cells' outcomes as expected; needs --reason")  # fmt: skip
    option("--reason", default="", metavar="TEXT",
           help="why --accept is right: stands in the table of expectations")  # fmt: skip


#: What ``run.json`` keeps of a run's options.
_RECORDED = (
    "tier",
    "jobs",
    "launches",
    "threads",
    "stage-timeout",
    "memory-limit",
    "zoo",
    "hop",
    "model",
    "route",
    "precision",
    "gpu",
    "device",
    "tf32",
    "record-memory",
    "expectations",
)


def recorded(config: pytest.Config) -> Dict[str, Any]:
    """The options that a run is known by, as they were given."""
    return {name: config.getoption(f"--{name}") for name in _RECORDED}


def cuda_number(config: pytest.Config) -> Optional[int]:
    """N of the ``cuda:N`` that is asked for, None for the CPU. Raises pytest.UsageError."""
    given, gpu = config.getoption("--device"), config.getoption("--gpu")
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", given or ("cuda" if gpu else "cpu"))
    if found is None:
        raise pytest.UsageError(f"--device {given}: known are cpu, cuda and cuda:N")
    if found.group() == "cpu":
        if gpu:
            raise pytest.UsageError("--gpu and --device cpu contradict each other: leave one out")
        return None
    return int(found.group(1) or 0)


# The defaults lie in the checkout and not in pytest's rootdir: pytest takes the values of options
# for paths when it looks for that, so that `--zoo /other/project/zoo.py` can make it another
# project's, where nothing is expected of anything.


def results_folder(config: pytest.Config) -> pathlib.Path:
    """Absolute, since processes that work in other folders write there as well."""
    given = config.getoption("--results")
    return pathlib.Path(given).absolute() if given else PROJECT / "results" / "runs"


def expectations_folder(config: pytest.Config) -> pathlib.Path:
    given = config.getoption("--expectations")
    return pathlib.Path(given) if given is not None else PROJECT / "bench" / "expectations"


def is_own(zoo: str) -> bool:
    """Whether what ``--zoo`` names is neither the built-in zoo nor a family of it."""
    return zoo != BUILTIN and pathlib.Path(zoo).resolve().parent != PROJECT / "models_zoo"


def check(config: pytest.Config) -> None:
    """Refuse what contradicts itself. Raises pytest.UsageError."""
    if sys.platform != "linux":
        raise pytest.UsageError("a run needs Linux, and the version sets that on x86-64")
    if config.getoption("--accept") and not config.getoption("--reason").strip():
        raise pytest.UsageError("--accept needs --reason TEXT: no expectation without a reason")
    own = [name for name in config.getoption("--zoo") if is_own(name)]
    if config.getoption("--accept") and own and config.getoption("--expectations") is None:
        raise pytest.UsageError(
            f"--accept of {own[0]} needs --expectations DIR: bench/expectations/ is of the "
            "built-in zoo, which may have models of the same names"
        )
    if config.getoption("--reason") and not config.getoption("--accept"):
        raise pytest.UsageError("--reason does nothing without --accept")
    for option, what in (("--record-memory", "records"), ("--tf32", "is a mode of")):
        if cuda_number(config) is None and config.getoption(option):
            raise pytest.UsageError(f"{option} {what} a CUDA device: add --gpu")
    for name in config.getoption("--precision"):
        if name == "tf32":
            raise pytest.UsageError("--precision tf32: TF32 is a mode of a GPU: --gpu --tf32")
        if name not in OWN_OR_CAST:
            raise pytest.UsageError(f"--precision: {UnknownName('precision', name, OWN_OR_CAST)}")
    if getattr(config.option, "numprocesses", None):
        raise pytest.UsageError(
            "-n would run the measurements side by side and switch the benchmarks off; "
            "use --jobs N: conversions side by side, measuring alone"
        )
    if getattr(config.option, "benchmark_cprofile", None):
        raise pytest.UsageError(
            "--benchmark-cprofile has nothing to profile: the calls were made by the measured "
            "process, and pytest-benchmark replays their durations"
        )
    for option in ("--zoo", "--hop"):
        for name in config.getoption(option):
            if name != BUILTIN and not pathlib.Path(name).is_file():
                raise pytest.UsageError(f"{option} {name}: there is no such file")
    _check_expectations(config)
    if config.getoption("--resume") is None and not config.option.collectonly:
        _check_results(results_folder(config))


def _check_results(folder: pathlib.Path) -> None:
    """Whether a run's folder can be made in ``folder``, which is not made: it is tried in what
    there is of it, since permissions alone do not say (root's, and those of /proc). Raises
    pytest.UsageError."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".switchyard-"):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: pathlib.Path, error: OSError) -> pytest.UsageError:
    """The usage error that a folder of results is in which no run's folder can be made."""
    reason = "this is no folder" if os.path.isfile(folder) else error.strerror or error
    return pytest.UsageError(f"--results {folder}: a run's folder cannot be made there: {reason}")


def is_of_cache(error: OSError) -> bool:
    """Whether it says that the cache cannot be used: a disk that is full, or one of its paths."""
    if error.filename is None:
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    root, path = environments.cache_root(), pathlib.Path(os.fsdecode(error.filename))
    return path.is_relative_to(root) or root.is_relative_to(path)


def unusable_cache(error: OSError) -> pytest.UsageError:
    """The usage error that a cache is in which nothing can be made."""
    return pytest.UsageError(
        f"the cache {environments.cache_root()} cannot be used: {error}; make room in it and let "
        "it be written, or set SWITCHYARD_CACHE to another folder"
    )


def _check_expectations(config: pytest.Config) -> None:
    """A folder that is mistyped expects nothing, and what expects nothing never fails. Only
    ``--accept`` may make one. Raises pytest.UsageError."""
    given = config.getoption("--expectations")
    if given is None or os.path.isdir(given):
        return
    if os.path.lexists(given):
        raise pytest.UsageError(f"--expectations {given}: this is no folder")
    if not config.getoption("--accept"):
        raise pytest.UsageError(
            f"--expectations {given}: there is no such folder (--accept --reason TEXT makes it)"
        )

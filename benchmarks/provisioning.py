"""How long does a version set take to install, once uv has its packages?

Each environment of the set is provisioned in a cache of its own that is empty, from uv's cache,
which a first installation fills where it has to. Bytecode is not part of it: it is written when a
module is first imported, so that the first import of an environment's frameworks is timed beside
the second. What an environment that is there already costs is what every run pays.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
import time
from typing import Sequence

import goals
import sessions  # noqa: F401  puts the project on the path

from switchyard.runner import environments, staging
from switchyard.runner.options import DEFAULT_SET
from switchyard.runner.variables import environment_variables

GOAL_SECONDS = 10.0


def provisioned(set_: str, environment: str) -> float:
    began = time.monotonic()
    environments.provision(set_, environment, lambda line: None)
    return time.monotonic() - began


def imported(set_: str, environment: str, modules: Sequence[str]) -> float:
    """Seconds from the start of a fork server to its frameworks' being imported."""
    made = environments.provision(set_, environment)
    program = "import importlib, sys\nfor name in sys.argv[1:]:\n    importlib.import_module(name)"
    command = [made.python, "-c", program, *modules]
    cache = environments.cache_root()
    variables = environment_variables(made, staging.stage(cache).path, cache)
    began = time.monotonic()
    subprocess.run(command, env=variables, stderr=subprocess.DEVNULL, check=True)
    return time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version-set", default=DEFAULT_SET, metavar="SET")
    options = parser.parse_args()
    set_ = options.version_set
    names = list(environments.find(set_).environments)
    frameworks = {"core": ("torch", "tensorflow", "onnxruntime", "onnx"), "onnx2tf": ("onnx2tf",)}
    goals.conditions()
    for name in names:  # whatever uv lacks is fetched here, and not counted
        environments.provision(set_, name)
    rows, total = [], 0.0
    with tempfile.TemporaryDirectory(prefix="switchyard-benchmark-") as cache:
        os.environ["SWITCHYARD_CACHE"] = cache
        for name in names:
            seconds, there = provisioned(set_, name), provisioned(set_, name)
            imports = [imported(set_, name, frameworks.get(name, ())) for _ in range(2)]
            rows.append((name, seconds, there, *imports))
            total += seconds
    header = ("environment", "installing", "when it is there", "first import", "second")
    goals.table(header, rows)
    print()
    goals.at_most(f"{set_} from uv's cache", total, GOAL_SECONDS, "s")


if __name__ == "__main__":
    main()

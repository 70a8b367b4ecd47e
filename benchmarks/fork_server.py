"""What does a hop cost in a forked child, and what in a fresh interpreter?

CPU seconds, user and system, of everybody who has a part in it: the runner that supervises,
the fork server (its copying of page tables), the child and the child's own children. The
server's start is paid once a run and printed apart, for what it must spare to pay for itself.

- the hop that does nothing: forked, against an interpreter that imports what the fork server
  has imported; the goal is on this one;
- real hops on one model of the zoo: forked, against an interpreter that imports only what
  that hop needs. It ends without exit handlers, as the forked child does.

Forked and spawned take turns; medians.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import goals
import psutil
import sessions

from switchyard import hops, runtimes, wire
from switchyard.runner import describing, plan, staging, workers, yard
from switchyard.runner.artefacts import ArtefactStore
from switchyard.runner.crew import Crew

GOAL_TIMES = 8.0
ROUTES = ("torchscript-ort", "dynamo-onnxslim-ort")
LIMITS = workers.Limits(seconds=600, memory_mib=16384)

#: What a version set's interpreter runs where there is no fork server.
SPAWNED = """\
import os, sys
from switchyard import wire
from switchyard.worker import jobs, server
message = wire.receive(0)
server.preload(message["modules"])
wire.send(int(sys.argv[1]), jobs.run(message["job"]))
os._exit(0)
"""

Cost = Tuple[float, float]


class Listening(Crew):
    """A crew that remembers what it was asked to do, to do it again."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.asked: List[Tuple[Dict[str, Any], str]] = []

    def do(self, version_set, name, job, stage):
        self.asked.append((dict(job), stage))
        return super().do(version_set, name, job, stage)


class Bench:
    """One environment's fork server, and the same interpreter without it."""

    def __init__(self, cache: pathlib.Path, model: str):
        self.hops, self.runtimes = hops.builtin(), runtimes.builtin()
        here = [*self.hops.values(), *self.runtimes.values()]
        self.modules = sorted({m for o in here if o.environment == "core" for m in o.requires})
        self.logs = cache / "logs"
        staged = staging.stage(cache)
        requires = {"core": self.modules}
        self.crew = Listening(staged, cache, self.logs, LIMITS, requires, lambda line: None)
        self.environment = self.crew.environment(sessions.DEFAULT_SET, "core")
        self.worker = self.crew.worker(sessions.DEFAULT_SET, "core")
        (self.server,) = psutil.Process().children()
        self.start_cpu = self._server_cpu()
        self.conversions = self._conversions(cache, staged, model)

    def _conversions(self, cache, staged, model: str) -> List[Tuple[Dict[str, Any], str]]:
        """The jobs of the hops of ``ROUTES``, as the yard asks for them; their sources lie
        in the cache afterwards."""

        def ask(job: dict) -> dict:
            found = self.crew.do(sessions.DEFAULT_SET, "core", job, "import")
            return found.result or {"ok": False, "outcome": found.outcome.as_dict()}

        store = ArtefactStore(cache / "descriptions", staged.digests)
        files = [f for f in describing.zoo_files([], staged) if f"def {model}(" in f.read_text()]
        zoo = describing.describe(files, self.environment, staged, store, ask)
        routes = plan.chosen_routes(ROUTES, self.hops, self.runtimes)
        converts = yard.Yard(self.crew, self.hops, self.runtimes, [], 1, lambda text: lambda: None)
        for planned in plan.plan({sessions.DEFAULT_SET: zoo}, routes, "cpu", "full", [model]):
            made = converts.converted(planned)
            if made.outcome is not None:
                raise SystemExit(f"{planned.cell.short}: {made.outcome.message}")
        return [(job, stage) for job, stage in self.crew.asked if job["do"] == "convert"]

    def _server_cpu(self) -> float:
        """Of the server and of every child it has reaped; by the kernel's ticks of 10 ms."""
        times = self.server.cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    def forked(self, job: Mapping[str, Any], stage: str, times: int = 1) -> Cost:
        """CPU and wall seconds of one job, from ``times`` in a row."""
        cpu, wall = _own_cpu() + self._server_cpu(), time.monotonic()
        for _ in range(times):
            finished = self.worker.run(job, stage, LIMITS, self.logs / "forked.log")
            _must_be_ok(finished.result)
        wall = time.monotonic() - wall
        return (_own_cpu() + self._server_cpu() - cpu) / times, wall / times

    def spawned(self, job: Mapping[str, Any], modules: Sequence[str]) -> Cost:
        """The same in a process of its own that imports ``modules`` first."""
        own, wall = _own_cpu(), time.monotonic()
        read, write = os.pipe()
        with open(self.logs / "spawned.log", "wb") as log:
            process = subprocess.Popen(
                [self.environment.python, "-c", SPAWNED, str(write)],
                env=self.crew.variables(self.environment),
                cwd=self.logs,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[write],
            )
        os.close(write)
        process.stdin.write(wire.pack({"modules": list(modules), "job": dict(job)}))
        process.stdin.close()
        _must_be_ok(wire.receive(read))
        os.close(read)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        cpu = usage.ru_utime + usage.ru_stime + _own_cpu() - own
        return cpu, time.monotonic() - wall


def _own_cpu() -> float:
    """Of this process, which is the runner."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _must_be_ok(result) -> None:
    if not result or not result["ok"]:
        raise SystemExit(f"the job did not do its work: {(result or {}).get('outcome')}")


def in_turns(rounds: int, *ways: Callable[[], Cost]) -> List[Cost]:
    """Median CPU and wall of each way."""
    found: List[List[Cost]] = [[way() for way in ways] for _ in range(rounds)]
    return [
        (statistics.median(r[i][0] for r in found), statistics.median(r[i][1] for r in found))
        for i in range(len(ways))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="resnet18", help="of the built-in zoo")
    options = parser.parse_args()
    goals.conditions()
    with sessions.scratch_cache() as cache:
        bench = Bench(cache, options.model)
        nothing = {"do": "nothing"}
        costs = {
            "nothing": in_turns(
                options.rounds,
                lambda: bench.forked(nothing, "run", times=20),
                lambda: bench.spawned(nothing, bench.modules),
            )
        }
        for job, stage in bench.conversions:
            with tempfile.TemporaryDirectory(dir=cache) as target:
                job["target"] = target
                costs[f"{job['hop']} of {options.model}"] = in_turns(
                    options.rounds,
                    lambda: bench.forked(job, stage),
                    lambda: bench.spawned(job, bench.hops[job["hop"]].requires),
                )
        bench.crew.close()
    goals.table(
        ("hop", "CPU s forked", "spawned", "ratio", "wall s forked", "spawned"),
        [
            (hop, forked[0], spawned[0], f"{spawned[0] / forked[0]:.1f}", forked[1], spawned[1])
            for hop, (forked, spawned) in costs.items()
        ],
    )
    forked, spawned = costs["nothing"]
    print(f"\nthe fork server's own start: {bench.start_cpu:.1f} CPU s, once a run")
    goals.times_less("CPU of a hop that does nothing", spawned[0], forked[0], GOAL_TIMES)


if __name__ == "__main__":
    main()

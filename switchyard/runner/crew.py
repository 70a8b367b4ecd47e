"""The workers of a run: one fork server an environment, started when first needed.

A job whose fork server dies is run again with nothing beside it, on a new server; if that
one dies too, the job is what kills it, and that is its outcome. Jobs that merely were in the
same server lose nothing but time.
"""

from __future__ import annotations

import pathlib
import threading
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple

from switchyard.runner import compiled_headers, environments
from switchyard.runner.gate import Gate
from switchyard.runner.nvml import Card
from switchyard.runner.scratch import VARIABLE, Scratch
from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import (
    Finished,
    Limits,
    ServerLost,
    Worker,
    WorkerFailed,
    process_outcome,
    with_log,
)
from switchyard.vocabulary import Outcome, signature_of


class Closed(Exception):
    """The run is over (Ctrl-C): what was under way is nobody's outcome."""


def import_order(modules: Iterable[str]) -> List[str]:
    """Whole packages by name, then what is inside of one: ``keras.ops`` would bring TensorFlow in
    before ONNX, and in the oldest set torch's import then aborts the process."""
    return sorted(set(modules), key=lambda name: ("." in name, name))


class Crew:
    """Environments and workers by (version set, environment name)."""

    def __init__(self, staged, cache: pathlib.Path, logs: pathlib.Path, limits: Limits,
                 requires: Mapping[str, Iterable[str]], say: Callable[[str], None],
                 card: Optional[Card] = None):  # fmt: skip
        self.gate = Gate()
        self.staged = staged
        self.cache = cache
        self.limits = limits
        self.card = card
        self.logs = logs
        self._scratch = Scratch()
        self._requires = {name: import_order(modules) for name, modules in requires.items()}
        self._say = say
        self._lock = threading.Lock()
        self._environments: Dict[Tuple[str, str], Any] = {}
        self._workers: Dict[Tuple[str, str], Worker] = {}
        self._failed: Dict[Tuple[str, str], Outcome] = {}
        self._dead: Dict[Tuple[str, str], WorkerFailed] = {}
        self._count = 0
        self._told: set = set()
        self._installing: Dict[Tuple[str, str], threading.Lock] = {}
        self._starting: Dict[Tuple[str, str], threading.Lock] = {}
        self._ended = threading.Event()

    def flavour_of(self, name: str) -> str:
        """Which locks an environment of that name has in this run: those that stand beside the
        core only convert, and that is done on the CPU."""
        return "cuda" if self.card is not None and name == "core" else "cpu"

    def environment(self, version_set: str, name: str):
        """The environment, provisioned now if need be, or the Outcome that says why not. Raises
        Closed where the run ends before it is."""
        key = (version_set, name)
        with self._lock:
            installing = self._installing.setdefault(key, threading.Lock())
        with installing:  # of this one alone: the end of the run does not wait for it
            if key in self._failed:
                return self._failed[key]
            if key not in self._environments:
                if self._ended.is_set():
                    raise Closed("the run has ended")
                try:
                    self._environments[key] = environments.provision(
                        version_set, name, self._say, self.flavour_of(name), ended=self._ended
                    )
                except environments.ProvisioningError as error:
                    if self._ended.is_set():
                        raise Closed("the run has ended") from error
                    self._say(str(error))
                    line = str(error).splitlines()[0]
                    self._failed[key] = Outcome(
                        stage="resolve",
                        verdict="unavailable",
                        kind=error.kind,
                        message=line,
                        signature=signature_of(line),
                        detail=str(error),
                    )
                    return self._failed[key]
            return self._environments[key]

    def known(self) -> List[Any]:
        """The environments that were used so far."""
        return list(self._environments.values())

    def variables(self, environment) -> Dict[str, str]:
        """For one process, whose temporary files are in a folder of its own."""
        visible = self.card.uuid if self.card else "-1"
        kept = environment_variables(environment, self.staged.path, self.cache, visible)
        temporary = self._scratch.folder()
        compiled_headers.share(temporary, self._headers(environment))
        return {
            **kept,
            VARIABLE: temporary,
            # Built once a run: one that was killed while it built leaves torch's lock behind, on
            # which every later one would wait for ever.
            "TORCH_EXTENSIONS_DIR": self._scratch.shared(f"extensions-{environment.fingerprint}"),
        }

    def _headers(self, environment) -> str:
        return self._scratch.shared(f"headers-{environment.fingerprint}")

    def killed_in(self, environment) -> None:
        """A process of that environment was killed, or died: what it may have left half written for
        those after it is removed."""
        compiled_headers.drop(self._headers(environment))

    def worker(self, version_set: str, name: str) -> Worker:
        """The fork server of an environment, started or started anew. Raises WorkerFailed,
        or Closed once ``close`` was called."""
        key = (version_set, name)
        with self._lock:
            starting = self._starting.setdefault(key, threading.Lock())
        with starting:  # of this one alone: the end of the run does not wait for its imports
            if self._ended.is_set():
                raise Closed("the run has ended")
            worker = self._workers.get(key)
            if worker is not None and worker.alive:
                return worker
            if key in self._dead:
                raise self._dead[key]
            worker = self._started(key, self._environments[key])
            with self._lock:
                if not self._ended.is_set():
                    self._workers[key] = worker
                    return worker
            worker.close()  # it came up while the run ended
            raise Closed("the run has ended")

    def _started(self, key: Tuple[str, str], environment) -> Worker:
        version_set, name = key
        self._say(f"starting a worker of {version_set} ({name})")
        log = self.logs / f"worker-{version_set}-{name}.log"
        preload = self._requires.get(name, [])
        try:
            return Worker(environment, self.variables(environment), preload, log, self._ended)
        except WorkerFailed as error:
            if self._ended.is_set():
                raise Closed("the run has ended") from error
            self._dead[key] = error
            raise

    def lacks(self, version_set: str, name: str, modules: Iterable[str]) -> Optional[Outcome]:
        """The outcome of what cannot be imported there, or None."""
        try:
            worker = self.worker(version_set, name)
        except WorkerFailed as error:
            return _unstarted(error)
        for module in modules:
            if worker.imports.get(module):
                return Outcome.from_dict(worker.imports[module])
        return None

    def do(self, version_set: str, name: str, job: Mapping[str, Any], stage: str) -> Finished:
        """One job in a forked child, beside others; see the module's docstring."""
        try:
            with self.gate.shared():
                return self._once(version_set, name, job, stage)
        except ServerLost:
            pass
        with self.gate.alone():
            try:
                return self._begun(version_set, name, job, stage)
            except ServerLost as error:
                message = f"{error}, and again when it ran alone"
                outcome = process_outcome(stage, "crash", message, error.detail)
                return Finished(None, outcome, 0.0)

    def _begun(self, version_set, name, job, stage) -> Finished:
        """``_once``, again where the server had died of something else before the job began;
        a server that will not live long enough to begin is given up after three."""
        for attempt in range(3):
            try:
                return self._once(version_set, name, job, stage)
            except ServerLost as error:
                if error.begun or attempt == 2:
                    raise

    def _once(self, version_set, name, job, stage) -> Finished:
        try:
            worker = self.worker(version_set, name)
        except WorkerFailed as error:
            return Finished(None, _unstarted(error), 0.0)
        with self._lock:
            self._count += 1
            number = self._count
        log = self.logs / f"{number:05d}-{job['do']}-{job.get('model', 'zoo')}.log"
        finished = worker.run(job, stage, self.limits, log)
        self._say_touched(worker, version_set, name)
        if finished.result is not None and finished.result["ok"]:
            log.unlink(missing_ok=True)
        elif finished.result is None:
            self.killed_in(self._environments[version_set, name])
        else:
            said = finished.result["outcome"]
            said["detail"] = with_log(log, said["detail"])
        return finished

    def _say_touched(self, worker: Worker, version_set: str, name: str) -> None:
        if worker.touched and (version_set, name) not in self._told:
            self._told.add((version_set, name))
            self._say(
                f"the imports of {version_set} ({name}) open {', '.join(worker.touched)}: each job "
                "for the device is a fresh process instead of a forked one, which takes longer"
            )

    def other_runs(self) -> int:
        """How many go on beside this one on this machine, as far as it can be seen."""
        return self._scratch.others()

    def close(self) -> None:
        """End the workers; those that an interruption leaves are ended the next time."""
        self._ended.set()
        with self._lock:  # behind it none is added any more
            workers = list(self._workers.values())
        for worker in workers:
            worker.close()
        self._workers.clear()
        self._scratch.close()


def _unstarted(error: WorkerFailed) -> Outcome:
    """What a fork server that does not start means for every cell that needs it."""
    return Outcome(
        stage="import",
        verdict="unavailable",
        kind=error.kind,
        message=str(error),
        signature="the worker did not start",
        detail=error.detail,
    )

"""The one store of a run: any question about a cell is answered here, once.

References, conversions and answers are made when first asked for; a prefix that several
routes share is made once, and where it failed every route through it inherits the outcome.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import shutil
import threading
import time
from typing import Any, Callable, Dict, Hashable, List, Mapping, Optional, Sequence, Tuple

from switchyard.runner.artefacts import ArtefactStore, key_of
from switchyard.runner.crew import Crew
from switchyard.runner.describing import relative
from switchyard.runner.plan import Planned
from switchyard.vocabulary import Outcome, signature_of

#: Of a card's memory, MiB, for each job that asks a model there beside others.
_MIB_ON_A_CARD = 8192


@dataclasses.dataclass(frozen=True)
class Made:
    """What a stage left: a folder and facts, or the outcome that stopped it.

    ``seconds`` is the stage's own work, by the child's clock; ``overhead`` the rest of the
    wall time this run spent on it. ``reused``: made by an earlier run.
    """

    key: str = ""
    folder: Optional[pathlib.Path] = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Optional[Outcome] = None
    seconds: float = 0.0
    overhead: float = 0.0
    reused: bool = False


class _Once:
    """Compute each key once, whoever asks first; others wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._futures: Dict[Hashable, concurrent.futures.Future] = {}

    def __call__(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        with self._lock:
            future = self._futures.get(key)
            mine = future is None
            if mine:
                future = self._futures[key] = concurrent.futures.Future()
        if mine:
            try:
                future.set_result(compute())
            except BaseException as error:
                with self._lock:
                    del self._futures[key]
                future.set_exception(error)
                raise
        return future.result()


class Yard:
    """``watch(text)`` is told what begins and returns a callable to call when that ends;
    ``answered(planned, made)`` is told when a cell's verdict is known, from any thread."""

    def __init__(
        self,
        crew: Crew,
        hops,
        runtimes,
        hop_files: Sequence[str],
        jobs: int,
        watch: Callable[[str], Callable[[], None]],
        answered: Callable[[Planned, Made], None] = lambda planned, made: None,
    ):
        self.crew = crew
        self.hops = hops
        self.runtimes = runtimes
        self._hop_files = [str(path) for path in hop_files]
        self._store = ArtefactStore(crew.cache / "artefacts", crew.staged.digests)
        self._watch = watch
        self._answered = answered
        self._once = _Once()
        # Contexts side by side must not be what fills the card.
        room = jobs if crew.card is None else max(1, int(crew.card.memory_mib // _MIB_ON_A_CARD))
        self._turns = threading.Semaphore(min(jobs, room))
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=jobs)

    def prepare(self, cells: Sequence[Planned]) -> None:
        """Convert and ask ``cells`` side by side, stage by stage, and wait for all of them.

        Stage by stage, so that no thread sits waiting for a prefix another is making.
        """
        made = [planned for planned in cells if self.unhosted(planned) is None]
        levels: List[List[Callable[[], Any]]] = [
            [lambda p=p: self.reference(p) for p in _distinct(made, lambda p: (
                p.cell.version_set, p.cell.model))]
        ]  # fmt: skip
        deepest = max((len(p.route.hops) for p in made), default=0)
        for depth in range(1, deepest + 1):
            reaching = [p for p in made if len(p.route.hops) >= depth]
            distinct = _distinct(
                reaching, lambda p: (p.cell.version_set, p.cell.model, p.route.hops[:depth])
            )
            levels.append([lambda p=p, d=depth: self.converted(p, d) for p in distinct])
        levels.append([lambda p=p: self.answer(p) for p in cells])
        for level in levels:
            for future in [self._pool.submit(work) for work in level]:
                future.result()

    def unhosted(self, planned: Planned) -> Optional[Outcome]:
        """Why no version set at all can run the cell's runtime on its device, or None."""
        runtime = self.runtimes[planned.route.runtime]
        if planned.cell.device in runtime.devices:
            return None
        return Outcome(
            stage="import",
            verdict="unavailable",
            kind="missing-dependency",
            message=runtime.elsewhere,
            signature=signature_of(runtime.elsewhere),
        )

    def reference(self, planned: Planned) -> Made:
        """The reference of a cell's model."""
        cell = planned.cell
        return self._once(
            ("reference", cell.version_set, cell.model), lambda: self._make_reference(planned)
        )

    def converted(self, planned: Planned, depth: Optional[int] = None) -> Made:
        """The artefact of the first ``depth`` hops of a cell's route (all of them by default);
        with no hops it is the reference itself, which says whether the model can be built."""
        prefix = planned.route.hops if depth is None else planned.route.hops[:depth]
        if not prefix:
            return self.reference(planned)
        cell = planned.cell
        made = self._once(
            ("convert", cell.version_set, cell.model, prefix),
            lambda: self._make_artefact(planned, prefix),
        )
        # A hop with several formats may have failed at the one this route goes on with.
        whole = len(prefix) == len(planned.route.hops)
        after = (
            self.runtimes[planned.route.runtime].format
            if whole
            else (self.hops[planned.route.hops[len(prefix)]].source)
        )
        stopped = made.record.get("stopped", {}).get(after)
        if made.outcome is None and stopped is not None:
            return dataclasses.replace(made, outcome=Outcome.from_dict(stopped))
        return made

    def answer(self, planned: Planned) -> Made:
        """What the converted model answered, judged: ``record`` has the row's columns."""

        def compute() -> Made:
            made = self._make_answer(planned)
            self._answered(planned, made)
            return made

        return self._once(("answer", planned.cell), compute)

    def _make_reference(self, planned: Planned) -> Made:
        cell, model = planned.cell, planned.model
        if planned.missing is not None:
            return Made(outcome=planned.missing)
        environment = self.crew.environment(cell.version_set, "core")
        if isinstance(environment, Outcome):
            return Made(outcome=environment)
        key = key_of(
            do="reference",
            machinery=self.crew.staged.machinery,
            environment=environment.fingerprint,
            sources=sorted(model["sources"].values()),
            model=cell.model,
        )
        job = {"do": "reference", "file": model["file"], "model": cell.model}
        return self._make(key, cell.version_set, "core", job, "reference", cell.model)

    def _make_artefact(self, planned: Planned, prefix: Tuple[str, ...]) -> Made:
        cell, model, hop = planned.cell, planned.model, self.hops[prefix[-1]]
        reference = self.reference(planned)
        upstream = self.converted(planned, len(prefix) - 1)
        if upstream.outcome is not None:
            return dataclasses.replace(upstream, seconds=0.0, overhead=0.0)
        environment = self.crew.environment(cell.version_set, hop.environment)
        if isinstance(environment, Outcome):
            return Made(outcome=environment)
        key = key_of(
            do="convert",
            machinery=self.crew.staged.machinery,
            environment=environment.fingerprint,
            upstream=upstream.key,
            hop=hop.name,
            options=hop.options,
            source=self._digest_of(hop),
            dims={name: spec["dims"] for name, spec in model["inputs"].items()},
        )
        job = {
            "do": "convert",
            "preloads": hop.preloads,
            "hop": hop.name,
            "hop_files": self._hop_files,
            "file": model["file"],
            "model": cell.model,
            "reference": str(reference.folder),
            "source": None if len(prefix) == 1 else str(upstream.folder),
            "dims": {name: spec["dims"] for name, spec in model["inputs"].items()},
        }
        stage, label = f"convert:{hop.name}", f"{cell.model}-{'-'.join(prefix)}"
        return self._make(key, cell.version_set, hop.environment, job, stage, label, hop.requires)

    def _digest_of(self, hop) -> str:
        """The hash of a hop's own file: staged where it is built in, the user's otherwise."""
        import hashlib

        return hashlib.sha256(pathlib.Path(hop.file).read_bytes()).hexdigest()

    def _make(self, key, version_set, environment, job, stage, label, requires=()) -> Made:
        """Find or make one entry of the store."""
        began = time.monotonic()
        with self._store.alone(key):
            record = self._store.find(key)
            if record is not None:
                overhead = time.monotonic() - began
                if not record["ok"]:
                    outcome = Outcome.from_dict(record["outcome"])
                    return Made(key, None, record, outcome, 0.0, overhead, True)
                return Made(key, self._store.folder(key), record, None, 0.0, overhead, True)
            if requires:
                missing = self.crew.lacks(version_set, environment, requires)
                if missing is not None:
                    return Made(key, outcome=missing)
            place = self._store.workplace(key)
            done = self._watch(f"{label}  {stage}")
            try:
                finished = self.crew.do(
                    version_set, environment, {**job, "target": str(place)}, stage
                )
                return self._settled(key, place, finished, began)
            finally:
                done()
                shutil.rmtree(place, ignore_errors=True)

    def _settled(self, key, place, finished, began) -> Made:
        """Keep what may be kept, and say what came of it."""
        own = (finished.result or {}).get("seconds", finished.seconds)

        def made(folder, record, outcome) -> Made:
            spent = time.monotonic() - began
            return Made(key, folder, record, outcome, own, max(0.0, spent - own))

        if finished.outcome is not None:
            return made(None, {}, finished.outcome)
        record = finished.result
        if "sources" in record:
            record["sources"] = relative(record["sources"])
        if record["ok"]:
            return made(self._store.keep(key, place, record), record, None)
        outcome = Outcome.from_dict(record["outcome"])
        if outcome.verdict == "refused":
            self._store.keep(key, place, record)
        return made(None, record, outcome)

    def _make_answer(self, planned: Planned) -> Made:
        cell = planned.cell
        unhosted = self.unhosted(planned)
        if unhosted is not None:  # before anything is converted for it
            return Made(outcome=unhosted)
        artefact = self.converted(planned)
        if artefact.outcome is not None:
            return dataclasses.replace(artefact, seconds=0.0, overhead=0.0)
        reference = self.reference(planned)
        runtime = self.runtimes[planned.route.runtime]
        environment = self.crew.environment(cell.version_set, runtime.environment)
        if isinstance(environment, Outcome):
            return Made(outcome=environment)
        missing = self.crew.lacks(cell.version_set, runtime.environment, runtime.requires)
        if missing is not None:
            return Made(outcome=missing)
        job = {
            "do": "ask",
            # torch.compile's ask for a card as they are imported, and no child of a process that
            # has asked may be forked for one: better that these children import them.
            "preloads": runtime.preloads if cell.device == "cpu" else (),
            "file": planned.model["file"],
            "model": cell.model,
            "runtime": runtime.name,
            "artefact": str(artefact.folder) if planned.route.hops else None,
            "reference": str(reference.folder),
            "device": cell.device,
            "precision": cell.precision,
            "classifier": planned.model["classifier"],
            "dynamic": bool(planned.model["sizes"]),
        }
        began = time.monotonic()
        done = self._watch(f"{cell.short}  run")
        try:
            with self._turns:
                finished = self.crew.do(cell.version_set, runtime.environment, job, "run")
        finally:
            done()
        result = finished.result or {}
        own = result.get("seconds", finished.seconds)
        overhead = max(0.0, time.monotonic() - began - own)
        outcome = finished.outcome or Outcome.from_dict(result["outcome"])
        return Made(artefact.key, artefact.folder, result, outcome, own, overhead)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.crew.close()


def _distinct(cells: Sequence[Planned], key: Callable[[Planned], Hashable]) -> List[Planned]:
    first: Dict[Hashable, Planned] = {}
    for planned in cells:
        first.setdefault(key(planned), planned)
    return list(first.values())

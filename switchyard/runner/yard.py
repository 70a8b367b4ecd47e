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
from typing import Any, Callable, Dict, Hashable, Iterator, List, Mapping, Optional, Sequence, Tuple

from switchyard.runner import variables
from switchyard.runner.artefacts import ArtefactStore, entry_key
from switchyard.runner.crew import Crew
from switchyard.runner.describing import relative
from switchyard.runner.hosting import Hosting
from switchyard.runner.once import Once
from switchyard.runner.plan import Planned
from switchyard.runner.staging import shown
from switchyard.runner.turns import Turns
from switchyard.vocabulary import COSTS, Cell, Outcome

#: What says whether two inputs are alike.
_JUDGING = ("switchyard/worker/agreement.py", "switchyard/worker/rounding.py")


@dataclasses.dataclass(frozen=True)
class Made:
    """What a stage left: a folder and facts, or the outcome that stopped it.

    ``seconds`` is the stage's own work, by the child's clock; ``overhead`` the rest of the
    wall time this run spent on it.
    """

    key: str = ""
    folder: Optional[pathlib.Path] = None
    record: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    outcome: Optional[Outcome] = None
    seconds: float = 0.0
    overhead: float = 0.0


@dataclasses.dataclass
class _Work:
    """One thing to make or ask, and what can only come ``after`` it; ``cell`` is the one whose
    answer it is, the last of what is done for it."""

    do: Callable[[], Any]
    tier: str = COSTS[0]
    cell: Optional[Cell] = None
    after: List[_Work] = dataclasses.field(default_factory=list)

    def dearest_first(self) -> List[_Work]:
        """So that at the end of a batch no long one is left to run alone."""
        return sorted(self.after, key=lambda work: -COSTS.index(work.tier))

    def cells(self) -> Iterator[Cell]:
        """Those that wait for it."""
        if self.cell is not None:
            yield self.cell
        for work in self.after:
            yield from work.cells()


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
        self._ended = threading.Event()
        root = crew.cache / "artefacts"
        self._store = ArtefactStore(root, crew.staged.digests, self._ended)
        self._watch = watch
        self._answered = answered
        self._once = Once()
        #: Cells without an answer, and the runner's own exception that prevented it.
        self.errors: Dict[Cell, Exception] = {}
        self.unhosted = Hosting(crew, runtimes)
        self._settings = variables.shaping()
        self._turns = Turns(crew.card, jobs)
        self._pool = concurrent.futures.ThreadPoolExecutor(max_workers=jobs)

    def prepare(self, cells: Sequence[Planned]) -> None:
        """Convert and ask ``cells`` side by side, each as soon as what it stands on is there, and
        wait for all of them. No thread sits waiting for a prefix that another is making.

        An exception (a disk that is full) is not raised here, where it would be whoever asks first
        that is to blame, but to whoever asks for an answer that waited for what raised it.
        """
        under_way = {self._pool.submit(work.do): work for work in self._work(cells)}
        while under_way:
            ended, _ = concurrent.futures.wait(
                under_way, return_when=concurrent.futures.FIRST_COMPLETED
            )
            for future in ended:
                work = under_way.pop(future)
                error = future.exception()
                if isinstance(error, Exception):
                    self.errors.update(dict.fromkeys(work.cells(), error))
                    continue
                if error is not None:  # Ctrl-C, say
                    raise error
                for next_ in work.dearest_first():
                    under_way[self._pool.submit(next_.do)] = next_

    def _work(self, cells: Sequence[Planned]) -> List[_Work]:
        """The references that ``cells`` rest on, each with what can follow it."""
        found: Dict[Hashable, _Work] = {}
        roots: List[_Work] = []
        for planned in cells:
            try:
                unhosted = self.unhosted(planned)
            except Exception as error:
                self.errors[planned.cell] = error
                continue
            if unhosted is not None:  # nothing is made for it
                roots.append(_Work(lambda p=planned: self.answer(p), cell=planned.cell))
                continue
            model = (planned.cell.version_set, planned.cell.model, planned.cast)
            before = found.get(model)
            if before is None:
                before = found[model] = _Work(lambda p=planned: self.reference(p))
                roots.append(before)
            if planned.pictured and planned.route.hops:
                key = (*model, "preprocess")
                if key not in found:
                    found[key] = _Work(lambda p=planned: self.preprocessed(p))
                    before.after.append(found[key])
                before = found[key]
            for depth, prefix in enumerate(planned.route.prefixes, start=1):
                key = (*model, prefix)
                if key not in found:
                    tier = self.hops[prefix[-1]].tier
                    found[key] = _Work(lambda p=planned, d=depth: self.converted(p, d), tier)
                    before.after.append(found[key])
                before = found[key]
            tier = self.runtimes[planned.route.runtime].tier
            before.after.append(_Work(lambda p=planned: self.answer(p), tier, planned.cell))
        return roots

    def reference(self, planned: Planned) -> Made:
        """The reference of a cell's model."""
        cell = planned.cell
        return self._once(
            ("reference", cell.version_set, cell.model, planned.cast),
            lambda: self._make_reference(planned),
        )

    def preprocessed(self, planned: Planned) -> Made:
        """Both ecosystems' inputs of a model that takes pictures, compared: the row's columns,
        and the outcome that stops it before any conversion where they differ."""
        cell = planned.cell
        return self._once(
            ("preprocess", cell.version_set, cell.model, planned.cast),
            lambda: self._preprocess(planned),
        )

    def converted(self, planned: Planned, depth: Optional[int] = None) -> Made:
        """The artefact of the first ``depth`` hops of a cell's route (all of them by default);
        with no hops it is the reference itself, which says whether the model can be built."""
        prefix = planned.route.hops if depth is None else planned.route.hops[:depth]
        if not prefix:
            return self.reference(planned)
        cell = planned.cell
        made = self._once(
            ("convert", cell.version_set, cell.model, planned.cast, prefix),
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

    def lost(self, planned: Planned) -> Optional[Outcome]:
        """Why what a resumed run has lost of a cell, reference or artefact, cannot be made again;
        None where it is there, made by now if need be."""
        return self.reference(planned).outcome or self.converted(planned).outcome

    def answer(self, planned: Planned) -> Made:
        """What the converted model answered, judged: ``record`` has the row's columns. Raises what
        kept ``prepare`` from it."""
        if planned.cell in self.errors:
            raise self.errors[planned.cell]

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
        key = entry_key(
            do="reference",
            machinery=self.crew.staged.machinery,
            environment=environment.fingerprint,
            # A copy of a zoo file may read other weights beside it, which only its building tells.
            file=shown(model["file"]),
            sources=sorted(model["sources"].values()),
            model=cell.model,
            settings=self._settings,
            **({"cast": planned.cast} if planned.cast else {}),
        )
        job = {"do": "reference", "file": model["file"], "model": cell.model}
        job["precision"] = planned.cast
        return self._make(key, cell.version_set, "core", job, "reference", planned.label)

    def _preprocess(self, planned: Planned) -> Made:
        cell, reference = planned.cell, self.reference(planned)
        if reference.outcome is not None:
            return dataclasses.replace(reference, seconds=0.0, overhead=0.0)
        key = entry_key(
            do="preprocess",
            judged=[self.crew.staged.digests[file] for file in _JUDGING],
            upstream=reference.key,
            built_from=reference.record["sources"],
        )
        job = {
            "do": "preprocess",
            "preloads": ("keras",),
            "file": planned.model["file"],
            "model": cell.model,
            "precision": planned.cast,
        }
        needs = ("torch", "tensorflow")
        label = planned.label
        made = self._make(key, cell.version_set, "core", job, "preprocess", label, needs)
        stopped = made.record.get("stopped")
        if made.outcome is not None or stopped is None:
            return made
        return dataclasses.replace(made, key="", folder=None, outcome=Outcome.from_dict(stopped))

    def _make_artefact(self, planned: Planned, prefix: Tuple[str, ...]) -> Made:
        cell, model, hop = planned.cell, planned.model, self.hops[prefix[-1]]
        reference = self.reference(planned)
        upstream = self.converted(planned, len(prefix) - 1)
        if len(prefix) == 1 and planned.pictured and upstream.outcome is None:
            inputs = self.preprocessed(planned)
            upstream = upstream if inputs.outcome is None else inputs
        if upstream.outcome is not None:
            # without the folder that a hop of several formats leaves: this hop has made nothing
            return dataclasses.replace(upstream, folder=None, seconds=0.0, overhead=0.0)
        environment = self.crew.environment(cell.version_set, hop.environment)
        if isinstance(environment, Outcome):
            return Made(outcome=environment)
        key = entry_key(
            do="convert",
            machinery=self.crew.staged.machinery,
            environment=environment.fingerprint,
            upstream=upstream.key,
            # made anew under its old key where one of these has changed
            built_from=upstream.record["sources"],
            hop=hop.name,
            options=hop.options,
            source=self.crew.staged.digest_of(map(pathlib.Path, hop.files)),
            dims={name: spec["dims"] for name, spec in model["inputs"].items()},
        )
        job = {
            "do": "convert",
            "preloads": hop.preloads,
            "hop": hop.name,
            "hop_files": self._hop_files,
            "file": model["file"],
            "model": cell.model,
            "precision": planned.cast,
            "reference": str(reference.folder),
            "source": None if len(prefix) == 1 else str(upstream.folder),
            "dims": {name: spec["dims"] for name, spec in model["inputs"].items()},
        }
        stage, label = f"convert:{hop.name}", f"{planned.label}-{'-'.join(prefix)}"
        return self._make(key, cell.version_set, hop.environment, job, stage, label, hop.requires)

    def _make(self, key, version_set, environment, job, stage, label, requires=()) -> Made:
        """Find or make one entry of the store."""
        began = time.monotonic()
        with self._store.alone(key):
            entry = self._store.find(key)
            if entry is not None:
                folder, record = entry
                overhead = time.monotonic() - began
                if not record["ok"]:
                    outcome = Outcome.from_dict(record["outcome"])
                    return Made(key, None, record, outcome, 0.0, overhead)
                return Made(key, folder, record, None, 0.0, overhead)
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
        done = self._watch(f"{planned.label}-{cell.route}  run")
        try:
            with self._turns.turn(runtime.tunes):
                finished = self.crew.do(cell.version_set, runtime.environment, job, "run")
        finally:
            done()
        result = finished.result or {}
        if planned.pictured and planned.route.hops:
            columns = self.preprocessed(planned).record["fields"]
            result = {**result, "fields": {**columns, **result.get("fields", {})}}
        own = result.get("seconds", finished.seconds)
        overhead = max(0.0, time.monotonic() - began - own)
        outcome = finished.outcome or Outcome.from_dict(result["outcome"])
        return Made(artefact.key, artefact.folder, result, outcome, own, overhead)

    def close(self) -> None:
        self._ended.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.crew.close()

"""One run: from the options to the plan, the yard and the run's folder."""

from __future__ import annotations

import contextlib
import datetime
import functools
import pathlib
import shlex
import shutil
from typing import Any, Collection, Dict, List, Mapping, Optional, Sequence

import pytest

from switchyard import hops as hops_
from switchyard import routes as routes_
from switchyard import runtimes as runtimes_
from switchyard.runner import (
    cuda_driver,
    describing,
    environments,
    hop_files,
    nvml,
    options,
    resuming,
    rows,
    settling,
    staging,
    version_sets,
)
from switchyard.runner import plan as plan_
from switchyard.runner import sources as sources_
from switchyard.runner.artefacts import ArtefactStore
from switchyard.runner.crew import Crew
from switchyard.runner.expectations import Expectations, expected
from switchyard.runner.launches import Launch
from switchyard.runner.measurements import Measurements
from switchyard.runner.plan import Planned, Zoo
from switchyard.runner.progress import Progress
from switchyard.runner.selection import Selection
from switchyard.runner.workers import Limits
from switchyard.runner.yard import Made, Yard
from switchyard.tables import provenance
from switchyard.tables.writing import RunFolder
from switchyard.vocabulary import PASSING, Cell, Outcome

#: Cells that are converted ahead of the one that is asked for, per job.
AHEAD = 24


class Run:
    """What a pytest session over ``bench/`` holds. Made at collection; nothing is written
    before ``begin``, so that ``--collect-only`` leaves no trace."""

    def __init__(self, config: pytest.Config, progress: Progress):
        self.config = config
        self.progress = progress
        self.started = datetime.datetime.now(datetime.timezone.utc)
        option = config.getoption
        self.hop_files = [pathlib.Path(path).resolve() for path in option("--hop")]
        asked = [version_sets.find(name) for name in option("--version-set")]
        bases = {one.name: one.base for one in asked}
        self.sets = list(bases) or [options.DEFAULT_SET]
        number = options.cuda_number(config)
        self.card = None if number is None else nvml.find(number)
        if self.card is not None:
            cuda_driver.check(self.card)
        self.device = "cpu" if self.card is None else "cuda"
        self.staged = staging.stage(environments.cache_root())
        self.hops = hop_files.known(self.hop_files)
        self.runtimes = runtimes_.builtin()
        requires: Dict[str, List[str]] = {}
        for one in [*self.hops.values(), *self.runtimes.values()]:
            requires.setdefault(one.environment, []).extend(one.requires)
        cache = environments.cache_root()
        self.crew = Crew(
            self.staged,
            cache,
            cache / "logs" / f"run-{self.started:%Y%m%dT%H%M%S}-{id(self):x}",
            Limits(option("--stage-timeout"), option("--memory-limit")),
            requires,
            progress.say,
            self.card,
        )
        self.yard = Yard(
            self.crew,
            self.hops,
            self.runtimes,
            self.hop_files,
            option("--jobs"),
            progress.watch,
            self._enter,
        )
        self.measurements = Measurements(self)
        with contextlib.ExitStack() as undo:  # no worker outlives a run that could not be made
            undo.callback(self.yard.close)
            self.zoos: Dict[str, Zoo] = {name: self._zoo(name) for name in self.sets}
            self.planned: List[Planned] = self._plan()
            self.expectations = self._expected(bases)
            undo.pop_all()
        self.folder: Optional[RunFolder] = None
        self.selection = Selection([])
        self.resumed: frozenset = frozenset()
        self.timed: frozenset = frozenset()
        self._answered: frozenset = frozenset()
        self._whole, self._measures = False, True
        self._recorded = 0
        self._beside = 0

    @property
    def _command(self) -> List[str]:
        """How this session was started."""
        return ["pytest", *map(str, self.config.invocation_params.args)]

    def _plan(self) -> List[Planned]:
        option = self.config.getoption
        here = {n: one for n, one in self.runtimes.items() if self.card or "cpu" in one.devices}
        routes = plan_.chosen_routes(option("--route"), self.hops, here)
        planned = plan_.plan(
            self.zoos, routes, self.device, option("--tier"), option("--model"),
            routes_named=bool(option("--route")), tf32=option("--tf32"),
            precisions=option("--precision"),
        )  # fmt: skip
        shown = {one.route.name: one.route for one in planned}.values()
        for name in list(self.hops)[len(hops_.builtin()) :]:  # the user's
            if said := routes_.unused(name, shown, self.hops, here, option("--tier")):
                self.progress.say(said)
        return planned

    def _expected(self, bases: Mapping[str, str]) -> Dict[str, Expectations]:
        folder = options.expectations_folder(self.config)
        found = {n: expected(folder, n, self.device, bases.get(n, "")) for n in self.sets}
        if self.config.getoption("--expectations") is None:  # the committed: the built-in zoo's
            for name, zoo in self.zoos.items():
                found[name].forget(describing.own_models(zoo, self.staged))
        return found

    def _zoo(self, version_set: str) -> Zoo:
        """The zoo as one version set sees it; where it cannot be had, every file's fault."""
        files = describing.zoo_files(self.config.getoption("--zoo"), self.staged)
        environment = self.crew.environment(version_set, "core")
        if isinstance(environment, Outcome):
            return Zoo({}, {}, environment)
        store = ArtefactStore(self.crew.cache / "descriptions", self.staged.digests)

        said = []

        def ask(job: dict) -> dict:
            if not said:
                said.append(f"asking {version_set} what the zoo holds")
                self.progress.say(said[0])
            finished = self.crew.do(version_set, "core", job, "import")
            if finished.result is not None:
                return finished.result
            return {"ok": False, "outcome": finished.outcome.as_dict()}

        return describing.describe(files, environment, self.staged, store, ask)

    def expectations_of(self, cell: Cell) -> Expectations:
        return self.expectations[cell.version_set]

    def begin(
        self,
        selected: Sequence[Planned],
        whole: bool,
        timed: Collection[Cell] = (),
        ordered: bool = True,
    ) -> None:
        """Write down every planned cell, before anything runs; ``timed`` are those that will be
        measured if they pass, ``ordered`` whether they come as planned. Raises pytest.UsageError
        where the run's folder cannot be made, or is not to be gone on with."""
        self.timed = frozenset(timed)
        every = plan_.with_natives(selected, self.runtimes)
        asked = {planned.cell for planned in selected}
        self.selection = Selection(every, {one.cell for one in every} - asked)
        tier = self.config.getoption("--tier")
        results = options.results_folder(self.config)
        given, sources = self.config.getoption("--resume"), sources_.of(self)
        asked_for = resuming.asked_for(self.config, self.sets)
        answered: Dict[Cell, resuming.Answered] = {}
        if given is None:
            try:
                self.folder = RunFolder.create(
                    results,
                    version_sets=self.sets,
                    devices=[self.device],
                    tier=tier,
                    started=self.started,
                )
            except OSError as error:
                raise options.unwritable(results, error) from error
        else:
            self.folder = resuming.reopen(
                given, results, sources, asked_for, functools.partial(sources_.lock_of, self)
            )
            self._measures = not asked <= self.folder.done
            if self._measures:
                resuming.reopen_untimed(self.folder, self.selection.unasked)
            answered = resuming.answered(self.folder)
        self.resumed = self.folder.done
        settling.keep(self.crew.known(), self.folder.path)
        whole = resuming.record_beginning(
            self.folder,
            sources,
            asked_for,
            options.recorded(self.config),
            shlex.join(self._command),
            resumed=given is not None,
            whole=whole,
            measures=self._measures,
            ordered=ordered,
        )
        unused = {name: {staging.shown(file): outcome.message
                         for file, (outcome, _) in zoo.errors.items()}
                  for name, zoo in self.zoos.items() if zoo.errors}  # fmt: skip
        self.folder.record(zoo_failures=provenance.published_all(unused, staging.PROJECT))
        self._whole = whole and not any(
            self.config.getoption(name) for name in ("--model", "--route", "--zoo", "--precision")
        )
        self._record_provenance()
        self.folder.plan(
            {
                planned.cell: {
                    "family": planned.model["family"],
                    "hops": ">".join(planned.route.hops),
                    "tier": tier,
                }
                for planned in every
            }
        )
        for cell, known in answered.items():
            if cell in self.selection:
                resuming.enter_again(self.folder, cell, known)
            if cell in self.selection.unasked:
                self.done(cell)
        self._answered = self.resumed | {cell for cell in answered if cell in self.selection}
        self.selection.answered_before(self._answered)
        self._beside = self.crew.other_runs()
        if self._beside:
            self.progress.say(
                "another run is active on this machine, and each distorts the other's timings: run "
                "them one after the other"
            )
        self.progress.begin(len(asked), self.folder.path)

    def _record_provenance(self) -> None:
        """As the run begins: of one that is killed a reader knows as much."""
        known = self.crew.known()
        self._recorded = len(known)
        about = provenance.collect(
            root=staging.PROJECT,
            command=self._command,
            options=options.recorded(self.config),
            version_sets=resuming.environments(self.folder, self.sets, known),
            whole_selection=self._whole,
            started=self.started,
        )
        if self.card is not None:
            before = (self.folder.about.get("card") or {}).get("used_mib_at_beginning")
            used = self.card.sample().used_mib if before is None else before
            about["card"] = {**self.card.about(), "used_mib_at_beginning": used}
        self.folder.record(**{**about, **resuming.of_the_beginning(self.folder)})

    def _record_environments(self) -> None:
        """As soon as they are known: a run that is killed has them all the same."""
        known = self.crew.known()
        if len(known) != self._recorded:
            self._recorded = len(known)
            self.folder.record(sets=resuming.environments(self.folder, self.sets, known))

    def answer(self, planned: Planned) -> Outcome:
        """How far the cell came up to ``compare``; converts ahead of it where jobs allow."""
        cell = planned.cell
        if cell in self._answered:
            return Outcome.from_dict(self.folder.row(cell))
        self._prepare(planned)
        return self.yard.answer(planned).outcome

    def passed(self, planned: Planned) -> bool:
        """Whether its answers were good; where none could be had, which is for its own items to
        raise, they were not."""
        self._prepare(planned)
        return planned.cell not in self.yard.errors and self.answer(planned).verdict in PASSING

    def _prepare(self, planned: Planned) -> None:
        """Convert whole models ahead, side by side, so that measuring can then be alone."""
        wanted = self.selection.ahead(planned, AHEAD * self.config.getoption("--jobs"))
        for one in wanted:
            self.folder.state(one.cell, "running")
        if wanted:
            self.yard.prepare(wanted)

    def _enter(self, planned: Planned, made: Made) -> None:
        """The row of a cell, as far as it is known after ``compare``; as soon as it is, so that
        an interruption loses none."""
        cell = planned.cell
        fields: Dict[str, Any] = dict(made.record.get("fields", {}))
        seconds = 0.0
        hops = planned.route.hops if self.yard.unhosted(planned) is None else ()
        for depth, hop in enumerate(hops, start=1):
            part = self.yard.converted(planned, depth)
            if part.folder is None or part.outcome is not None:
                break
            seconds += part.record["convert_seconds"]
            fields["source_changed"] = part.record["source_changed"] or fields.get("source_changed")
            if part.record["facts"].get("opset") is not None:
                fields["opset"] = part.record["facts"]["opset"]
            stage = f"convert:{hop}"
            self.folder.figure(cell, stage, "seconds", part.record["convert_seconds"], "s")
            self.folder.figure(cell, stage, "size", part.record["artefact_bytes"], "bytes")
        else:
            if hops:
                fields["convert_seconds"] = seconds
        for figure in made.record.get("figures", []):
            self.folder.figure(cell, figure["condition"], figure["metric"], figure["value"])
        self._keep_artefact(planned, made)
        # Last: where a run goes on, what has a verdict is not asked again.
        self.folder.update(
            cell,
            **rows.outcome_columns(made.outcome),
            **rows.expectation_columns(self.expectations_of(cell), cell, made.outcome),
            artefact_key=made.key or None,
            stage_seconds=made.seconds,
            harness_seconds=made.overhead,
            **rows.finite(fields),
        )
        self._record_environments()
        if cell in self.selection.unasked:
            self.done(cell)
        else:
            self.progress.answered()

    def _keep_artefact(self, planned: Planned, made: Made) -> None:
        if not self.config.getoption("--keep-artifacts") or not planned.route.hops:
            return
        if made.folder is not None:
            name = f"{planned.cell.short}.{planned.cast}" if planned.cast else planned.cell.short
            target = self.folder_of(planned.cell, "artifacts") / name
            shutil.copytree(made.folder, target, dirs_exist_ok=True)

    def measured(self, planned: Planned) -> List[Launch]:
        """The launches of a cell, alone on the machine; its row's columns are filled."""
        self._prepare(planned)
        return self.measurements.of(planned)

    def measured_before(self, planned: Planned) -> bool:
        """Whether it was done with before a resumed run was interrupted: that stays as it is."""
        return planned.cell in self.resumed

    def folder_of(self, cell: Cell, what: str) -> pathlib.Path:
        """Where files of a cell are kept in the run's folder: of several sets each has its own."""
        kept = self.folder.path / what
        return kept / cell.version_set if len(self.sets) > 1 else kept

    def recorded_samples(self, cell: Cell) -> List[float]:
        """The durations of a resumed cell, seconds, all launches in order."""
        launches = self._samples_before.get(cell, [])
        return [duration for one in launches for duration in one.durations_s]

    @functools.cached_property
    def _samples_before(self) -> Mapping[Cell, Sequence[Any]]:
        from switchyard.tables.journal import replay

        return replay(self.folder.path).ledger.samples

    def done(self, cell: Cell) -> None:
        self.folder.state(cell, "done")

    def ended(self, cell: Cell, answered: bool) -> None:
        """Its last item has ended. It is done if all were ``answered``, else interrupted, to be
        taken up where the run goes on; what was done earlier stays so."""
        if cell not in self.resumed:
            learnt = answered and self.folder.row(cell)["verdict"]
            self.folder.state(cell, "done" if learnt else "interrupted")

    def leave(self) -> None:
        """End every process of the run; once more does nothing."""
        self.measurements.close()
        self.yard.close()

    def end(self, whole: bool) -> None:
        """Close everything; cells that were under way become ``interrupted``."""
        if self.folder is not None:
            self._beside = max(self._beside, self.crew.other_runs())
        self.leave()
        if self.folder is None:
            return
        settling.keep(self.crew.known(), self.folder.path)  # those first needed on the way
        about: Dict[str, Any] = {"other_runs": self._beside}
        about["sets"] = resuming.environments(self.folder, self.sets, self.crew.known())
        if self.card is not None:
            used = self.card.sample().used_mib
            about["card"] = {**self.folder.about["card"], "used_mib_at_end": used}
        self.folder.close(whole=(whole or not self._measures) and self._whole, **about)

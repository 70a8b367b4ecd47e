"""The pytest plugin: options, parametrization over cells, their order, and their fixtures.

Imports no framework and, until a run has ended, no pandas.
"""

from __future__ import annotations

import pathlib
from typing import Any, Dict, List, NamedTuple, Optional

import pytest

from switchyard.runner import options
from switchyard.runner.asked import SUITES, TIMED, CellUnderTest, asks
from switchyard.runner.ending import Ending
from switchyard.runner.expectations import AsExpected
from switchyard.runner.plan import Planned
from switchyard.runner.progress import Progress
from switchyard.runner.remaining import Remaining
from switchyard.runner.session import Run
from switchyard.runner.staging import PROJECT
from switchyard.runner.summary import write_summary
from switchyard.vocabulary import NotUsable

RUN = pytest.StashKey[Run]()
PROGRESS = pytest.StashKey[Progress]()


class Parameter(NamedTuple):
    """What an item is about. ``place`` is the cell's in the plan: sorting by it hashes nothing."""

    place: int
    planned: Planned
    suite: str


PLANNED = pytest.StashKey[Parameter]()
CHANGES = pytest.StashKey[List[str]]()
ENDED = pytest.StashKey[bool]()
REMAINING = pytest.StashKey[Remaining]()


def pytest_addoption(
    parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager
) -> None:
    options.add(parser)
    if not (pluginmanager.hasplugin("xdist") or pluginmanager.hasplugin("xdist.plugin")):
        # Where pytest-xdist is not installed its option still deserves its answer.
        parser.getgroup("switchyard")._addoption(
            "-n", "--numprocesses", dest="numprocesses", default=None, help="use --jobs instead"
        )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "suite(name): which question a bench file asks")
    config.stash[PROGRESS] = Progress(config)
    if _asks_for_bench(config):
        if config.getoption("--benchmark-only", None) is None:
            raise pytest.UsageError(
                "bench/ needs pytest-benchmark: leave out what keeps it from being loaded "
                "(-p no:benchmark), or install it"
            )
        options.check(config)
    elif (given := config.getoption("--resume", None)) is not None:
        # An option with an optional value takes the path behind it, and pytest then runs whatever
        # stands in its configuration.
        taken = pathlib.Path(given).resolve() == PROJECT / "bench"
        run = "" if taken or given == "newest" else f" {given}"
        raise pytest.UsageError(
            f"--resume goes on with a run of bench/: pytest bench/ --resume{run}"
        )


def _asks_for_bench(config: pytest.Config) -> bool:
    bench = PROJECT / "bench"
    for argument in config.args:
        path = pathlib.Path(str(argument).split("::")[0]).resolve()
        if path == bench or bench in path.parents or path in bench.parents:
            return True
    return False


def _run(config: pytest.Config) -> Run:
    """The session's run, made before the first bench file is collected."""
    run = config.stash.get(RUN, None)
    if run is None:
        try:
            run = Run(config, config.stash[PROGRESS])
        except NotUsable as error:
            raise pytest.UsageError(str(error)) from error
        except OSError as error:
            if options.is_of_cache(error):
                raise options.unusable_cache(error) from error
            raise
        config.stash[RUN] = run
    return run


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Made here, so that what is wrong with an option is a usage error, said once, and not an
    error in collecting each bench file."""
    if _asks_for_bench(session.config):
        _run(session.config)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "cell" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("suite")
    if marker is None:  # somebody else's fixture of that name
        return
    suite = marker.args[0]
    run = _run(metafunc.config)
    parameters = []
    for place, planned in enumerate(run.planned):
        if not asks(suite, planned):
            continue
        marks = []
        wanted = run.expectations_of(planned.cell).of(planned.cell)
        if wanted is not None and wanted.suite == suite:
            marks.append(
                pytest.mark.xfail(
                    reason=f"{wanted}: {wanted.reason}", strict=True, raises=AsExpected
                )
            )
        parameter = Parameter(place, planned, suite)
        parameters.append(pytest.param(parameter, id=planned.cell.id, marks=marks))
    metafunc.parametrize("cell", parameters, indirect=True)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    """Cell by cell, and within one in the order of the suites."""
    run = config.stash.get(RUN, None)
    if run is None:
        return
    left_out = []
    for item in list(items):
        parameter = getattr(item, "callspec", None) and item.callspec.params.get("cell")
        if isinstance(parameter, Parameter):
            item.stash[PLANNED] = parameter
            if _skipped_as_a_benchmark(config, item):
                left_out.append(item)
        elif parameter is not None and item.get_closest_marker("suite"):
            # pytest's stand-in for a suite that asks nothing of this plan
            left_out.append(item)
    if left_out:  # pytest has counted them
        gone = set(map(id, left_out))
        items[:] = [item for item in items if id(item) not in gone]
        config.hook.pytest_deselected(items=left_out)

    suites = {suite: place for place, suite in enumerate(SUITES)}
    last = (len(run.planned), 0)

    def place(item):
        parameter = item.stash.get(PLANNED, None)
        return (parameter.place, suites[parameter.suite]) if parameter else last

    items.sort(key=place)


def _skipped_as_a_benchmark(config: pytest.Config, item: pytest.Item) -> bool:
    """Whether ``--benchmark-only`` or ``--benchmark-skip`` leaves it out: better not selected at
    all than skipped once its cell has been planned, or even measured."""
    benchmarks = config._benchmarksession
    return benchmarks.skip if "benchmark" in item.fixturenames else benchmarks.only


#: Options with which pytest only shows what there is, or what it would do.
_SHOWING = ("collectonly", "setupplan", "showfixtures", "show_fixtures_per_test")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Plan what the selection left, once nothing more can be deselected."""
    run = session.config.stash.get(RUN, None)
    if run is None or any(session.config.getoption(name) for name in _SHOWING):
        return
    found = [item.stash[PLANNED] for item in session.items if PLANNED in item.stash]
    cells = {one.planned.cell: one.planned for one in found}
    timed = {one.planned.cell for one in found if one.suite in TIMED}
    if cells:
        remaining = Remaining(one.planned.cell for one in found)
        every = sum(asks(suite, planned) for planned in run.planned for suite in SUITES)
        session.config.pluginmanager.register(Ending(session.config, run, _close))
        places = [one.place for one in found]
        run.begin(
            list(cells.values()),
            whole=remaining.total == every,
            timed=timed,
            ordered=places == sorted(places),
        )
        session.config.stash[REMAINING] = remaining
        _spare_the_screen(session.config, len(cells))


#: Cells from which on pytest-benchmark's own table is left out unless it is asked for.
_MANY_CELLS = 40


def _spare_the_screen(config: pytest.Config, cells: int) -> None:
    """Hundreds of lines of pytest-benchmark's table would push the matrix off the screen; the
    figures are in the run's table and in its JSON, and ``--benchmark-verbose`` brings it back."""
    benchmarks = getattr(config, "_benchmarksession", None)
    if benchmarks is None or cells <= _MANY_CELLS or benchmarks.verbose:
        return
    # Its histogram and its comparison with an earlier run are made along with that table.
    if not benchmarks.histogram and not benchmarks.compare:
        benchmarks.quiet = True


@pytest.fixture
def cell(request: pytest.FixtureRequest) -> CellUnderTest:
    """The cell this item asks about."""
    return CellUnderTest(request.config.stash[RUN], request.param.planned)


class _Replay:
    """A clock that is the local sum of what was measured elsewhere, and what advances it."""

    def __init__(self, durations: List[float]):
        self._durations = iter(durations)
        self._now = 0.0
        self.count = len(durations)

    def clock(self) -> float:
        return self._now

    def next(self) -> None:
        self._now += next(self._durations)


@pytest.fixture
def replay(cell: CellUnderTest, request: pytest.FixtureRequest) -> _Replay:
    """The cell's durations behind a clock that pytest-benchmark can read.

    Sets the timer's mark before the ``benchmark`` fixture is made, which reads it once.
    """
    replayed = _Replay(cell.durations())
    request.node.add_marker(pytest.mark.benchmark(timer=replayed.clock, group=cell.model))
    return replayed


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    report = yield
    parameter = item.stash.get(PLANNED, None)
    remaining = item.config.stash.get(REMAINING, None)
    if parameter is not None and remaining is not None:
        cell = parameter.planned.cell
        if remaining.heard(cell, call):
            _end_cell(item.config, parameter.planned, remaining.answered(cell))
    return report


def _end_cell(config: pytest.Config, planned: Planned, answered: bool) -> None:
    run = config.stash[RUN]
    run.ended(planned.cell, answered)
    row = run.folder.row(planned.cell)
    config.stash[PROGRESS].cell_done(_line(row, planned, several_sets=len(run.sets) > 1))


def _line(row: Dict[str, Any], planned: Planned, several_sets: bool) -> str:
    """One cell in a line: its verdict, where it stopped and why, and what was measured; before it
    the version set, where the run is of several."""
    name = f"{planned.label}-{planned.cell.route}"
    parts = [f"{name:<48} {row['verdict'] or '-':<12}"]
    if several_sets:
        parts.insert(0, planned.cell.version_set)
    if row["kind"]:
        parts.append(f"{row['stage']} {row['kind']} {row['operator'] or ''}".rstrip())
    elif row["mse"] is not None:
        parts.append(f"mse {row['mse']:.1e}")
    if row["latency_median_ms"] is not None:
        parts.append(f"{row['latency_median_ms']:.3g} ms")
    if row["memory_model_data_mib"] is not None:
        parts.append(f"{row['memory_model_data_mib']:.0f} MiB")
    if row["state"] == "interrupted":
        parts.append("<- interrupted")
    elif row["expected"] in ("new", "changed"):
        parts.append(f"<- {row['expected']}")
    return "  ".join(parts)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report: pytest.TestReport, config: pytest.Config):
    """Cells have lines of their own; pytest's letters would only tear them apart."""
    if config.stash.get(RUN, None) is None or config.get_verbosity() > 0:
        return None
    if config.stash.get(ENDED, False):  # the short summary wants pytest's own words
        return None
    if not hasattr(report, "wasxfail") and report.when != "call" and report.passed:
        return None
    if hasattr(report, "wasxfail"):
        category = "xfailed" if report.skipped else "xpassed"
    else:
        category = report.outcome
        if report.failed and report.when != "call":
            category = "error"
    return category, "", ""


def pytest_runtestloop(session: pytest.Session) -> Optional[bool]:
    if session.config.stash.get(RUN, None) is not None:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and session.config.get_verbosity() <= 0:
            reporter.showfspath = False
    return None


@pytest.hookimpl(optionalhook=True)  # not there where pytest-benchmark is not
def pytest_benchmark_update_machine_info(config, machine_info) -> None:
    """The environment under test stands in pytest-benchmark's own JSON as well."""
    run = config.stash.get(RUN, None)
    if run is not None:
        machine_info["switchyard"] = {
            f"{one.version_set}/{one.name}": {
                "python": one.python_version,
                "packages": dict(one.packages),
            }
            for one in run.crew.known()
        }


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(config, benchmarks, output_json) -> None:
    """A benchmark is known by its cell, and not by all that the runner holds of it, with this
    machine's paths."""
    for one in output_json["benchmarks"]:
        if "cell" in (one.get("params") or {}):
            one["params"] = {"cell": one["param"]}


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus) -> None:
    _close(session, exitstatus)


def _close(session: pytest.Session, exitstatus: int) -> None:
    """End the run, once: take over what is accepted, close its table and its workers."""
    config = session.config
    run = config.stash.get(RUN, None)
    if run is None or config.stash.get(ENDED, False):
        return
    config.stash[PROGRESS].end()
    config.stash[ENDED] = True
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    if run.folder is not None:
        try:
            if config.getoption("--accept") and exitstatus != pytest.ExitCode.INTERNAL_ERROR:
                config.stash[CHANGES] = _accept(run, config.getoption("--reason"))
        except OSError as error:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            config.stash[CHANGES] = [
                f"could not be written: {error}; make the folder writable and accept in another "
                "run, or name another one with --expectations"
            ]
        finally:
            run.end(whole=ended)
    else:
        run.yard.close()
    broken = any(zoo.errors or zoo.unusable for zoo in run.zoos.values())
    if broken and exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _accept(run: Run, reason: str) -> List[str]:
    """Take the outcomes of the finished cells that were asked for as expected, and say what
    changed."""
    lines: List[str] = []
    for version_set, table in run.expectations.items():
        outcomes = [
            (planned.cell, run.answer(planned))
            for planned in run.selection.cells
            if planned.cell.version_set == version_set
            and planned.cell not in run.selection.unasked
            and run.folder.row(planned.cell)["state"] == "done"
        ]
        changes = table.accept(outcomes, reason)
        # One that was never written is, unless a derived set's base goes on speaking for it.
        if table.changed or (outcomes and not table.starts_from):
            table.write()
        changed = sum(not line.startswith("!") for line in changes)
        lines += [f"{table.path.name}: {changed} changed", *changes]
    return lines


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_terminal_summary(terminalreporter, exitstatus, config: pytest.Config):
    try:  # pytest-benchmark raises here what --benchmark-compare-fail is to fail by
        return (yield)
    finally:
        run = config.stash.get(RUN, None)
        if run is not None:
            write_summary(terminalreporter, run, config.stash.get(CHANGES, None))

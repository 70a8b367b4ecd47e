"""The options of ``pytest bench/``: where their defaults lie, and what is wrong with a wrong one.

No run is made here: either the checks are asked directly, or pytest ends before it collects.
"""

from __future__ import annotations

import datetime
import errno
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from switchyard.runner import options, plugin
from switchyard.runner.session import Run
from switchyard.runtimes import builtin

ROOT = Path(__file__).resolve().parents[1]
USAGE_ERROR = 4


@pytest.fixture
def typed(tmp_path):
    """``pytest`` with these arguments, in the checkout: status and output."""

    def run(*arguments):
        words = [sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *arguments]
        ended = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True,
                               text=True, timeout=120, stdin=subprocess.DEVNULL)  # fmt: skip
        return ended.returncode, ended.stdout + ended.stderr

    return run


def check(**given):
    """Ask the checks about options alone, ``--name`` given as ``name``."""
    given = {"reason": "", "accept": False, "precision": [], "zoo": [], "hop": [], **given}
    config = types.SimpleNamespace(
        getoption=lambda name: given.get(name.lstrip("-").replace("-", "_")),
        option=types.SimpleNamespace(
            collectonly=given.get("collectonly", False),
            benchmark_cprofile=given.get("benchmark_cprofile"),
        ),
    )
    options.check(config)


# --- another project's folder


@pytest.fixture
def elsewhere(tmp_path):
    """A zoo in a project that has a pytest.ini of its own."""
    project = tmp_path / "other"
    project.mkdir()
    (project / "pytest.ini").write_text("[pytest]\n")
    (project / "z.py").write_text("")
    return project


def test_the_defaults_lie_in_the_checkout_whatever_pytest_takes_for_its_root(elsewhere):
    ask = (
        "import pytest, sys\n"
        "from switchyard.runner import options, plugin\n"
        "class Ask:\n"
        "    @pytest.hookimpl(trylast=True)\n"
        "    def pytest_configure(self, config):\n"
        "        print('root', config.rootpath)\n"
        "        print('bench', plugin._asks_for_bench(config))\n"
        "        print('results', options.results_folder(config))\n"
        "        print('expectations', options.expectations_folder(config))\n"
        "        raise pytest.UsageError('asked')\n"
        "sys.exit(pytest.main(sys.argv[1:], plugins=[Ask()]))\n"
    )
    command = [sys.executable, "-c", ask, "--zoo", elsewhere / "z.py", "bench"]
    ended = subprocess.run([str(word) for word in command], cwd=ROOT, capture_output=True,
                           text=True, timeout=120)  # fmt: skip
    said = dict(line.split(" ", 1) for line in ended.stdout.splitlines() if " " in line)
    assert said["root"] == str(elsewhere)  # else nothing is tested here
    assert said["bench"] == "True"
    assert said["results"] == str(ROOT / "results" / "runs")
    assert said["expectations"] == str(ROOT / "bench" / "expectations")


def test_options_are_checked_also_where_pytest_took_another_root(typed, elsewhere):
    status, output = typed("--zoo", elsewhere / "z.py", "bench", "--accept")
    assert status == USAGE_ERROR and "--accept needs --reason" in output, output


def test_results_lie_where_they_were_asked_for_whatever_folder_a_process_works_in(
    monkeypatch, tmp_path
):
    """The measured process, which records a cell's memory, works in the folder of its log."""
    monkeypatch.chdir(tmp_path)
    config = types.SimpleNamespace(getoption={"--results": "out"}.get)
    assert options.results_folder(config) == tmp_path / "out"


# --- the folder of expectations


def test_expectations_that_are_not_there_are_a_usage_error_unless_they_are_to_be_made(tmp_path):
    with pytest.raises(pytest.UsageError, match="--expectations .*nosuch: there is no such folder"):
        check(expectations=str(tmp_path / "nosuch"))
    check(expectations=str(tmp_path / "nosuch"), accept=True, reason="first")
    check(expectations=str(tmp_path))
    assert not (tmp_path / "nosuch").exists()


@pytest.mark.parametrize("accepts", [{}, {"accept": True, "reason": "first"}])
def test_expectations_that_are_a_file_are_a_usage_error(tmp_path, accepts):
    file = tmp_path / "torch2.13-tf2.21-cpu.csv"
    file.write_text("")
    with pytest.raises(pytest.UsageError, match="this is no folder"):
        check(expectations=str(file), **accepts)


def test_a_mistyped_folder_of_expectations_is_said_before_anything_is_collected(typed):
    status, output = typed("bench", "--collect-only", "--expectations", "bench/expectatoins")
    assert status == USAGE_ERROR and "bench/expectatoins: there is no such folder" in output


# --- the folder of results


@pytest.mark.parametrize("name, why", [
    ("file", "this is no folder"),
    ("file/below", "Not a directory"),
    ("dangling", "No such file"),
    ("/proc/foo", "No such file"),
])  # fmt: skip
def test_results_that_cannot_be_written_are_a_usage_error(tmp_path, name, why):
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    given = str(tmp_path / name)  # an absolute name stays what it is
    with pytest.raises(pytest.UsageError, match=f"--results {given}: a run's folder .*{why}"):
        check(results=given)
    check(results=given, collectonly=True)


def test_to_check_the_folder_of_results_makes_none(tmp_path):
    check(results=str(tmp_path / "deep" / "down"))
    assert list(tmp_path.iterdir()) == []


def test_results_that_cannot_be_written_end_pytest_before_it_collects(typed):
    status, output = typed("bench", "--results", "/proc/foo", "-k", "no_such_cell_at_all")
    assert status == USAGE_ERROR and "INTERNALERROR" not in output
    assert "--results /proc/foo: a run's folder cannot be made there" in output
    assert "collected" not in output


def test_results_that_became_unwritable_meanwhile_are_a_usage_error_as_well(tmp_path):
    (tmp_path / "file").write_text("")
    run = Run.__new__(Run)
    given = {"--results": str(tmp_path / "file"), "--resume": None, "--tier": "smoke"}
    run.config = types.SimpleNamespace(getoption=lambda name: given.get(name, []))
    run.zoos, run.hop_files, run.runtimes, run.sets, run.device = {}, [], builtin(), ["s"], "cpu"
    run.started = datetime.datetime.now(datetime.timezone.utc)
    run.staged, run.card = types.SimpleNamespace(path=tmp_path), None
    run.crew = types.SimpleNamespace(known=list)
    with pytest.raises(pytest.UsageError, match="this is no folder"):
        run.begin([], whole=False)


# --- the cache


def test_a_cache_that_cannot_be_used_is_a_usage_error_that_names_it(typed, monkeypatch):
    monkeypatch.setenv("SWITCHYARD_CACHE", "/proc/nowhere")
    status, output = typed("bench", "--collect-only")
    assert status == USAGE_ERROR and "INTERNALERROR" not in output, output
    assert "the cache /proc/nowhere cannot be used: " in output and "set SWITCHYARD_CACHE" in output


@pytest.mark.parametrize("error, of_cache", [
    (PermissionError(errno.EACCES, "no", "/home/me/.cache/switchyard/artefacts/ab/ab.lock"), True),
    (PermissionError(errno.EACCES, "no", "/home/me"), True),  # in which it would be made
    (OSError(errno.ENOSPC, "No space left on device"), True),
    (PermissionError(errno.EACCES, "no", "/home/me/zoo.py"), False),
    (OSError(errno.EMFILE, "Too many open files"), False),
])  # fmt: skip
def test_whether_an_error_is_the_cache_s(monkeypatch, error, of_cache):
    monkeypatch.setenv("SWITCHYARD_CACHE", "/home/me/.cache/switchyard")
    assert options.is_of_cache(error) is of_cache


# --- a container's share of the machine


@pytest.mark.parametrize("cores, mib, jobs", [
    (None, None, 8),
    (2.5, None, 2),
    (0.5, None, 1),
    (None, 3 * 4096 + 1, 3),
    (None, 1024, 1),
    (64.0, 1 << 20, 8),
])  # fmt: skip
def test_as_many_jobs_as_the_container_has_cores_and_memory_for(monkeypatch, cores, mib, jobs):
    monkeypatch.setattr(options.os, "sched_getaffinity", lambda process: range(8), raising=False)
    machine = types.SimpleNamespace(total=1 << 40)
    monkeypatch.setattr(options.psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(options.provenance, "cgroup_cores", lambda: cores)
    monkeypatch.setattr(options.provenance, "cgroup_memory_mib", lambda: mib)
    assert options.default_jobs() == jobs


# --- pytest-benchmark and its options


def test_without_pytest_benchmark_other_tests_run_and_a_bench_is_a_usage_error(typed):
    status, output = typed("-p", "no:benchmark", "--collect-only", "-q", "tests/test_turns.py")
    assert status == 0 and "INTERNALERROR" not in output, output
    status, output = typed("-p", "no:benchmark", "bench", "--collect-only")
    assert status == USAGE_ERROR and "bench/ needs pytest-benchmark" in output, output


def test_what_draws_for_the_benchmark_histogram_is_installed_with_switchyard():
    pyproject = (ROOT / "pyproject.toml").read_text()
    (one,) = re.findall(r'^ *"(pytest-benchmark\b[^"]*)",$', pyproject, re.MULTILINE)
    assert Requirement(one).extras == {"histogram"}


@pytest.mark.parametrize("given, quiet", [
    ({}, True), ({"verbose": True}, False), ({"histogram": "h"}, False), ({"compare": True}, False),
])  # fmt: skip
def test_the_table_of_many_benchmarks_is_left_out_unless_something_comes_with_it(given, quiet):
    known = {"quiet": False, "verbose": False, "histogram": False, "compare": None, **given}
    benchmarks = types.SimpleNamespace(**known)
    config = types.SimpleNamespace(_benchmarksession=benchmarks)
    plugin._spare_the_screen(config, 40)
    assert benchmarks.quiet is False
    plugin._spare_the_screen(config, 41)
    assert benchmarks.quiet is quiet


# --- the device, and what needs one


@pytest.mark.parametrize("given, number", [
    ({}, None),
    ({"device": "cpu"}, None),
    ({"gpu": True}, 0),
    ({"device": "cuda"}, 0),
    ({"device": "cuda:2"}, 2),
    ({"gpu": True, "device": "cuda:1"}, 1),
])  # fmt: skip
def test_the_card_that_is_asked_for(given, number):
    config = types.SimpleNamespace(getoption=lambda name: given.get(name.lstrip("-")))
    assert options.cuda_number(config) == number


@pytest.mark.parametrize("given, says", [
    ({"device": "cuda1"}, "--device cuda1: known are cpu, cuda and cuda:N"),
    ({"gpu": True, "device": "cpu"}, "--gpu and --device cpu contradict each other"),
    ({"record_memory": True}, "--record-memory records a CUDA device: add --gpu"),
    ({"tf32": True, "device": "cpu"}, "--tf32 is a mode of a CUDA device: add --gpu"),
    ({"gpu": True, "precision": ["tf32"]}, "TF32 is a mode of a GPU: --gpu --tf32"),
    ({"precision": ["flaot16"]}, "did you mean float16"),
    ({"reason": "a mistake"}, "--reason does nothing without --accept"),
    ({"accept": True, "reason": "  "}, "--accept needs --reason"),
    ({"zoo": [__file__], "accept": True, "reason": "theirs"}, "needs --expectations DIR"),
    ({"benchmark_cprofile": "cumtime"}, "--benchmark-cprofile has nothing to profile"),
    ({"zoo": ["no_such_zoo.py"]}, "--zoo no_such_zoo.py: there is no such file"),
    ({"hop": ["no_such_hop.py"]}, "--hop no_such_hop.py: there is no such file"),
])  # fmt: skip
def test_what_contradicts_itself_is_a_usage_error(given, says):
    with pytest.raises(pytest.UsageError, match=re.escape(says)):
        check(**given)


def test_what_is_expected_of_a_family_of_the_zoo_is_accepted_into_its_table(tmp_path):
    family = str(ROOT / "models_zoo" / "convnets.py")
    for given in ({"zoo": ["builtin", family]}, {"zoo": [__file__], "expectations": str(tmp_path)}):
        check(accept=True, reason="theirs", collectonly=True, **given)


def test_what_needs_a_card_is_no_error_where_one_is_asked_for():
    check(gpu=True, record_memory=True, tf32=True, precision=["float16"], collectonly=True)

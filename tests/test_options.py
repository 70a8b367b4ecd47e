"""The options of ``pytest bench/``: where their defaults lie, and what is wrong with a wrong one.

No run is made here: either the checks are asked directly, or pytest ends before it collects.
"""

from __future__ import annotations

import datetime
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from switchyard.runner import options
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
        option=types.SimpleNamespace(collectonly=given.get("collectonly", False)),
    )
    options.check(config, [])


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


# --- pytest-benchmark's options


def test_what_draws_for_the_benchmark_histogram_is_installed_with_switchyard():
    pyproject = (ROOT / "pyproject.toml").read_text()
    (one,) = re.findall(r'^ *"(pytest-benchmark\b[^"]*)",$', pyproject, re.MULTILINE)
    assert Requirement(one).extras == {"histogram"}

"""The options of ``pytest bench/``: where their defaults lie, and what is wrong with a wrong one.

No run is made here: either the checks are asked directly, or pytest ends before it collects.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
USAGE_ERROR = 4


@pytest.fixture
def typed(tmp_path):
    """``pytest`` with these arguments, in the checkout: status and output."""

    def run(*arguments):
        words = [sys.executable, "-m", "pytest", "--color=no", "-p", "no:cacheprovider", *arguments]
        ended = subprocess.run([str(word) for word in words], cwd=ROOT, capture_output=True,
                               text=True, timeout=300, stdin=subprocess.DEVNULL)  # fmt: skip
        return ended.returncode, ended.stdout + ended.stderr

    return run


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
                           text=True, timeout=300)  # fmt: skip
    said = dict(line.split(" ", 1) for line in ended.stdout.splitlines() if " " in line)
    assert said["root"] == str(elsewhere)  # else nothing is tested here
    assert said["bench"] == "True"
    assert said["results"] == str(ROOT / "results" / "runs")
    assert said["expectations"] == str(ROOT / "bench" / "expectations")


def test_options_are_checked_also_where_pytest_took_another_root(typed, elsewhere):
    status, output = typed("--zoo", elsewhere / "z.py", "bench", "--accept")
    assert status == USAGE_ERROR and "--accept needs --reason" in output, output

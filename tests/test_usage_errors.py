"""What keeps a run from beginning, and is nobody's fault in the code: a usage error, said once."""

from __future__ import annotations

import subprocess
import sys
import types
from pathlib import Path

import pytest

from switchyard.runner import plan, plugin, session, version_sets

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("names", [[], ["other"]])
def test_a_slip_in_any_set_is_a_usage_error(tmp_path, monkeypatch, names):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "set.toml").write_text("why = 'a test'\npython = 3.11\n")
    monkeypatch.setattr(version_sets, "SETS", tmp_path)
    with pytest.raises(pytest.UsageError, match=r"one/set\.toml: "):
        plugin._run(asking_for(names))


def test_no_worker_outlives_a_run_that_could_not_be_made(monkeypatch):
    ended = []
    monkeypatch.setattr(session.Run, "_zoo", lambda run, name: plan.Zoo({}, {}))
    monkeypatch.setattr(session.Yard, "close", lambda yard: ended.append(yard.crew))
    config = asking_for([])
    with pytest.raises(pytest.UsageError, match="unknown route 'nowhere'"):
        plugin._run(config)
    assert len(ended) == 1 and plugin.RUN not in config.stash


@pytest.mark.parametrize("words, right", [
    (["--resume", "bench/"], "pytest bench/ --resume\n"),  # it took the path for the run's
    (["tests/test_wire.py", "--resume", "MINE"], "pytest bench/ --resume MINE\n"),
])  # fmt: skip
def test_going_on_with_a_run_without_asking_for_bench_is_a_usage_error(words, right):
    command = [sys.executable, "-m", "pytest", "--collect-only", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert f"--resume goes on with a run of bench/: {right}" in done.stderr


def asking_for(names):
    """A session that asks for version sets of these names, and otherwise for the defaults."""
    lists = {"--version-set": names, "--hop": [], "--zoo": [], "--route": ["nowhere"]}
    given = {"--jobs": 1, "--device": None, "--stage-timeout": 1.0, "--memory-limit": 1.0, **lists}
    config = types.SimpleNamespace(stash=pytest.Stash(), getoption=lambda name: given.get(name))
    config.stash[plugin.PROGRESS] = types.SimpleNamespace(say=print, watch=None)
    return config


def test_another_system_than_linux_is_a_usage_error(tmp_path):
    program = (
        "import os, sys\n"
        "import pytest, psutil\n"
        "del os.sched_getaffinity\n"
        "sys.modules['fcntl'] = None\n"
        "sys.platform = 'darwin'\n"
        "sys.exit(pytest.main(sys.argv[1:]))\n"
    )
    command = [sys.executable, "-c", program, "bench/", "--collect-only", "-q"]
    command += ["-p", "no:cacheprovider", "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 4, done.stdout + done.stderr
    assert "a run needs Linux" in done.stderr and "Traceback" not in done.stderr

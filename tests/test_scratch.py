"""A run's temporary files, and the processes that are known by them."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import types
from pathlib import Path

from live_workers import AMPLE, FAKE, gone, job

from switchyard.runner import scratch
from switchyard.runner.crew import Crew
from switchyard.runner.workers import Limits

SLEEPER = [sys.executable, "-c", "import signal; signal.pause()"]


def test_each_folder_is_another_and_all_go_at_the_end():
    kept = scratch.Scratch()
    first, second = Path(kept.folder()), Path(kept.folder())
    (first / "half-written").write_text("a killed process's")
    assert first != second and first.parent == second.parent
    assert kept.shared("built") == kept.shared("built") == str(first.parent / "built")
    assert len(str(first)) < 60  # a Unix socket in a folder in it has to have a name
    kept.close()
    assert not first.parent.exists()


ANOTHER = """
import signal
from switchyard.runner import scratch
kept = scratch.Scratch()
print(kept.folder(), kept.others(), flush=True)
signal.pause()
"""


def test_runs_see_each_other_and_remove_what_a_killed_one_left(tmp_path):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    env["PYTHONPATH"] = str(Path(scratch.__file__).parents[2])
    runs = []
    try:
        for number in range(3):
            runs.append(subprocess.Popen([sys.executable, "-c", ANOTHER], env=env,
                                         stdout=subprocess.PIPE, text=True))  # fmt: skip
            folder, others = runs[-1].stdout.readline().split()
            assert int(others) == min(number, 1)  # the one that was killed is not counted
            if number == 1:
                killed = Path(folder).parent
                (killed / "half-written").write_text("")
                runs[-1].kill()
                runs[-1].wait()
                assert killed.exists()
        assert not killed.exists() and len(list(tmp_path.iterdir())) == 2
    finally:
        for run in runs:
            run.kill()
            run.wait()
            run.stdout.close()


def test_a_collection_makes_none(monkeypatch):
    monkeypatch.setattr("tempfile.TemporaryDirectory", None)
    scratch.Scratch().close()


def test_what_a_killed_job_left_goes_with_the_run(tmp_path, staged, monkeypatch):
    monkeypatch.setattr("switchyard.runner.environments.provision", lambda *asked, ended: FAKE)
    limits = Limits(seconds=20, memory_mib=AMPLE.memory_mib)
    short = Crew(staged, tmp_path / "cache", tmp_path / "logs", limits, {}, lambda said: None)
    short.environment("fake", "core")
    left = tmp_path / "left"
    asked = job(tmp_path, f"""
        import os, pathlib, signal, tempfile
        folder = tempfile.mkdtemp()
        pathlib.Path(folder, "engine").write_text("minutes of work")
        pathlib.Path({str(left)!r}).write_text(folder)
        os.kill(os.getpid(), signal.SIGKILL)
        """)  # fmt: skip
    finished = short.do("fake", "core", asked, "import")
    assert finished.outcome.kind == "host-oom"  # as the kernel kills
    folder = Path(left.read_text())
    assert (folder / "engine").exists()
    short.close()
    assert not folder.parent.exists()


def test_extensions_are_built_once_a_run_and_apart_for_each_environment(crew):
    other = types.SimpleNamespace(**{**vars(FAKE), "fingerprint": "other"})
    first, again, apart = (crew.variables(one) for one in (FAKE, FAKE, other))
    assert first[scratch.VARIABLE] != again[scratch.VARIABLE]
    assert first["TORCH_EXTENSIONS_DIR"] == again["TORCH_EXTENSIONS_DIR"]
    assert Path(first["TORCH_EXTENSIONS_DIR"]).is_dir()
    assert apart["TORCH_EXTENSIONS_DIR"] != first["TORCH_EXTENSIONS_DIR"]


def test_headers_that_torch_compiles_are_shared_within_a_run_until_one_dies(crew, tmp_path):
    """It looks for them beside its temporary files, under the name of whoever runs it."""
    links = [next(Path(crew.variables(FAKE)[scratch.VARIABLE]).iterdir()) for _ in range(2)]
    assert {link.name for link in links} == {f"torchinductor_{getpass.getuser()}"}
    headers = links[0] / "precompiled_headers"
    headers.mkdir()
    (headers / "one.h").write_text("#include <torch>")
    (headers / "one.h.gch").write_text("half of it")
    assert crew.do("fake", "core", job(tmp_path, "pass"), "import").result is not None
    assert (links[1] / "precompiled_headers" / "one.h.gch").exists()
    dies = job(tmp_path, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert crew.do("fake", "core", dies, "import").result is None
    assert [path.name for path in headers.iterdir()] == ["one.h"]


def test_a_lost_server_leaves_no_process_whatever_its_session(crew, tmp_path):
    started = tmp_path / "started"
    asked = job(tmp_path, f"""
        import os, pathlib, signal, subprocess, sys
        other = subprocess.Popen({SLEEPER!r}, start_new_session=True)
        with open({str(started)!r}, "a") as file:
            file.write(f"{{other.pid}} ")
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
        """)  # fmt: skip
    finished = crew.do("fake", "core", asked, "import")
    assert finished.outcome.kind == "crash"
    pids = [int(pid) for pid in started.read_text().split()]
    assert len(pids) == 2  # it ran again, alone
    alive = [pid for pid in pids if not gone(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert not alive


def test_others_are_spared(tmp_path):
    mine, other = str(tmp_path / "mine"), str(tmp_path / "other")
    ours = subprocess.Popen(SLEEPER, env={scratch.VARIABLE: mine}, start_new_session=True)
    theirs = subprocess.Popen(SLEEPER, env={scratch.VARIABLE: other})
    try:
        scratch.end_all(mine)
        assert ours.wait(timeout=10) == -signal.SIGKILL
        assert theirs.poll() is None
    finally:
        theirs.kill()
        theirs.wait()

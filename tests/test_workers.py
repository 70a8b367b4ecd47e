"""Workers: what a job may do to itself, it does to nobody else.

The interpreter is the runner's own and nothing is preloaded.
"""

from __future__ import annotations

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from live_workers import AMPLE, FAKE, gone, job, server_pid, until

from switchyard.runner import workers
from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import (
    Limits,
    ServerLost,
    Worker,
    with_log,
)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def worker(tmp_path, staged):
    variables = environment_variables(FAKE, staged.path, tmp_path / "cache")
    worker = Worker(FAKE, variables, [], tmp_path / "logs" / "server.log")
    yield worker
    worker.close()


@pytest.fixture
def ask(worker, tmp_path):
    """Import a file of the given code in a child; what came of it."""

    def ask(code, limits=AMPLE):
        return worker.run(job(tmp_path, code), "import", limits, tmp_path / "logs" / "child.log")

    return ask


@pytest.mark.parametrize("does, kind, said", [
    ("exit 3", "no-result", "exit 3 with no result"),
    ("kill -SEGV $$", "crash", "SIGSEGV"),
    ("kill -KILL $$", "host-oom", "killed from outside"),
    ("echo loading; exec sleep 60", "timeout", "nothing came of it in 1 s"),
    ("echo \"ImportError: no numpy\"; exit 1", "missing-dependency", "ImportError: no numpy"),
    ("echo \"ImportError: no numpy\"; echo but; exit 1", "no-result", "exit 1"),
])  # fmt: skip
def test_a_server_that_does_not_start_has_its_kind(tmp_path, monkeypatch, does, kind, said):
    monkeypatch.setattr(workers, "START_SECONDS", 1)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{does}\n")
    python.chmod(0o755)
    where = types.SimpleNamespace(version_set="odd", name="core", python=str(python))
    with pytest.raises(workers.WorkerFailed, match=said) as failed:
        Worker(where, {"PATH": os.environ["PATH"]}, [], tmp_path / "server.log")
    assert failed.value.kind == kind
    assert ("loading" in failed.value.detail) == (kind == "timeout")


def test_a_job_that_does_nothing_ends_well(worker, tmp_path):
    finished = worker.run({"do": "nothing"}, "run", AMPLE, tmp_path / "logs" / "child.log")
    assert finished.outcome is None and finished.result["ok"]


def test_the_time_of_a_job_counts_from_its_fork():
    """Until then its server may be importing what another job's converter needs."""
    child, limits = workers._Child(), Limits(seconds=0, memory_mib=4096)
    assert child.overstepped(limits) is None
    child.started, child.pid = child.sent, os.getpid()
    assert child.overstepped(limits) == ("timeout", "no end after 0 s (--stage-timeout)")


def test_a_server_that_never_comes_to_fork_is_ended_and_not_the_runner(
    worker, tmp_path, monkeypatch
):
    monkeypatch.setattr(workers, "START_SECONDS", 0.5)
    os.kill(server_pid(worker), signal.SIGSTOP)  # as in an import that hangs
    limits = Limits(seconds=0.5, memory_mib=4096)
    finished = worker.run({"do": "nothing"}, "run", limits, tmp_path / "logs" / "child.log")
    assert (finished.outcome.kind, finished.outcome.stage) == ("timeout", "run")
    assert "server.log" in finished.outcome.detail  # its own is empty, whatever happened
    assert until(lambda: not worker.alive)


def test_an_exception_in_a_job_is_its_result_with_file_and_line(ask, tmp_path):
    result = ask("import os\nimport nothing_of_this_name\n").result
    assert result["outcome"]["kind"] == "missing-dependency"
    assert result["where"] == f"{tmp_path / 'entries.py'}:2"


@pytest.mark.parametrize("ending, kind, said", [
    ("import ctypes; ctypes.string_at(0)", "crash", "SIGSEGV"),
    ("import os; os.abort()", "crash", "SIGABRT"),
    ("import os; os.kill(os.getpid(), 9)", "host-oom", "most likely by the kernel for memory"),
    ("import os; os._exit(0)", "no-result", "exit 0"),
    ("import os; os._exit(3)", "no-result", "exit 3"),
    ("raise SystemExit(0)", "no-result", "with no result"),
])  # fmt: skip
def test_an_end_without_a_result_is_named(ask, worker, ending, kind, said):
    finished = ask(f"print('my last words', flush=True)\n{ending}\n")
    assert (finished.outcome.kind, finished.outcome.verdict) == (kind, "failed")
    assert said in finished.outcome.message
    assert "child.log\nmy last words" in finished.outcome.detail
    assert worker.alive and ask("").result["ok"]


@pytest.mark.parametrize("limits, kind", [
    (Limits(seconds=10, memory_mib=4096), "timeout"),
    (Limits(seconds=120, memory_mib=300), "host-oom"),
])  # fmt: skip
def test_one_that_was_stopped_leads_to_its_log_and_says_what_it_was_doing(
    ask, tmp_path, limits, kind
):
    code = f"""
        import signal
        print("folding constants")  # into a buffer, if there is one
        held = b"x" * (400 << 20) if {kind == "host-oom"} else b""
        signal.pause()
        """
    outcome = ask(code, limits).outcome
    assert outcome.kind == kind
    log = tmp_path / "logs" / "child.log"
    assert outcome.detail == f"its log: {log}\nfolding constants"
    assert str(log) not in outcome.message


def test_an_empty_log_is_called_empty_and_of_a_long_one_the_end_is_shown(tmp_path):
    log = tmp_path / "log"
    assert with_log(log, "what is known") == "what is known"
    log.touch()
    assert with_log(log) == f"its log is empty: {log}"
    assert with_log(log, "what is known") == "what is known"
    log.write_text("".join(f"line {number}\n" for number in range(1000)))
    lines = with_log(log).splitlines()
    assert lines[0] == f"its log: {log}" and lines[-1] == "line 999" and len(lines) == 21
    assert with_log(log, "what is known") == f"its log: {log}\nwhat is known"
    log.write_text("x" * 100_000)
    assert len(with_log(log)) < 10_000


def test_an_error_in_a_job_leads_to_what_its_tool_wrote(crew, tmp_path):
    def detail(code):
        finished = crew.do("fake", "core", job(tmp_path, code), "import")
        return finished.result["outcome"]["detail"]

    assert detail("raise ValueError('no')").startswith("Traceback")
    said = detail("print('a warning before it')\nraise ValueError('no')").splitlines()
    place = said[0].partition("its log: ")[2]
    assert said[1].startswith("Traceback") and said[-1] == "ValueError: no"
    assert Path(place).read_text().strip() == "a warning before it"


def test_what_kills_its_server_leads_to_its_own_log_and_the_servers(crew, tmp_path):
    code = """
        import os, signal
        print("going down")
        os.write(os.open(f"/proc/{os.getppid()}/fd/2", os.O_WRONLY | os.O_APPEND), b"and I too")
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
        """
    outcome = crew.do("fake", "core", job(tmp_path, code), "import").outcome
    assert outcome.kind == "crash"
    assert "-describe-" in outcome.detail and "\ngoing down\n" in outcome.detail
    assert "worker-fake-core.log" in outcome.detail and outcome.detail.endswith("and I too")


def test_a_worker_that_does_not_start_leads_to_its_log(crew, tmp_path, monkeypatch):
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho no such interpreter >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setitem(vars(FAKE), "python", str(broken))
    outcome = crew.do("fake", "core", job(tmp_path, ""), "import").outcome
    assert outcome.detail.endswith("worker-fake-core.log\nno such interpreter")


def test_garbage_on_stdout_and_stderr_is_no_part_of_a_result(ask):
    code = r"""
        import os, sys
        print("{}")
        os.write(1, b"\x00\x00\x00\x02{}" + os.urandom(1 << 20))
        os.write(2, os.urandom(1 << 20))
        """
    assert ask(code).result["ok"]


def test_a_broken_frame_in_the_result_pipe_is_no_result(ask):
    code = r"""
        import os
        for number in range(3, 64):
            try:
                if os.readlink(f"/proc/self/fd/{number}").startswith("pipe:"):
                    os.write(number, b"\x00\x00\x00\x05{oops")
            except OSError:
                pass
        """
    assert ask(code).outcome.kind == "no-result"


def test_a_timeout_ends_the_whole_tree_also_other_sessions(ask, tmp_path):
    code = f"""
        import os, pathlib, signal, subprocess, sys
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
        same = subprocess.Popen(sleeper)
        other = subprocess.Popen(sleeper, start_new_session=True)
        pids = f"{{os.getpid()}} {{same.pid}} {{other.pid}}"
        pathlib.Path({str(tmp_path / "pids")!r}).write_text(pids)
        signal.pause()
        """
    finished = ask(code, Limits(seconds=10, memory_mib=4096))
    assert finished.outcome.kind == "timeout" and "--stage-timeout" in finished.outcome.message
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 3 and all(gone(pid) for pid in pids)


def test_a_child_left_behind_by_a_job_that_ended_well_is_ended(ask, tmp_path):
    code = f"""
        import pathlib, subprocess, sys
        left = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        pathlib.Path({str(tmp_path / "pid")!r}).write_text(str(left.pid))
        """
    assert ask(code).result["ok"]
    assert gone(int((tmp_path / "pid").read_text()))


def with_a_daemon(folder, ending):
    """A job's code that puts a process into the background, out of its session and with its
    parent gone, writes that one's number to ``pid``, and goes on with ``ending``."""
    return f"""
        import os, pathlib, signal, time
        pid = pathlib.Path({str(folder / "pid")!r})
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                pid.with_suffix(".written").write_text(str(os.getpid()))
                os.rename(pid.with_suffix(".written"), pid)
                os.closerange(3, 64)
                signal.pause()
            os._exit(0)
        os.wait()
        while not pid.exists():
            time.sleep(0.01)
        {ending}
        """


@pytest.mark.parametrize("ending", ["", "signal.pause()"])
def test_a_daemon_that_left_session_and_parent_is_ended_with_its_job(ask, tmp_path, ending):
    limits = Limits(seconds=15, memory_mib=4096) if ending else AMPLE
    finished = ask(with_a_daemon(tmp_path, ending), limits)
    assert (finished.outcome is None) == (not ending)
    assert gone(int((tmp_path / "pid").read_text()))


def test_a_daemon_outlives_other_jobs_than_its_own(worker, ask, tmp_path):
    pid, go = tmp_path / "pid", tmp_path / "go"
    ending = f"while not os.path.exists({str(go)!r}): time.sleep(0.01)"
    with concurrent.futures.ThreadPoolExecutor() as pool:
        own = pool.submit(ask, with_a_daemon(tmp_path, ending))
        until(pid.exists)
        for _ in range(2):  # the second begins once all that ends with the first has ended
            worker.run({"do": "nothing"}, "run", AMPLE, tmp_path / "logs" / "other.log")
        alive = not gone(int(pid.read_text()), patience=0)
        go.touch()
        assert own.result().result["ok"]
    assert alive and gone(int(pid.read_text()))


def test_what_a_job_names_is_imported_before_it_and_what_is_missing_is_left_to_it(
    worker, tmp_path
):
    code = "import sys\nassert 'colorsys' in sys.modules\n"
    named = {**job(tmp_path, code), "preloads": ["no_module_of_this_name", "colorsys"]}
    finished = worker.run(named, "import", AMPLE, tmp_path / "logs" / "child.log")
    assert finished.result["ok"], finished.result


def test_memory_past_the_limit_is_counted_over_the_tree(ask):
    code = """
        import signal, subprocess, sys
        eater = "x = b'x' * (400 << 20); import signal; signal.pause()"
        subprocess.Popen([sys.executable, "-c", eater])
        signal.pause()
        """
    finished = ask(code, Limits(seconds=120, memory_mib=300))
    assert finished.outcome.kind == "host-oom" and "--memory-limit" in finished.outcome.message


def test_memory_below_the_limit_is_nobodys_business(ask):
    assert ask("x = b'x' * (100 << 20)", Limits(seconds=120, memory_mib=300)).result["ok"]


def test_a_server_that_dies_during_a_job_is_lost_and_not_alive(ask, worker):
    with pytest.raises(ServerLost) as lost:
        ask("import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()")
    assert lost.value.begun and not worker.alive
    with pytest.raises(ServerLost) as lost:
        ask("")
    assert not lost.value.begun


def test_closing_a_worker_ends_its_server_and_its_jobs(ask, worker, tmp_path):
    started = tmp_path / "started"
    code = f"""
        import os, pathlib, signal, subprocess, sys
        grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        pathlib.Path({str(started)!r}).write_text(f"{{os.getpid()}} {{grandchild.pid}} ")
        signal.pause()
        """
    lost = []

    def wait_for_it():
        try:
            ask(code)
        except ServerLost as error:
            lost.append(error)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert until(lambda: started.exists() and started.read_text().endswith(" "))
    worker.close()
    thread.join(timeout=60)
    assert lost and gone(server_pid(worker))
    assert all(gone(int(pid)) for pid in started.read_text().split())


RUNNER = """
import sys, pathlib
sys.path.insert(0, {root!r})
sys.path.insert(0, {tests!r})
import live_workers as t
from switchyard.runner import staging
from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import Worker
folder = pathlib.Path({folder!r})
staged = staging.stage(folder / "cache")
variables = environment_variables(t.FAKE, staged.path, folder)
worker = Worker(t.FAKE, variables, [], folder / "log")
(folder / "server").write_text(str(t.server_pid(worker)) + " ")
worker.run({{"do": "describe", "file": {file!r}}}, "import", t.AMPLE, folder / "child.log")
"""


def test_a_runner_that_is_killed_takes_its_servers_and_their_jobs_with_it(tmp_path):
    started = tmp_path / "started"
    file = job(tmp_path, f"""
        import os, pathlib, signal, subprocess, sys
        sleeper = [sys.executable, "-c", "import signal; signal.pause()"]
        same = subprocess.Popen(sleeper)
        other = subprocess.Popen(sleeper, start_new_session=True)
        pathlib.Path({str(started)!r}).write_text(f"{{os.getpid()}} {{same.pid}} {{other.pid}} ")
        signal.pause()
        """)["file"]  # fmt: skip
    code = RUNNER.format(root=str(ROOT), tests=str(ROOT / "tests"), folder=str(tmp_path), file=file)
    runner = subprocess.Popen([sys.executable, "-c", code])
    assert until(lambda: started.exists() and started.read_text().endswith(" "))
    pids = [int(pid) for pid in (started.read_text() + (tmp_path / "server").read_text()).split()]
    runner.send_signal(signal.SIGKILL)
    runner.wait()
    assert len(pids) == 4
    alive = [pid for pid in pids if not gone(pid)]
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
    assert not alive

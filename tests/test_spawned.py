"""A fork server whose imports opened the GPU: its jobs for the device are fresh processes.

What is fake is which files the server holds open; the processes are real.
"""

from __future__ import annotations

import os
import textwrap

import pytest
from test_workers import AMPLE, FAKE, gone, job, server_pid, staged  # noqa: F401

from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import Limits, ServerLost, Worker
from switchyard.worker.touching import open_devices

TOUCHES = """
import sys
sys.modules["__main__"].open_devices = lambda: ["/dev/nvidia0", "/dev/nvidiactl"]
"""

#: Says which kind of child it runs in: a forked one has what its server imported.
WHERE = """
import os, sys
raise RuntimeError(f"{'touches' in sys.modules} {os.environ['CUDA_VISIBLE_DEVICES']}")
"""


def worker_with(tmp_path, staged, preload, code=""):  # noqa: F811
    folder = tmp_path / "imports"
    folder.mkdir()
    (folder / "touches.py").write_text(code)
    variables = environment_variables(FAKE, staged.path, tmp_path / "cache", "GPU-the-chosen")
    variables["PYTHONPATH"] += os.pathsep + str(folder)
    return Worker(FAKE, variables, preload, tmp_path / "logs" / "server.log")


@pytest.fixture
def touched(tmp_path, staged):  # noqa: F811
    worker = worker_with(tmp_path, staged, ["touches"], TOUCHES)
    yield worker
    worker.close()


def said(worker, tmp_path, code=WHERE, limits=AMPLE, **more):
    work = {**job(tmp_path, code), **more}
    return worker.run(work, "import", limits, tmp_path / "logs" / "child.log")


def message(finished):
    return finished.result["outcome"]["message"]


def test_the_server_says_what_it_holds_open(touched):
    assert touched.touched == ["/dev/nvidia0", "/dev/nvidiactl"]


def test_a_job_for_the_device_is_spawned_and_sees_the_chosen_card(touched, tmp_path):
    assert message(said(touched, tmp_path, device="cuda")) == "RuntimeError: False GPU-the-chosen"


def test_a_child_that_torch_calls_badly_forked_is_spawned_as_well(tmp_path, staged):  # noqa: F811
    """torch's flag, in torch's place: no file is open, and CUDA could not start all the same."""
    flag = """
        import sys, types
        torch = types.ModuleType("torch")
        torch.cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: True)
        sys.modules["torch"] = torch
    """
    worker = worker_with(tmp_path, staged, ["touches"], textwrap.dedent(flag))
    try:
        assert worker.touched == []
        finished = said(worker, tmp_path, device="cuda")
        assert message(finished) == "RuntimeError: False GPU-the-chosen"
        assert message(said(worker, tmp_path)) == "RuntimeError: True -1"
    finally:
        worker.close()


def test_every_other_job_is_forked_and_sees_no_card(touched, tmp_path):
    assert message(said(touched, tmp_path)) == "RuntimeError: True -1"


def test_a_server_that_opened_nothing_forks_for_the_device_too(tmp_path, staged):  # noqa: F811
    worker = worker_with(tmp_path, staged, ["touches"])
    try:
        assert worker.touched == []
        finished = said(worker, tmp_path, device="cuda")
        assert message(finished) == "RuntimeError: True GPU-the-chosen"
    finally:
        worker.close()


@pytest.mark.parametrize("ending, kind, words", [
    ("import os; os.abort()", "crash", "SIGABRT"),
    ("import os; os._exit(3)", "no-result", "exit 3"),
    ("import time; time.sleep(300)", "timeout", "no end after 3 s"),
])  # fmt: skip
def test_the_end_of_a_spawned_job_is_its_outcome(touched, tmp_path, ending, kind, words):
    limits = Limits(3, 4096) if kind == "timeout" else AMPLE
    finished = said(touched, tmp_path, ending, limits, device="cuda")
    assert finished.outcome.kind == kind and words in finished.outcome.message
    assert touched.alive


def test_a_spawned_job_ends_with_its_server(touched, tmp_path):
    mark = tmp_path / "pid"
    code = f"import os, time, signal\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\n"
    code += f"os.kill({server_pid(touched)}, signal.SIGKILL)\ntime.sleep(300)\n"
    with pytest.raises(ServerLost):
        said(touched, tmp_path, code, device="cuda")
    assert gone(int(mark.read_text()))


def test_open_devices_are_read_from_the_descriptors(tmp_path):
    for number, target in enumerate(["/dev/nvidia0", "/dev/null", "/dev/nvidiactl", "/dev/nvidia0",
                                     "/home/dev/nvidia0"]):  # fmt: skip
        (tmp_path / str(number)).symlink_to(target)
    assert open_devices(str(tmp_path)) == ["/dev/nvidia0", "/dev/nvidiactl"]
    assert open_devices(str(tmp_path / "nowhere")) == []

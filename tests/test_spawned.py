"""A fork server whose imports opened the GPU: its jobs for the device are fresh processes.

What is fake is which files the server holds open; the processes are real.
"""

from __future__ import annotations

import os
import textwrap

import pytest
from default_set import said_by
from live_workers import AMPLE, FAKE, gone, job, server_pid

from switchyard.runner.variables import environment_variables
from switchyard.runner.workers import Limits, ServerLost, Worker
from switchyard.worker.server import device_variables
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


def worker_with(tmp_path, staged, preload, code="", card="GPU-the-chosen"):
    folder = tmp_path / "imports"
    folder.mkdir()
    (folder / "touches.py").write_text(code)
    variables = environment_variables(FAKE, staged.path, tmp_path / "cache", card)
    variables["PYTHONPATH"] += os.pathsep + str(folder)
    return Worker(FAKE, variables, preload, tmp_path / "logs" / "server.log")


@pytest.fixture
def touched(tmp_path, staged):
    worker = worker_with(tmp_path, staged, ["touches"], TOUCHES)
    yield worker
    worker.close()


def said(worker, tmp_path, code=WHERE, limits=AMPLE, **more):
    work = {**job(tmp_path, code), **more}
    return worker.run(work, "import", limits, tmp_path / "logs" / "child.log")


def message(finished):
    return finished.result["outcome"]["message"]


#: Which of torch's questions that start CUDA are asked while a server of the set imports what it
#: imports for jobs of a device, and, last, by a question that is one.
ASKED = """
import importlib, json, torch
from switchyard import hops, runtimes
from switchyard.worker import asking, building, diagnosis, jobs, reference
from switchyard.worker.server import preload
asked = []
for name in ("is_available", "device_count", "_lazy_init", "get_device_properties"):
    def spied(*given, name=name, real=getattr(torch.cuda, name), **named):
        asked.append(name)
        return real(*given, **named)
    setattr(torch.cuda, name, spied)
core = [one for one in [*hops.builtin().values(), *runtimes.builtin().values()]
        if one.environment == "core"]
found = preload(sorted({name for one in core for name in one.requires}))
for name in {name for one in hops.builtin().values() if one.environment == "core"
             for name in one.preloads}:
    importlib.import_module(name)
imports = list(asked)
torch.cuda.is_available()
print(json.dumps([imports, asked, sorted(found)]))
"""


def test_no_import_of_the_default_sets_server_starts_cuda(tmp_path):
    imports, asked, packages = said_by(ASKED, tmp_path)
    assert imports == [] and "is_available" in asked
    assert {"torch", "tensorflow", "onnxruntime"} <= set(packages)


def test_the_server_says_what_it_holds_open(touched):
    assert touched.touched == ["/dev/nvidia0", "/dev/nvidiactl"]


def test_a_job_for_the_device_is_spawned_and_sees_the_chosen_card(touched, tmp_path):
    assert message(said(touched, tmp_path, device="cuda")) == "RuntimeError: False GPU-the-chosen"


@pytest.mark.parametrize("card, forked", [("GPU-the-chosen", False), ("-1", True)])
def test_a_child_that_torch_calls_badly_forked_is_spawned_as_well(
    tmp_path, staged, card, forked
):
    """torch's flag, in torch's place: no file is open, and CUDA could not start all the same. A
    conversion on the CPU is one too, in a run on a card; where none is seen nothing is asked."""
    flag = """
        import sys, types
        torch = types.ModuleType("torch")
        torch.cuda = types.SimpleNamespace(_is_in_bad_fork=lambda: True)
        sys.modules["torch"] = torch
    """
    worker = worker_with(tmp_path, staged, ["touches"], textwrap.dedent(flag), card)
    try:
        assert worker.touched == []
        finished = said(worker, tmp_path, device="cuda")
        assert message(finished) == f"RuntimeError: {forked} {card}"
        assert message(said(worker, tmp_path)) == f"RuntimeError: {forked} -1"
    finally:
        worker.close()


def test_every_other_job_is_forked_and_sees_no_card(touched, tmp_path):
    assert message(said(touched, tmp_path)) == "RuntimeError: True -1"


def test_a_server_that_opened_nothing_forks_for_the_device_too(tmp_path, staged):
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


def test_only_what_profiles_its_nodes_on_a_device_waits_for_each_launch():
    waits = {"CUDA_LAUNCH_BLOCKING": "1"}
    for runtime, set_ in (("ort", waits), ("tf", waits), ("torch-compile", {})):
        assert device_variables({"do": "ask", "device": "cuda", "runtime": runtime}) == set_
    assert device_variables({"do": "lacks", "device": "cuda"}) == {}
    for job_ in ({"do": "convert"}, {"do": "ask", "device": "cpu", "runtime": "ort"}):
        assert device_variables(job_) == {"CUDA_VISIBLE_DEVICES": "-1"}

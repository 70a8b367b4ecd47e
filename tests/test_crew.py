"""The workers of a run: servers that die, that hang as they start, and the end of the run."""

from __future__ import annotations

import threading

import pytest
from live_workers import FAKE, gone, job, until

from switchyard.runner import environments
from switchyard.runner.crew import Closed, import_order
from switchyard.runner.expectations import NEVER_EXPECTED


def do(crew, folder, code, name):
    return crew.do("fake", "core", job(folder, code, name), f"convert:{name}")


def test_a_job_that_kills_its_server_is_blamed_and_its_neighbours_run_again(crew, tmp_path):
    first = tmp_path / "neighbour-began"
    neighbour = f"""
        import pathlib, signal
        first = pathlib.Path({str(first)!r})
        if not first.exists():
            first.touch()
            signal.pause()
        """
    killer = f"""
        import os, pathlib, signal, time
        while not pathlib.Path({str(first)!r}).exists():
            time.sleep(0.01)
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
        """
    found = {}
    codes = {"neighbour": neighbour, "killer": killer}
    threads = [
        threading.Thread(target=lambda n=n, c=c: found.update({n: do(crew, tmp_path, c, n)}))
        for n, c in codes.items()
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert found["neighbour"].result["ok"]
    assert found["killer"].outcome.kind == "crash"
    assert "again when it ran alone" in found["killer"].outcome.message


def test_many_jobs_beside_one_that_kills_its_server_all_end_well(crew, tmp_path):
    killer = "import os, signal; os.kill(os.getppid(), signal.SIGKILL); signal.pause()"
    found = {}

    def work(place):
        name = f"job{place}"
        found[name] = do(crew, tmp_path, killer if place % 4 == 0 else "", name)

    threads = [threading.Thread(target=work, args=(place,)) for place in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=300)
    crashed = {n: done.outcome.message for n, done in found.items() if done.outcome is not None}
    assert len(found) == 12 and set(crashed) == {"job0", "job4", "job8"}, crashed


def test_a_crew_that_is_closed_starts_no_server_anew(crew, tmp_path):
    started = tmp_path / "started"
    code = f"import pathlib, signal; pathlib.Path({str(started)!r}).touch(); signal.pause()"
    ended = []

    def wait_for_it():
        try:
            do(crew, tmp_path, code, "pausing")
        except Closed as closed:
            ended.append(closed)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert until(started.exists)
    crew.close()
    thread.join(timeout=60)
    assert ended
    assert len([line for line in crew.said if line.startswith("starting")]) == 1


@pytest.mark.parametrize("kind", ["no-result", "timeout", "unsatisfiable-pins"])
def test_an_environment_that_could_not_be_made_is_its_cells_outcome(crew, monkeypatch, kind):
    def fails(*_, **__):
        raise environments.ProvisioningError("fake", "side", "no space", "free some", kind=kind)

    monkeypatch.setattr(environments, "provision", fails)
    outcome = crew.environment("fake", "side")
    assert (outcome.stage, outcome.verdict, outcome.kind) == ("resolve", "unavailable", kind)
    assert "no space" in outcome.message and "free some" in outcome.detail
    assert crew.environment("fake", "side") is outcome
    assert (kind in NEVER_EXPECTED) == (kind != "unsatisfiable-pins")


def test_nothing_brings_tensorflow_in_before_its_turn():
    asked = ["torch", "keras.ops", "tensorflow", "a | b", "onnx", "torch"]
    assert import_order(asked) == ["a | b", "onnx", "tensorflow", "torch", "keras.ops"]


def test_a_worker_that_cannot_start_is_said_and_makes_its_cells_unavailable(
    crew, tmp_path, monkeypatch
):
    monkeypatch.setitem(vars(FAKE), "python", "/bin/false")
    finished = do(crew, tmp_path, "", "any")
    assert (finished.outcome.verdict, finished.outcome.stage) == ("unavailable", "import")
    assert ".log" in finished.outcome.message


def test_the_end_of_a_run_does_not_wait_for_a_server_that_hangs_as_it_starts(
    crew, tmp_path, monkeypatch
):
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    hanging.chmod(0o755)
    monkeypatch.setitem(vars(FAKE), "python", str(hanging))
    ended = []

    def wait_for_it():
        try:
            do(crew, tmp_path, "", "any")
        except Closed as closed:
            ended.append(closed)

    thread = threading.Thread(target=wait_for_it)
    thread.start()
    assert until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    crew.close()
    thread.join(timeout=60)
    assert ended and gone(int((tmp_path / "pid").read_text()))

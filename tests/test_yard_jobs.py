"""What the yard asks of a worker: a job names what its converter or runtime imports late."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pathlib
import types

import pytest

from switchyard import hops, runtimes
from switchyard.routes import named
from switchyard.runner import staging, yard
from switchyard.runner.artefacts import ArtefactStore
from switchyard.runner.describing import describe
from switchyard.runner.nvml import Sample
from switchyard.runner.plan import Planned
from switchyard.runner.staging import PROJECT
from switchyard.runner.workers import Finished
from switchyard.runner.yard import Made, Yard
from switchyard.vocabulary import COSTS, Cell, Outcome


class Crew:
    """Takes every job down, and answers it as if all had gone well, or raises what ``full`` says
    that it is full for."""

    def __init__(self, cache, full=lambda job: False):
        self.cache, self.card, self.jobs, self._full = cache, None, [], full
        self.staged = staging.Staged(cache, {})

    def environment(self, version_set, name):
        return types.SimpleNamespace(fingerprint="one")

    def lacks(self, version_set, name, modules):
        return None

    def do(self, version_set, name, job, stage):
        self.jobs.append(job)
        if self._full(job):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        answer = Outcome(stage="compare", verdict="excellent").as_dict()
        facts = {"facts": {}, "convert_seconds": 0.0, "artefact_bytes": 0, "outcome": answer,
                 "sources": {}}  # fmt: skip
        return Finished({"ok": True, "seconds": 0.0, **facts}, None, 0.0)

    def close(self):
        pass


MODEL = {"sources": {}, "file": "zoo.py", "inputs": {}, "classifier": False,
         "precision": "float32", "sizes": {}}  # fmt: skip


def test_a_job_names_what_its_converter_and_its_runtime_import_late(tmp_path):
    known, runs, crew = hops.builtin(), runtimes.builtin(), Crew(tmp_path)
    yard = Yard(crew, known, runs, [], 2, lambda text: lambda: None)
    try:
        yard.prepare([
            Planned(Cell("set", "cpu", "float32", "m", name), named(name, known, runs), MODEL)
            for name in ("dynamo-ort", "torch-compile")
        ])  # fmt: skip
    finally:
        yard.close()
    asked = {job.get("hop") or job.get("runtime"): job.get("preloads") for job in crew.jobs}
    assert asked["dynamo"] == known["dynamo"].preloads != ()
    assert asked["torch-compile"] == runs["torch-compile"].preloads != ()
    assert crew.jobs[0]["do"] == "reference" and len(crew.jobs) == 4


def prepared(crew, answered=lambda planned, made: None):
    """Two models down two prefixes; a yard that has prepared them, and them by name."""
    known, runs = hops.builtin(), runtimes.builtin()
    cells = {
        f"{model} {name}": Planned(Cell("set", "cpu", "float32", model, name),
                                   named(name, known, runs), MODEL)
        for model in "mn" for name in ("dynamo-ort", "dynamo-onnxslim-ort", "torch-compile")
    }  # fmt: skip
    yard = Yard(crew, known, runs, [], 2, lambda text: lambda: None, answered)
    try:
        yard.prepare(list(cells.values()))
    finally:
        yard.close()
    return yard, cells


def raising(yard, cells):
    """The names of those whose answer raises that the disk is full; the others' is good."""
    found = []
    for name, planned in cells.items():
        try:
            assert yard.answer(planned).outcome.verdict == "excellent"
        except OSError:
            found.append(name)
    return found


@pytest.mark.parametrize("job, told", [
    ({"do": "reference", "model": "m"},
     ["m dynamo-ort", "m dynamo-onnxslim-ort", "m torch-compile"]),
    ({"do": "convert", "model": "m", "hop": "dynamo"}, ["m dynamo-ort", "m dynamo-onnxslim-ort"]),
    ({"do": "convert", "model": "m", "hop": "onnxslim"}, ["m dynamo-onnxslim-ort"]),
    ({"do": "ask", "model": "n", "runtime": "torch-compile"}, ["n torch-compile"]),
])  # fmt: skip
def test_what_the_runner_raises_is_for_those_alone_that_wait_for_it(tmp_path, job, told):
    crew = Crew(tmp_path, full=lambda asked: job.items() <= asked.items())
    yard, cells = prepared(crew)
    asked = len(crew.jobs)
    assert raising(yard, cells) == told
    assert len(crew.jobs) == asked  # all were answered or given up, and none is tried again


def test_a_row_that_cannot_be_written_is_no_other_cells_affair(tmp_path):
    def answered(planned, made):
        if planned.cell.short == "m-dynamo-ort":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert raising(*prepared(Crew(tmp_path), answered)) == ["m dynamo-ort"]


def test_what_is_asked_before_anything_is_made_is_no_other_cells_affair_either(
    tmp_path, monkeypatch
):
    def unhosted(self, planned):
        if planned.cell.route == "torch-compile":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(yard.Hosting, "__call__", unhosted)
    assert raising(*prepared(Crew(tmp_path))) == ["m torch-compile", "n torch-compile"]


def test_what_a_route_costs_most_is_started_first():
    first = yard._Work(lambda: None, after=[yard._Work(lambda: None, tier) for tier in COSTS])
    assert [work.tier for work in first.dearest_first()] == list(reversed(COSTS))


@pytest.mark.parametrize("card, asked_alone", [
    (None, []),
    (types.SimpleNamespace(memory_mib=81_559, exclusive=False, sample=Sample),
     ["torch-compile", "ort", "ort-tensorrt"]),
])  # fmt: skip
def test_what_tunes_or_profiles_is_asked_alone_on_a_card(tmp_path, card, asked_alone):
    known, runs, crew = hops.builtin(), runtimes.builtin(), Crew(tmp_path)
    crew.card = card
    found, yard = [], Yard(crew, known, runs, [], 4, lambda text: lambda: None)
    yard.unhosted = lambda planned: None

    def do(version_set, name, job, stage, done=crew.do):
        if job["do"] == "ask" and yard._turns._gate._alone:
            found.append(job["runtime"])
        return done(version_set, name, job, stage)

    crew.do = do
    device = "cuda" if card else "cpu"
    for name in ("torch-eager", "torch-compile", "dynamo-ort", "dynamo-ort-tensorrt"):
        route = named(name, known, runs)
        yard.answer(Planned(Cell("set", device, "float32", "m", name), route, MODEL))
    yard.close()
    assert found == asked_alone


def test_an_artefact_s_key_holds_the_hop_as_it_was_staged(tmp_path):
    hop = hops.builtin()["onnxslim"]
    inside = [pathlib.Path(file).relative_to(PROJECT).as_posix() for file in hop.files]
    hops_of = ["onnxslim", "onnx_io", "open_sizes"]  # its own, and what that takes from beside it
    assert inside == [f"switchyard/hops/{name}.py" for name in hops_of]
    staged = tmp_path / "staged.py"
    staged.write_text("as it stood when the run began")
    digests = dict.fromkeys(inside, "of it")
    files = dict.fromkeys(inside, staged)
    known = staging.Staged(tmp_path, digests)
    object.__setattr__(known, "file", files.__getitem__)
    as_staged = known.digest_of(map(pathlib.Path, hop.files))
    assert as_staged == hashlib.sha256(3 * staged.read_bytes()).hexdigest()
    digests.clear()  # a hop of the user's is staged nowhere
    assert known.digest_of(map(pathlib.Path, hop.files)) != as_staged


@pytest.mark.parametrize("depth", [1, 2])
def test_what_is_made_of_an_artefact_is_made_anew_where_that_was_built_from_others(tmp_path, depth):
    known, runs = hops.builtin(), runtimes.builtin()
    yard = Yard(Crew(tmp_path), known, runs, [], 2, lambda text: lambda: None)
    route = named("manual-tf2onnx-ort", known, runs)
    planned = Planned(Cell("set", "cpu", "float32", "m", route.name), route, MODEL)
    keys = []
    yard._make = lambda key, *others: keys.append(key)
    for digest in ("as it was", "edited", "edited"):
        before = Made("key", tmp_path, {"sources": {"models_zoo/twins/mlp.py": digest}})
        yard.reference = yard.converted = lambda planned, depth=0, before=before: before
        yard._make_artefact(planned, route.hops[:depth])
    assert keys[0] != keys[1] == keys[2]
    yard.close()


def test_a_copy_of_a_zoo_file_in_another_folder_is_another_model(tmp_path):
    """It reads other weights beside it: the first's answers are none of its."""
    known, runs, crew = hops.builtin(), runtimes.builtin(), Crew(tmp_path)
    cell = Cell("set", "cpu", "float32", "m", "torch-eager")
    keys = []
    for file in ("/one/zoo.py", "/one/zoo.py", "/two/zoo.py"):
        yard = Yard(crew, known, runs, [], 1, lambda text: lambda: None)
        planned = Planned(cell, named("torch-eager", known, runs), {**MODEL, "file": file})
        keys.append(yard.reference(planned).key)
        yard.close()
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("name, another", [
    ("TF_XLA_FLAGS", True), ("JAX_ENABLE_X64", True), ("KERAS_BACKEND", True),
    ("TF_CPP_MIN_LOG_LEVEL", False),  # only says how much is logged
    ("TRITON_CACHE_DIR", False), ("KERAS_HOME", False),  # the runner's, whatever the shell says
    ("CUDA_VISIBLE_DEVICES", False), ("NVIDIA_TF32_OVERRIDE", False), ("EDITOR", False),
])  # fmt: skip
def test_settings_that_shape_an_artefact_are_part_of_what_it_is_known_by(
    tmp_path, monkeypatch, name, another
):
    known, runs, crew = hops.builtin(), runtimes.builtin(), Crew(tmp_path)
    route = named("dynamo-ort", known, runs)
    planned = Planned(Cell("set", "cpu", "float32", "m", route.name), route, MODEL)
    monkeypatch.delenv(name, raising=False)
    keys = []
    for value in ("", "", "1"):
        if value:
            monkeypatch.setenv(name, value)
        yard = Yard(crew, known, runs, [], 1, lambda text: lambda: None)
        keys.append((yard.reference(planned).key, yard.converted(planned).key))
        yard.close()
    assert keys[0] == keys[1]
    assert [one != two for one, two in zip(keys[0], keys[2])] == [another] * 2


def test_a_hop_behind_one_that_stopped_has_neither_its_folder_nor_its_seconds(tmp_path):
    known, runs, crew = hops.builtin(), runtimes.builtin(), Crew(tmp_path)
    yard = Yard(crew, known, runs, [], 2, lambda text: lambda: None)
    stopped = Outcome("convert:onnx2tf", "failed", "crash")
    half = Made("key", tmp_path, {"convert_seconds": 1.0}, stopped, 1.0, 0.5)
    yard.converted, yard.reference = lambda planned, depth: half, lambda planned: None
    route = named("torchscript17-onnx2tf-tf", known, runs)
    cell = Cell("set", "cpu", "float32", "m", route.name)
    made = yard._make_artefact(Planned(cell, route, {}), route.hops)
    assert (made.folder, made.outcome, made.seconds) == (None, stopped, 0.0)
    yard.close()


class Files:
    """A store in which nothing is found, and who holds a key."""

    def __init__(self):
        self.held, self.asked_while = [], []

    @contextlib.contextmanager
    def alone(self, key):
        self.held.append(key)
        yield
        self.held.remove(key)

    def find(self, key):
        return None


def test_what_a_file_declares_is_asked_for_by_one_run_at_a_time(tmp_path):
    file, store = tmp_path / "zoo.py", Files()
    file.write_text("")
    own = ["models_zoo/entry.py", "models_zoo/preprocessing.py"]
    staged = types.SimpleNamespace(machinery="", digests=dict.fromkeys(own, ""))

    def ask(job):
        store.asked_while.append(len(store.held))
        return {"ok": False, "outcome": Outcome("import", "void", "bad-fixture").as_dict()}

    environment = types.SimpleNamespace(fingerprint="one")
    describe([file], environment, staged, store, ask)
    assert store.asked_while == [1] and not store.held


def test_what_a_killed_run_left_half_made_is_removed_when_it_is_made_again(tmp_path):
    store = ArtefactStore(tmp_path, {})
    mine, other = store.workplace("ab" * 16), store.workplace("abab" + "cd" * 14)
    (mine / "half.onnx").write_text("half")
    again = store.workplace("ab" * 16)
    assert again.is_dir() and other.is_dir() and not mine.exists()

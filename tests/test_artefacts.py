"""The store of artefacts: what is kept, what is found again, and what has become stale."""

from __future__ import annotations

import hashlib
import threading
import time
import types

import pytest

from switchyard.runner.artefacts import ArtefactStore
from switchyard.runner.crew import Closed
from switchyard.runner.workers import Finished
from switchyard.runner.yard import Yard
from switchyard.vocabulary import Outcome

KEY = "ab" * 16
REFUSED = Outcome("convert:dynamo", "refused", "unsupported-operator")


def kept(store, record, made="made"):
    place = store.workplace(KEY)
    (place / "model.onnx").write_text(made)
    (place / "variables").mkdir()
    (place / "variables" / "index").write_text("of it")
    return store.keep(KEY, place, record)


def a_yard(folder):
    crew = types.SimpleNamespace(card=None, cache=folder, close=lambda: None,
                                 staged=types.SimpleNamespace(digests={}))  # fmt: skip
    return Yard(crew, {}, {}, [], 1, lambda text: lambda: None)


def test_what_was_kept_is_found_with_its_files(tmp_path):
    store = ArtefactStore(tmp_path, {})
    assert store.find(KEY) is None
    folder = kept(store, {"ok": True})
    assert store.find(KEY) == (folder, {"ok": True})
    assert (folder / "model.onnx").read_text() == "made"
    assert list(folder.parent.iterdir()) == [folder]  # nothing half made beside it


def test_what_was_built_from_a_file_is_stale_once_that_has_changed(tmp_path):
    source = tmp_path / "nets.py"
    source.write_text("as it was")
    store = ArtefactStore(tmp_path / "store", {})
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    kept(store, {"ok": True, "sources": {str(source): digest}})
    assert store.find(KEY) is not None
    source.write_text("edited")
    assert store.find(KEY) is None
    source.unlink()
    assert store.find(KEY) is None


def test_a_file_that_is_staged_counts_as_it_is_staged(tmp_path):
    record = {"ok": True, "sources": {"models_zoo/norms.py": "one"}}
    kept(ArtefactStore(tmp_path, {"models_zoo/norms.py": "one"}), record)
    assert ArtefactStore(tmp_path, {"models_zoo/norms.py": "one"}).find(KEY).record == record
    for staged in ({"models_zoo/norms.py": "two"}, {}):
        assert ArtefactStore(tmp_path, staged).find(KEY) is None


def test_a_run_goes_on_with_what_it_found_while_a_later_one_makes_it_of_an_edited_file(tmp_path):
    source = {name: {"models_zoo/twins/mlp.py": name} for name in ("as it was", "edited")}
    earlier, later = (ArtefactStore(tmp_path, staged) for staged in source.values())
    kept(earlier, {"ok": True, "sources": source["as it was"]})
    mine = earlier.find(KEY)
    assert later.find(KEY) is None
    kept(later, {"ok": True, "sources": source["edited"]}, made="made of another")
    assert earlier.find(KEY) == mine and (mine.folder / "model.onnx").read_text() == "made"
    assert (later.find(KEY).folder / "model.onnx").read_text() == "made of another"


def test_what_the_same_sources_made_already_stays_since_another_run_may_be_using_it(tmp_path):
    store = ArtefactStore(tmp_path, {})
    first = kept(store, {"ok": True})
    assert kept(store, {"ok": True}, made="made again") == first
    assert (first / "model.onnx").read_text() == "made"
    assert list(first.parent.iterdir()) == [first]


@pytest.mark.parametrize("name", ["model.onnx", "variables/index", "outcome.json"])
@pytest.mark.parametrize("damage", [
    lambda path: path.unlink(),
    lambda path: path.write_text(""),
])  # fmt: skip
def test_an_entry_that_lost_a_file_is_none_and_made_anew(tmp_path, name, damage):
    store = ArtefactStore(tmp_path, {})
    folder = kept(store, {"ok": True})
    damage(folder / name)
    assert store.find(KEY) is None
    assert kept(store, {"ok": True}, made="made again") == folder
    assert store.find(KEY) == (folder, {"ok": True})
    assert (folder / "model.onnx").read_text() == "made again"


def test_what_is_written_beside_an_artefact_when_it_runs_does_it_no_harm(tmp_path):
    store = ArtefactStore(tmp_path, {})
    (kept(store, {"ok": True}) / "engine.cache").write_text("a runtime's own")
    assert store.find(KEY) is not None


def test_who_waits_for_another_run_gives_up_once_its_own_has_ended(tmp_path):
    """Else the interpreter waits for the thread when it ends, as long as the other run takes."""
    ended = threading.Event()
    other, store = ArtefactStore(tmp_path, {}), ArtefactStore(tmp_path, {}, ended)
    with store.alone(KEY):
        pass
    with other.alone(KEY):
        ended.set()
        with pytest.raises(Closed), store.alone(KEY):
            pass


def test_a_yard_that_is_closed_waits_for_no_other_run(tmp_path):
    yard = a_yard(tmp_path)
    with ArtefactStore(tmp_path / "artefacts", {}).alone(KEY):
        yard.close()
        with pytest.raises(Closed):
            yard._make(KEY, "set", "core", {}, "reference", "m")


def result(outcome=None, **more):
    said = {} if outcome is None else {"outcome": outcome.as_dict()}
    return Finished({"ok": outcome is None, "seconds": 1.0, **said, **more}, None, 1.0)


@pytest.mark.parametrize("finished, found_again", [
    (result(), True),
    (result(REFUSED), True),
    (result(Outcome("convert:dynamo", "failed", "unexplained")), False),
    (Finished(None, Outcome("convert:dynamo", "failed", "crash"), 1.0), False),
])  # fmt: skip
def test_successes_and_refusals_are_kept_and_the_rest_is_tried_again(
    tmp_path, finished, found_again
):
    yard = a_yard(tmp_path)
    made = yard._settled(KEY, yard._store.workplace(KEY), finished, time.monotonic())
    assert (made.folder is not None) == (finished.outcome is None and finished.result["ok"])
    assert (yard._store.find(KEY) is not None) == found_again
    yard.close()

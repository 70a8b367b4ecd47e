"""The store of artefacts: what is kept, what is found again, and what has become stale."""

from __future__ import annotations

import hashlib
import time
import types

import pytest

from switchyard.runner.artefacts import ArtefactStore
from switchyard.runner.workers import Finished
from switchyard.runner.yard import Yard
from switchyard.vocabulary import Outcome

KEY = "ab" * 16
REFUSED = Outcome("convert:dynamo", "refused", "unsupported-operator")


def kept(store, record):
    place = store.workplace(KEY)
    (place / "model.onnx").write_text("made")
    return store.keep(KEY, place, record)


def test_what_was_kept_is_found_with_its_files(tmp_path):
    store = ArtefactStore(tmp_path, {})
    assert store.find(KEY) is None
    folder = kept(store, {"ok": True})
    assert store.find(KEY) == {"ok": True} and store.folder(KEY) == folder
    assert (folder / "model.onnx").read_text() == "made"
    assert [path.name for path in folder.parent.iterdir()] == [KEY]  # nothing half made beside it


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
    assert ArtefactStore(tmp_path, {"models_zoo/norms.py": "one"}).find(KEY) == record
    for staged in ({"models_zoo/norms.py": "two"}, {}):
        assert ArtefactStore(tmp_path, staged).find(KEY) is None


def test_a_newer_entry_takes_the_older_ones_place(tmp_path):
    store = ArtefactStore(tmp_path, {})
    for number in (1, 2):
        kept(store, {"ok": True, "number": number})
    assert store.find(KEY) == {"ok": True, "number": 2}


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
    crew = types.SimpleNamespace(card=None, cache=tmp_path, close=lambda: None,
                                 staged=types.SimpleNamespace(digests={}))  # fmt: skip
    yard = Yard(crew, {}, {}, [], 1, lambda text: lambda: None)
    made = yard._settled(KEY, yard._store.workplace(KEY), finished, time.monotonic())
    assert (made.folder is not None) == (finished.outcome is None and finished.result["ok"])
    assert (yard._store.find(KEY) is not None) == found_again
    yard.close()

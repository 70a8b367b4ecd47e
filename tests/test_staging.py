"""The path that workers run on: what lies there is what the project holds, or it is put there."""

from __future__ import annotations

import pytest

from switchyard.runner import staging


def test_it_is_staged_once(tmp_path):
    first = staging.stage(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert staging.stage(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("damage", [
    lambda path: path.unlink(),
    lambda path: path.write_text(""),
])  # fmt: skip
def test_a_staged_file_that_was_lost_or_cut_is_put_back(tmp_path, damage):
    staged = staging.stage(tmp_path)
    file = staged.file("switchyard/worker/server.py")
    whole = file.read_bytes()
    damage(file)
    assert staging.stage(tmp_path) == staged and file.read_bytes() == whole
    assert list(staged.path.parent.iterdir()) == [staged.path]


def test_a_folder_that_was_lost_is_put_back(tmp_path):
    staged = staging.stage(tmp_path)
    folder = staged.file("models_zoo/twins")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    staging.stage(tmp_path)
    assert {file.name for file in folder.iterdir()} == {
        file.name for file in (staging.PROJECT / "models_zoo" / "twins").glob("*.py")
    }

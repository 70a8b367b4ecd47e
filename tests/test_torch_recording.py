"""Recordings of allocations: what they keep of a machine's folders, and how torch is asked."""

from __future__ import annotations

import pickle
import sys
import types

import pytest

from switchyard.runtimes import torch_recording


def frame(name):
    return {"name": "f", "filename": name, "line": 3}


def test_files_are_named_from_their_package_on_and_others_by_their_last_part():
    shared = frame("/home/me/env/lib/python3.11/site-packages/torch/nn/modules/linear.py")
    snapshot = {
        "segments": [
            {"blocks": [{"frames": [shared], "history": [{"frames": [frame("/srv/x/zoo.py")]}]}]}
        ],
        "device_traces": [
            [{"frames": [shared, frame("/tmp/cache/inductor/ab/cab.py"), frame("<string>")]},
             {"frames": [frame("/home/me/env/lib/python3.11/threading.py"), frame("")]}]
        ],
        "allocator_settings": {"roundup": (1, 2)},
    }  # fmt: skip
    folders = ["", "/home/me/env/lib/python3.11", "/home/me/env/lib/python3.11/site-packages"]
    torch_recording.shorten(snapshot, folders)
    block = snapshot["segments"][0]["blocks"][0]
    assert block["frames"][0]["filename"] == "torch/nn/modules/linear.py"
    assert block["history"][0]["frames"][0]["filename"] == "zoo.py"
    first, second = snapshot["device_traces"][0]
    assert [one["filename"] for one in first["frames"]] == [
        "torch/nn/modules/linear.py", "cab.py", "<string>"
    ]  # fmt: skip
    assert [one["filename"] for one in second["frames"]] == ["threading.py", ""]


@pytest.fixture
def torch(monkeypatch):
    memory = types.SimpleNamespace(_snapshot=lambda: {"frames": [frame("/a/b.py")]})
    cuda = types.SimpleNamespace(init=lambda: None, memory=memory)
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    return memory


def test_python_frames_alone_are_remembered(torch):
    asked = []
    torch._record_memory_history = lambda **given: asked.append(given)
    torch_recording.begin()
    assert asked == [{"max_entries": torch_recording.RECORDED, "stacks": "python"}]


def test_torch_2_0_is_asked_in_its_own_words(torch):
    asked = []

    def remember(enabled, trace_alloc_max_entries=1, trace_alloc_record_context=False):
        asked.append((enabled, trace_alloc_max_entries, trace_alloc_record_context))

    torch._record_memory_history = remember
    torch_recording.begin()
    assert asked == [(True, torch_recording.RECORDED, True)]


def test_what_is_written_is_the_snapshot(torch, tmp_path):
    torch_recording.write(str(tmp_path / "one.pickle"))
    with open(tmp_path / "one.pickle", "rb") as file:
        assert pickle.load(file) == {"frames": [frame("b.py")]}

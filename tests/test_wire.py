"""What passes between processes: frames, and tensors as raw bytes; broken ones say how."""

from __future__ import annotations

import os

import numpy
import pytest

from switchyard import wire


def received(data):
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    try:
        return wire.receive(read)
    finally:
        os.close(read)


def test_a_frame_arrives_as_it_was_sent():
    assert received(wire.pack({"a": [1, "ü", None]})) == {"a": [1, "ü", None]}
    assert received(b"") is None


@pytest.mark.parametrize("data, said", [
    (b"\x00\x00", "inside a frame's length"),
    (b"\x00\x00\x00\x09{}", "7 bytes before"),
    (b"\xff\xff\xff\xff{}", "a frame of 4294967295 bytes"),
    (b"\x00\x00\x00\x02{[", "no JSON"),
    (b"\x00\x00\x00\x02[]", "no object"),
    (b"\x00\x00\x00\x01\xff", "no JSON"),
])  # fmt: skip
def test_a_broken_frame_says_how_it_is_broken(data, said):
    with pytest.raises(wire.BrokenFrame, match=said):
        received(data)


def test_one_frame_is_one_message_and_nothing_else_is():
    frame = wire.pack({"a": 1})
    assert wire.unpack(frame) == wire.unpack(bytearray(frame)) == {"a": 1}
    for wrong in (b"", frame[:3], frame[:-1], frame + b" ", frame + frame):
        with pytest.raises(wire.BrokenFrame, match=f"{len(wrong)} bytes"):
            wire.unpack(wrong)


def test_a_truncated_tensor_file_is_refused(tmp_path):
    path = tmp_path / "x.tensors"
    wire.save_tensors(path, {"x": numpy.arange(6.0), "scalar": numpy.float32(2)})
    assert wire.load_tensors(path)["scalar"].shape == ()
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(wire.BrokenFrame, match="scalar"):
        wire.load_tensors(path)


def test_tensors_keep_dtype_and_shape_and_less_than_all_of_them_is_refused():
    sent = {"x": numpy.arange(6.0).reshape(2, 3), "none": numpy.zeros((0, 3), "int64"),
            "scalar": numpy.float16(2), "mask": numpy.array([True, False])}  # fmt: skip
    content = wire.tensor_bytes(sent)
    got = wire.tensors_in(content)
    assert {n: (a.dtype, a.shape, a.tolist()) for n, a in got.items()} == {
        n: (a.dtype, a.shape, a.tolist()) for n, a in sent.items()
    }
    for length in range(len(content)):
        with pytest.raises(wire.BrokenFrame, match="the message"):
            wire.tensors_in(content[:length])

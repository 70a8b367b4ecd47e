"""What passes between processes: length-prefixed JSON, and tensors as raw bytes.

A frame is a 4-byte big-endian length, then that many bytes of UTF-8 JSON. A tensor file is
one frame that lists names, dtypes and shapes, then the tensors' bytes in that order, each
in C order and little-endian. No pickle, so that a broken child can send nothing that runs.
"""

from __future__ import annotations

import json
import os
import struct
from typing import TYPE_CHECKING, Any, Dict, Mapping, Optional

if TYPE_CHECKING:  # the runner frames messages without paying for numpy
    import numpy as np

_LENGTH = struct.Struct(">I")

#: A frame holds descriptions, never tensors; more than this is a fault, not a message.
MAX_FRAME = 256 * 1024 * 1024

#: numpy's names, and those that only ml_dtypes gives numpy.
_EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2")


class BrokenFrame(ValueError):
    """Bytes that are no frame, or end in the middle of one."""


def dtype_named(name: str) -> np.dtype:
    """The numpy dtype called ``name``; bfloat16 and float8 need ml_dtypes.

    Raises ImportError where ml_dtypes is missing, TypeError for what is no dtype.
    """
    import numpy as np

    if name in _EXTENDED:
        import ml_dtypes

        return np.dtype(getattr(ml_dtypes, name))
    return np.dtype(name)


def pack(message: Mapping[str, Any]) -> bytes:
    """``message`` as one frame."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def unpack(frame: bytes) -> Dict[str, Any]:
    """The message in just one frame. Raises BrokenFrame for less, for more and for what is none."""
    size = _LENGTH.size
    if len(frame) < size or len(frame) - size != _LENGTH.unpack_from(frame)[0]:
        raise BrokenFrame(f"{len(frame)} bytes that are not one frame")
    return parse(frame[size:])


def send(descriptor: int, message: Mapping[str, Any]) -> None:
    """Write one frame to a blocking descriptor. Raises OSError where the reader is gone."""
    view = memoryview(pack(message))
    while view:
        view = view[os.write(descriptor, view) :]


def receive(descriptor: int) -> Optional[Dict[str, Any]]:
    """Read one frame from a blocking descriptor; None at a clean end of file.

    Raises BrokenFrame where the end comes in the middle or the bytes are no JSON object.
    """
    header = _read_exactly(descriptor, _LENGTH.size)
    if not header:
        return None
    if len(header) < _LENGTH.size:
        raise BrokenFrame("the stream ended inside a frame's length")
    (length,) = _LENGTH.unpack(header)
    if length > MAX_FRAME:
        raise BrokenFrame(f"a frame of {length} bytes")
    body = _read_exactly(descriptor, length)
    if len(body) < length:
        raise BrokenFrame(f"the stream ended {length - len(body)} bytes before its frame did")
    return parse(body)


def parse(body: bytes) -> Dict[str, Any]:
    """The JSON object in a frame's body. Raises BrokenFrame for anything else."""
    try:
        message = json.loads(body)
    except ValueError as error:
        raise BrokenFrame(f"a frame that is no JSON: {body[:60]!r}") from error
    if not isinstance(message, dict):
        raise BrokenFrame(f"a frame that is no object: {body[:60]!r}")
    return message


def _read_exactly(descriptor: int, count: int) -> bytes:
    parts = []
    while count:
        part = os.read(descriptor, min(count, 1 << 20))
        if not part:
            break
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


def tensor_bytes(tensors: Mapping[str, np.ndarray]) -> bytes:
    """Named arrays as the content of a tensor file."""
    import numpy as np

    arrays = {name: np.asarray(array) for name, array in tensors.items()}
    header = {
        "tensors": [
            {"name": name, "dtype": array.dtype.name, "shape": list(array.shape)}
            for name, array in arrays.items()
        ]
    }
    contents = (np.ascontiguousarray(array).tobytes() for array in arrays.values())
    return b"".join([pack(header), *contents])


def tensors_in(content: bytes, where: str = "the message") -> Dict[str, np.ndarray]:
    """The arrays that ``tensor_bytes`` wrote, each its own copy. Raises BrokenFrame, which names
    ``where``, for less than all of it."""
    import numpy as np

    position = _LENGTH.size
    if len(content) < position:
        raise BrokenFrame(f"{where} is empty" if not content else f"{where} ends in its length")
    position += _LENGTH.unpack_from(content)[0]
    if position > len(content):
        raise BrokenFrame(f"{where} ends inside its list of tensors")
    tensors = {}
    for entry in parse(content[_LENGTH.size : position])["tensors"]:
        dtype = dtype_named(entry["dtype"])
        count = int(np.prod(entry["shape"], dtype=np.int64))
        if position + count * dtype.itemsize > len(content):
            raise BrokenFrame(f"{where} ends inside tensor {entry['name']!r}")
        flat = np.frombuffer(content, dtype, count, position)
        tensors[entry["name"]] = flat.reshape(entry["shape"]).copy()
        position += count * dtype.itemsize
    return tensors


def save_tensors(path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays to ``path`` at once: a reader sees the old file or the whole new one."""
    partial = f"{path}.{os.getpid()}.partial"
    with open(partial, "wb") as out:
        out.write(tensor_bytes(tensors))
    os.replace(partial, path)


def load_tensors(path) -> Dict[str, np.ndarray]:
    """Read what ``save_tensors`` wrote. Raises BrokenFrame for a truncated file."""
    with open(path, "rb") as source:
        return tensors_in(source.read(), str(path))

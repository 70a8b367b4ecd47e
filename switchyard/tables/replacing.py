"""A file that is replaced as a whole. Stands alone, since what installs a version set needs it too
and the image's first layers hold nothing else of the tables."""

from __future__ import annotations

import os
from pathlib import Path


def replace_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` so that a reader sees the old file or the new one; of two
    processes that write at once the last prevails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.writing")
    temporary.write_bytes(content)
    os.replace(temporary, path)

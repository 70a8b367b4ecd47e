"""What a converter prints, for people at a terminal."""

from __future__ import annotations

import re

#: ECMA-48's Select Graphic Rendition, which sets colours.
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def uncoloured(said: str) -> str:
    return _COLOURS.sub("", said)

"""Names out of a table of results in the cells of a table of Markdown."""

from __future__ import annotations

from typing import Any

from switchyard.compare.as_markdown import code, text


def name(words: Any) -> str:
    """``words`` in a code span; as text where a sign in them would end the span or the cell."""
    return text(words) if set("`|\\") & set(str(words)) else code(words)

"""What notebooks show of an object: a small table of facts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from caffepy.engine import table


def facts(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """HTML: a title over names and what is to be said of each, all given as plain text."""
    return f"<p><b>{escape(title)}</b></p>{table.html(rows)}"

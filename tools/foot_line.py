"""A line at the foot of a terminal, which log lines leave whole."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console


class FootLine:
    """Text below the log lines. `start`, `show` as often as there is news, `close`.

    logger: whose lines on the terminal are to stay whole.  console: rich's, by default of stderr.
    """

    def __init__(self, logger: logging.Logger, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._handlers = [
            handler
            for handler in logger.handlers
            if isinstance(handler, logging.StreamHandler) and handler.stream.isatty()
        ]
        self._streams: list[TextIO] = []

    def start(self) -> None:
        """Leads the log lines above the line."""
        above = _Above(self._console)
        self._streams = [handler.stream for handler in self._handlers]
        for handler in self._handlers:
            handler.setStream(above)
        self._live.start()

    def show(self, text: str) -> None:
        """Puts a text in place of the one before."""
        from rich.text import Text

        line = Text(text, no_wrap=True, overflow="ellipsis")
        with contextlib.suppress(OSError):  # the terminal is gone, the work is not
            self._live.update(line, refresh=True)

    def close(self) -> None:
        """Takes the line away and gives the log its stream back."""
        with contextlib.suppress(OSError):
            self._live.stop()
        for handler, stream in zip(self._handlers, self._streams, strict=False):
            handler.setStream(stream)
        self._streams = []


class _Above:
    """A stream whose lines appear above the foot line, unchanged."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        self._console.out(text, end="", highlight=False)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def can_show() -> bool:
    """Whether stderr is a terminal that a line can be drawn on again and again."""
    return sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def duration(seconds: float) -> str:
    """`0:01:05`"""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

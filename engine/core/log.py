"""Log lines in the classic form of Google's glog, as Caffe prints them and its log parsers read
them.

Immdd hh:mm:ss.uuuuuu pid file:line] message
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import time
from pathlib import Path

_logger = logging.getLogger("caffepy")
_levels = {logging.INFO: "I", logging.WARNING: "W", logging.ERROR: "E"}


class GlogFormatter(logging.Formatter):
    """Puts glog's prefix before a message, before its first line only where it has several."""

    def format(self, record: logging.LogRecord) -> str:
        seconds = time.strftime("%m%d %H:%M:%S", time.localtime(record.created))
        micros = int(record.created % 1 * 1e6)
        letter = _levels.get(record.levelno, "I")
        place = f"{Path(record.pathname).name}:{record.lineno}"
        return f"{letter}{seconds}.{micros:06d} {record.process:5d} {place}] {record.getMessage()}"


class _Handler(logging.StreamHandler):  # type: ignore[type-arg] # Python 3.10 takes none
    """Writes to stderr until the terminal, or whoever reads it, is gone; a run outlives both."""

    def handleError(self, record: logging.LogRecord) -> None:
        """What follows goes nowhere, so that Python's last flush does not fail either."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError) or error.errno not in (errno.EIO, errno.EPIPE):
            super().handleError(record)
            return
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stderr.fileno())


def start(level: int = logging.INFO) -> None:
    """Sends log lines to stderr. Without this call (the library's use) nothing is printed but
    warnings."""
    handler = _Handler(sys.stderr)
    handler.setFormatter(GlogFormatter())
    _logger.handlers[:] = [handler]
    _logger.setLevel(level)
    _logger.propagate = False


def start_unless_set_up() -> None:
    """`start`, unless Python's logging was set up for these lines; the environment variable
    GLOG_minloglevel says from which level on (0 info, 1 warning, 2 error)."""
    if _logger.level == logging.NOTSET and not _logger.hasHandlers():
        given = os.environ.get("GLOG_minloglevel", "")  # noqa: SIM112 - glog's name for it
        start(glog_level(int(given) if given.isdecimal() else 0))


def glog_level(number: int) -> int:
    """Python's level for one of glog's: 0 info, 1 warning, 2 error, 3 and more fatal."""
    levels = (logging.INFO, logging.WARNING, logging.ERROR)
    return levels[max(number, 0)] if number < len(levels) else logging.CRITICAL


def info(message: str) -> None:
    """Logs one line, or several, at level I."""
    _logger.info(message, stacklevel=2)


def warning(message: str) -> None:
    """Logs one line, or several, at level W."""
    _logger.warning(message, stacklevel=2)


def error(message: str) -> None:
    """Logs one line, or several, at level E."""
    _logger.error(message, stacklevel=2)

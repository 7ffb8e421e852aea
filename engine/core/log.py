"""Log lines in the classic form of Google's glog, as Caffe prints them and its log parsers read
them.

Immdd hh:mm:ss.uuuuuu pid file:line] message
"""

from __future__ import annotations

import logging
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


def start(level: int = logging.INFO) -> None:
    """Sends log lines to stderr. Without this call (the library's use) nothing is printed but
    warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(GlogFormatter())
    _logger.handlers[:] = [handler]
    _logger.setLevel(level)
    _logger.propagate = False


def info(message: str) -> None:
    """Logs one line, or several, at level I."""
    _logger.info(message, stacklevel=2)


def warning(message: str) -> None:
    """Logs one line, or several, at level W."""
    _logger.warning(message, stacklevel=2)

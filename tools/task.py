"""How far a command's work is, told once it takes longer than a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING

from caffepy.engine.core import log
from caffepy.tools.foot_line import FootLine, can_show, duration

if TYPE_CHECKING:
    from rich.console import Console

AFTER_S = 2.0  # work that is shorter tells nothing
REFRESH_S = 0.2  # of the line on a terminal
LOG_EVERY_S = 15.0  # of the lines elsewhere


class Task:
    """A `with` block whose work is counted by `advance`: a line at the foot of a terminal, a log
    line now and then elsewhere.

    unit: what is counted, in the plural.  total: how many there are, None where nobody knows.
    console: rich's; None for a terminal at stderr, or log lines where there is none.
    """

    def __init__(
        self,
        unit: str,
        total: int | None = None,
        *,
        done: int = 0,
        console: Console | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.unit, self.total, self.done = unit, total, done
        self._first = done
        self._clock = clock
        self._line: FootLine | None = None
        if console is not None or can_show():
            self._line = FootLine(logging.getLogger("caffepy"), console)
        self._shown = False
        self._began = self._told = 0.0

    def __enter__(self) -> Task:
        self._began = self._clock()
        self._told = self._began + AFTER_S
        return self

    def advance(self, count: int = 1) -> None:
        """So many more are done."""
        self.done += count
        now = self._clock()
        if now < self._told:
            return
        self._told = now + (REFRESH_S if self._line else LOG_EVERY_S)
        if self._line is None:
            log.info(f"Progress: {self.text(now)}")
            return
        if not self._shown:
            self._line.start()
            self._shown = True
        self._line.show(self.text(now))

    def text(self, now: float) -> str:
        """What is told."""
        seconds, count = now - self._began, self.done - self._first
        speed = count / seconds if seconds > 0 else 0.0
        parts = [f"{self.done} {self.unit}", f"{speed:.0f} {self.unit}/s"]
        if self.total:
            parts[0] = f"{self.done}/{self.total} {self.unit} {self.done / self.total:.0%}"
            if speed:
                parts.append(f"{duration((self.total - self.done) / speed)} left")
        return "  ".join(parts)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._line is not None and self._shown:
            self._line.close()

"""A line at the foot of a terminal that says how far a training is."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from caffepy.engine.solver.callbacks import Callback, TestResult, Training
from caffepy.engine.solver.speed import images_per_iteration

if TYPE_CHECKING:
    from rich.console import Console

REFRESH_S = 0.2
SPEED_OVER_S = 10.0  # the speed shown is the mean of this time


class Progress(Callback):
    """Shows iteration, loss, learning rate, speed and the time left, below the log lines.

    The loss is that of the last display: the line itself never waits for a device.

    logger: whose lines on the terminal are to stay whole.  iterations: after which this run ends,
    where that is before max_iter.  console: rich's, by default of stderr.
    """

    def __init__(
        self,
        logger: logging.Logger,
        iterations: int | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = console or Console(stderr=True)
        self._clock = clock
        self._iterations = iterations
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
        self._began = (0.0, 0)
        self._looks: list[tuple[float, int]] = []
        self._images: int | None = None
        self._loss: float | None = None
        self._score = ""

    def on_start(self, solver: Training) -> None:
        self._began = self._clock(), solver.iteration
        self._looks = [self._began]
        self._images = images_per_iteration(solver.net, solver.settings.param.iter_size)
        above = _Above(self._console)
        self._streams = [handler.stream for handler in self._handlers]
        for handler in self._handlers:
            handler.setStream(above)
        self._live.start()

    def on_displayed(self, solver: Training, loss: float, rate: float | None) -> None:
        self._loss = loss

    def on_tested(self, solver: Training, result: TestResult) -> None:
        scores = [one for one in result.outputs if not one.loss_weight]
        if result.net == 0 and scores:
            self._score = f"{scores[0].name} {scores[0].value:.4g}"

    def on_updated(self, solver: Training) -> None:
        from rich.text import Text

        now = self._clock()
        if now - self._looks[-1][0] >= REFRESH_S:
            self._looks.append((now, solver.iteration))
            while len(self._looks) > 2 and now - self._looks[1][0] >= SPEED_OVER_S:
                del self._looks[0]
            line = Text(self.line(solver), no_wrap=True, overflow="ellipsis")
            with contextlib.suppress(OSError):  # the terminal is gone, the training is not
                self._live.update(line, refresh=True)

    def line(self, solver: Training) -> str:
        """What is shown."""
        (before, first), (now, last) = self._looks[0], self._looks[-1]
        since, start = self._began
        total = solver.settings.param.max_iter
        if self._iterations is not None:
            total = min(total, start + self._iterations)
        speed = (last - first) / (now - before) if now > before else 0.0
        parts = [f"{solver.iteration}/{total} {solver.iteration / total:.0%}"]
        if solver.iteration > start:  # tests and snapshots are part of this mean
            each = (now - since) / (solver.iteration - start)
            parts.append(f"{_duration(each * (total - solver.iteration))} left")
        if self._loss is not None:
            parts.append(f"loss {self._loss:.4g}")
        parts.append(f"lr {solver.learning_rate:g}")
        if self._images is not None:
            parts.append(f"{speed * self._images:.0f} images/s")
        else:
            parts.append(f"{speed:.1f} iter/s")
        if self._score:
            parts.append(self._score)
        return "  ".join(parts)

    def close(self) -> None:
        """Takes the line away and gives the log its stream back."""
        with contextlib.suppress(OSError):
            self._live.stop()
        for handler, stream in zip(self._handlers, self._streams, strict=False):
            handler.setStream(stream)
        self._streams = []


class _Above:
    """A stream whose lines appear above the progress line, unchanged."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def write(self, text: str) -> int:
        self._console.out(text, end="", highlight=False)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"

"""A line at the foot of a terminal that says how far a training is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from caffepy.engine.solver.callbacks import Callback, TestResult, Training
from caffepy.engine.solver.speed import images_per_iteration
from caffepy.tools.foot_line import FootLine, duration

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
        self._clock = clock
        self._iterations = iterations
        self._line = FootLine(logger, console)
        self._began = (0.0, 0)
        self._looks: list[tuple[float, int]] = []
        self._images: int | None = None
        self._loss: float | None = None
        self._score = ""

    def on_start(self, solver: Training) -> None:
        self._began = self._clock(), solver.iteration
        self._looks = [self._began]
        self._images = images_per_iteration(solver.net, solver.settings.param.iter_size)
        self._line.start()

    def on_displayed(self, solver: Training, loss: float, rate: float | None) -> None:
        self._loss = loss

    def on_tested(self, solver: Training, result: TestResult) -> None:
        scores = [one for one in result.outputs if not one.loss_weight]
        if result.net == 0 and scores:
            self._score = f"{scores[0].name} {scores[0].value:.4g}"

    def on_updated(self, solver: Training) -> None:
        now = self._clock()
        if now - self._looks[-1][0] >= REFRESH_S:
            self._looks.append((now, solver.iteration))
            while len(self._looks) > 2 and now - self._looks[1][0] >= SPEED_OVER_S:
                del self._looks[0]
            self._line.show(self.line(solver))

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
            parts.append(f"{duration(each * (total - solver.iteration))} left")
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
        self._line.close()

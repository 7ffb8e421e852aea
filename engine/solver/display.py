"""Display: the lines about a training that are due every `display` iterations."""

from __future__ import annotations

import time
from collections.abc import Iterable

from caffepy.engine.core import log
from caffepy.engine.solver.scores import Output


class Display:
    """Logs losses and outputs, and how fast iterations went since the last time.

    loss: as it was logged last.
    """

    def __init__(self) -> None:
        self.loss = 0.0
        self.start(0)

    def start(self, iteration: int) -> None:
        """The clock begins to run."""
        self._time, self._iteration = time.perf_counter(), iteration

    def log(self, iteration: int, interval: int, loss: float, outputs: Iterable[Output]) -> None:
        """interval: the solver's `display`."""
        now = time.perf_counter()
        seconds = now - self._time
        rate = (iteration - self._iteration) / seconds if seconds else 0.0
        log.info(
            f"Iteration {iteration} ({rate:g} iter/s, {seconds:g}s/{interval} iters), loss = "
            f"{loss:g}"
        )
        self.loss, self._time, self._iteration = loss, now, iteration
        for output in outputs:
            log.info(f"    Train net output {output}")

    def log_last(self, iteration: int, loss: float) -> None:
        """After the last update: the loss alone."""
        self.loss = loss
        log.info(f"Iteration {iteration}, loss = {loss:g}")

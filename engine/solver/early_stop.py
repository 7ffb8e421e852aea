"""EarlyStop: ends a training whose tests get no better any more."""

from __future__ import annotations

from typing import Any

from caffepy.engine.core import log
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.solver.callbacks import Callback, TestResult, Training
from caffepy.engine.solver.metric import Metric


class EarlyStop(Callback):
    """Ends a run early after `patience` tests in a row without a new best value of `metric`.

    The first test sets the first best value; nan and infinity never do. A resumed run counts on
    from where its snapshot was.

    Raises: NetError where no test net gives the metric.
    """

    def __init__(self, metric: Metric, patience: int) -> None:
        self.metric = metric
        self.patience = patience
        self._best: float | None = None
        self._best_iteration = 0
        self._waited = 0  # tests since the best one

    @classmethod
    def parse(cls, text: str) -> EarlyStop:
        """From METRIC:PATIENCE, as in `accuracy:5`, `loss:min:5`. Raises: CaffepyError."""
        metric, _, patience = text.rpartition(":")
        if not metric or not patience.strip().isdecimal() or not int(patience):
            raise CaffepyError(
                f"early stop '{text}': expected METRIC:PATIENCE, the name of a test net's output "
                "and a number of tests from 1 up, as in accuracy:5 or loss:min:5."
            )
        return cls(Metric.parse(metric), int(patience))

    def check(self, solver: Training) -> None:
        self.metric.check(solver.test_nets)

    def on_start(self, solver: Training) -> None:
        if self._is_over():
            self._stop(solver)

    def on_tested(self, solver: Training, result: TestResult) -> None:
        value = self.metric.value(result)
        if value is not None:
            if self.metric.is_better(value, self._best):
                self._best, self._best_iteration, self._waited = value, result.iteration, 0
            else:
                self._waited += 1
        last = result.net == len(solver.test_nets) - 1  # the other test nets are tested first
        if last and self._is_over() and solver.iteration < solver.settings.param.max_iter:
            self._stop(solver)

    def state(self) -> dict[str, Any]:
        return {
            "metric": self.metric.wanted,
            "best": self._best,
            "best_iteration": self._best_iteration,
            "waited": self._waited,
        }

    def restore(self, state: dict[str, Any]) -> None:
        if state["metric"] != self.metric.wanted:
            log.info(
                f"Early stopping: the snapshot counted tests of {state['metric']}; counting those "
                f"of {self.metric} begins here."
            )
            return
        self._best, self._best_iteration = state["best"], state["best_iteration"]
        self._waited = state["waited"]

    def _is_over(self) -> bool:
        return self._waited >= self.patience

    def _stop(self, solver: Training) -> None:
        best = "no number yet" if self._best is None else f"{self._best:g}"
        log.info(
            f"Early stopping: {self.metric.name} has not got better in {self._waited} tests; the "
            f"best was {best}, in iteration {self._best_iteration}."
        )
        solver.request_stop()

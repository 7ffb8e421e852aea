"""StopOnNan: ends a training that has come to nan or inf, and says where that began."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NoReturn

from caffepy.engine import diagnosis
from caffepy.engine.core import log
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.errors import NotFiniteError
from caffepy.engine.core.layer import Layer
from caffepy.engine.diagnosis import Finding
from caffepy.engine.net import Net
from caffepy.engine.solver.callbacks import Callback, TestResult, Training

HUGE = 1e15  # magnitudes from which a sum of products soon leaves float32


class StopOnNan(Callback):
    """Looks at the loss of every batch before anything is made of it, and at parameters and
    history before every snapshot and at the end: nan and inf are never written. On a GPU the device
    looks at the loss, and the host later (`Lookout`).

    Test nets only warn: a score may have no value for some batch while the training is well. A
    parameter that is not learnt may hold inf from the start, as masks do.

    Raises: NotFiniteError naming the first bad blob and its layer, what led to it, and the last
    snapshot, whose numbers are finite.
    """

    ends_at_nan = True

    def __init__(self) -> None:
        self._snapshot: Path | None = None
        self._first_update = math.inf  # how many iterations were done after this run's first one
        self._has_gradients = False  # whether diffs are those of the last update
        self._warned: list[Net] = []  # test nets, in the test that is running
        self._masks: list[Blob] = []  # parameters that hold inf from the start

    # ---- when it looks

    def on_start(self, solver: Training) -> None:
        for layer in solver.net.layers:
            for index, blob in enumerate(layer.blobs):
                census = None if _learns(layer, index) else diagnosis.take_census(blob.data)
                if census is not None and not census.nans:
                    self._masks.append(blob)

    def on_forward(self, solver: Training, net: Net) -> None:
        if net is not solver.net:
            self._look_at_test(solver, net)
            return
        self._has_gradients = not net.ops.late
        if not diagnosis.is_finite(net.loss):
            finding = diagnosis.find_in_forward(net, _bad(diagnosis.losses(net)))
            if finding is not None:
                self._refuse(solver, finding)
            got = f"{net.loss.read():g}, the sum of finite losses"
            self._stop(solver, f"net '{net.name}': loss", got, "Lower their loss_weight.")

    def on_gradient_norm(self, solver: Training, norm: float) -> None:
        if not math.isfinite(norm):
            if solver.net.passing_diffs:
                solver.net.repeat_backward()
            finding = diagnosis.find_in_backward(solver.net)
            if finding is not None:
                self._refuse(solver, finding)
            got = f"{norm:g}, though each gradient is finite"
            what = f"net '{solver.net.name}': norm of the gradients"
            self._stop(solver, what, got, self._slower(solver))

    def on_updated(self, solver: Training) -> None:
        self._first_update = min(self._first_update, solver.iteration)
        self._has_gradients = True

    def on_tested(self, solver: Training, result: TestResult) -> None:
        self._warned.clear()

    def on_snapshot_due(self, solver: Training) -> None:
        self._look_at_parameters(solver)

    def on_snapshot(self, solver: Training, weights: Path, state: Path) -> None:
        self._snapshot = state

    def on_end(self, solver: Training) -> None:
        self._look_at_parameters(solver)

    def _look_at_parameters(self, solver: Training) -> None:
        finding = diagnosis.find_in_parameters(solver.net.layers, self._masks)
        if finding is not None:
            self._refuse(solver, finding)
        learnable = solver.rule.learnable
        for place, value in enumerate(solver.rule.history):
            census = diagnosis.take_census(value)
            if census is not None:
                owner = learnable[place % len(learnable)]
                what = f"history {place // len(learnable)} of parameter {owner.index}"
                self._refuse(solver, Finding(owner.layer, what, census, parameter=owner.index))

    def _has_learnt(self, solver: Training) -> bool:
        """Whether this run had updated the parameters before the solver's iteration."""
        return solver.iteration >= self._first_update

    def _look_at_test(self, solver: Training, net: Net) -> None:
        if any(net is one for one in self._warned):
            return
        results = _bad([*(net.blobs[name] for name in net.outputs), *diagnosis.losses(net)])
        finding = diagnosis.find_in_forward(net, results)
        if finding is not None:
            self._warned.append(net)
            number = next(at for at, one in enumerate(solver.test_nets) if one is net)
            log.warning(
                f"{_described(finding)}: expected finite numbers in the test of iteration "
                f"{solver.iteration} (net #{number}), got {finding.census}. The mean of "
                f"'{results[0].name}' says nothing then; training goes on. Correct the layer, or "
                "what it gets."
            )

    # ---- what it says

    def _refuse(self, solver: Training, finding: Finding) -> NoReturn:
        """Ends the run because of what was found."""
        self._stop(solver, _described(finding), str(finding.census), self._advice(solver, finding))

    def _stop(self, solver: Training, what: str, got: str, advice: str) -> NoReturn:
        learnt = self._has_learnt(solver)
        snapshot = self._snapshot or (solver.resumed_from if learnt else None)
        kept = (
            f"The last snapshot with finite numbers is '{snapshot}'."
            if snapshot
            else "This run has taken no snapshot."
        )
        raise NotFiniteError(
            f"{what}: expected finite numbers in iteration {solver.iteration}, got {got}. "
            f"{advice} {kept}"
        )

    def _advice(self, solver: Training, finding: Finding) -> str:
        """What led to it, as far as that can be told, and what to do."""
        if finding.is_input:
            remedy = "correct the data" if finding.source else "correct what fills it"
            if not finding.helpers:
                return f"{remedy.capitalize()}."
            names = _names(finding.helpers)
            return (
                f"It was given so, or {names} made it so in place: {remedy}, or give {names} "
                "another top to see which."
            )
        if finding.parameter is None:
            return f"{_reason(finding)} {self._remedy(solver, finding)}"
        if not self._has_learnt(solver):
            return "It was so before training began: correct the weights, or the filler."
        if not _learns(finding.layer, finding.parameter):
            return f"It is not learnt; the layer itself wrote it. {self._slower(solver)}"
        update = f"The update of iteration {solver.iteration - 1} made it so"
        if not self._has_gradients:
            return f"{update}, by its gradient or by too large a step. {self._slower(solver)}"
        gradient = diagnosis.find_in_backward(solver.net)
        if gradient is None:
            return f"{update}, by too large a step. {self._slower(solver)}"
        return (
            f"{update}: in {gradient.layer.where} the {gradient.what} held {gradient.census}. "
            f"{_reason(gradient)} {self._remedy(solver, gradient)}"
        )

    def _remedy(self, solver: Training, finding: Finding) -> str:
        if finding.layer.not_finite_where and finding.largest < HUGE:
            return "Keep what it gets away from there, or change its parameters."
        return self._slower(solver)

    def _slower(self, solver: Training) -> str:
        if not self._has_learnt(solver):
            return "Scale the data or the fillers down."
        return (
            f"Lower base_lr (the learning rate was {solver.learning_rate:g}), or set "
            "clip_gradients."
        )


def _bad(blobs: Iterable[Blob]) -> list[Blob]:
    return [blob for blob in blobs if not diagnosis.is_finite(blob.data)]


def _learns(layer: Layer, parameter: int) -> bool:
    """Whether the update changes a parameter of a layer."""
    specs = layer.param.param
    return parameter >= len(specs) or specs[parameter].lr_mult != 0


def _described(finding: Finding) -> str:
    """The finding's place, for messages."""
    source = f" ({finding.source})" if finding.source else ""
    return f"{finding.layer.where}: {finding.what}{source}"


def _names(layers: Sequence[Layer]) -> str:
    return " or ".join(f"'{layer.name}'" for layer in layers)


def _reason(finding: Finding) -> str:
    """Why finite numbers gave others, in one sentence or two."""
    subject = "This layer"
    if finding.helpers:
        subject = f"This layer, or {_names(finding.helpers)} working in place on the blob,"
    layers = (finding.layer, *finding.helpers)
    where = next((layer.not_finite_where for layer in layers if layer.not_finite_where), "")
    if finding.largest >= HUGE:
        return f"{subject} got numbers up to {finding.largest:g}, near the end of float32."
    if where:
        return f"{subject} makes them where {where}."
    return f"{subject} made them of finite numbers up to {finding.largest:g}."

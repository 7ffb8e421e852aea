"""AdaDelta: steps in the ratio of earlier updates to gradients."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import Parameter
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import (
    UpdateRule,
    advise_momentum,
    check_delta,
    check_shares,
    register_rule,
)


@register_rule("AdaDelta")
class AdaDelta(UpdateRule):
    """g = diff + decay W;  S = momentum S + (1 - momentum) g^2;
    u = g sqrt((D + delta) / (S + delta));  D = momentum D + (1 - momentum) u^2;  W = W - rate u

    SolverParameter: momentum (0), delta (1e-8), base_lr, lr_policy, weight_decay (0),
    regularization_type ("L2")
    history: S of all parameters, then D of all parameters

    Raises: PrototxtError where momentum lies outside [0, 1), or delta is not above 0.
    Source: Caffe's solver documentation, AdaDelta; M. Zeiler, "ADADELTA: an adaptive learning rate
    method", 2012.
    """

    slots = 2

    def __init__(self, settings: Settings, learnable: Sequence[Parameter], ops: Ops) -> None:
        super().__init__(settings, learnable, ops)
        self._op = ops.adadelta_update(l1=self.l1)

    @classmethod
    def check(cls, settings: Settings) -> None:
        check_shares(settings, "momentum")
        check_delta(settings)
        advise_momentum(settings, 0.95)

    def update(
        self, index: int, *, rate: float, scale: float, decay: float, keep_diff: bool
    ) -> None:
        blob = self.learnable[index].blob
        self._op.update(
            blob.data,
            blob.diff,
            self.past(0, index),
            self.past(1, index),
            rate=rate,
            momentum=self.param.momentum,
            delta=self.param.delta,
            scale=scale,
            decay=decay,
            keep_diff=keep_diff,
        )

"""AdaDelta: steps in the ratio of earlier updates to gradients."""

from __future__ import annotations

from typing import Any

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

    fields = ("momentum", "delta")

    def make_op(self) -> Any:
        return self.ops.adadelta_update(l1=self.l1)

    @classmethod
    def check(cls, settings: Settings) -> None:
        check_shares(settings, "momentum")
        check_delta(settings)
        advise_momentum(settings, 0.95)

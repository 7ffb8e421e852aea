"""RMSProp: steps relative to the recent size of an element's gradients."""

from __future__ import annotations

from typing import Any

from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import (
    UpdateRule,
    check_delta,
    check_no_momentum,
    check_shares,
    register_rule,
)


@register_rule("RMSProp")
class RmsProp(UpdateRule):
    """g = diff + decay W;  H = rms_decay H + (1 - rms_decay) g^2;
    W = W - rate g / (sqrt(H) + delta)

    SolverParameter: rms_decay (0.99), delta (1e-8), base_lr, lr_policy, weight_decay (0),
    regularization_type ("L2")
    history: H, one per parameter

    Raises: PrototxtError where momentum is given, rms_decay lies outside [0, 1), or delta is not
    above 0.
    Source: Caffe's solver documentation, RMSProp; T. Tieleman and G. Hinton, Coursera lecture 6.5,
    2012.
    """

    fields = ("rms_decay", "delta")

    def make_op(self) -> Any:
        return self.ops.rmsprop_update(l1=self.l1)

    @classmethod
    def check(cls, settings: Settings) -> None:
        check_no_momentum(settings)
        check_shares(settings, "rms_decay")
        check_delta(settings)

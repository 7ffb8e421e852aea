"""RMSProp: steps relative to the recent size of an element's gradients."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import Parameter
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

    def __init__(self, settings: Settings, learnable: Sequence[Parameter], ops: Ops) -> None:
        super().__init__(settings, learnable, ops)
        self._op = ops.rmsprop_update(l1=self.l1)

    @classmethod
    def check(cls, settings: Settings) -> None:
        check_no_momentum(settings)
        check_shares(settings, "rms_decay")
        check_delta(settings)

    def update(
        self, index: int, *, rate: float, scale: float, decay: float, keep_diff: bool
    ) -> None:
        blob = self.learnable[index].blob
        self._op.update(
            blob.data,
            blob.diff,
            self.past(0, index),
            rate=rate,
            rms_decay=self.param.rms_decay,
            delta=self.param.delta,
            scale=scale,
            decay=decay,
            keep_diff=keep_diff,
        )

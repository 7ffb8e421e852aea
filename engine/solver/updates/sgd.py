"""SGD: stochastic gradient descent with momentum."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import Parameter
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import UpdateRule, register_rule


@register_rule("SGD")
class Sgd(UpdateRule):
    """V = momentum V + rate (diff + decay W);  W = W - V

    SolverParameter: momentum (0), base_lr, lr_policy, weight_decay (0), regularization_type ("L2")
    history: V, one per parameter

    Source: Caffe's solver documentation, SGD; L. Bottou, "Stochastic gradient descent tricks",
    2012.
    """

    rate_in_history = True

    def __init__(self, settings: Settings, learnable: Sequence[Parameter], ops: Ops) -> None:
        super().__init__(settings, learnable, ops)
        self._op = ops.sgd_update(l1=self.l1)

    def update(
        self, index: int, *, rate: float, scale: float, decay: float, keep_diff: bool
    ) -> None:
        blob = self.learnable[index].blob
        self._op.update(
            blob.data,
            blob.diff,
            self.past(0, index),
            rate=rate,
            momentum=self.param.momentum,
            scale=scale,
            decay=decay,
            keep_diff=keep_diff,
        )

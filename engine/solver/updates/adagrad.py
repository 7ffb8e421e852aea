"""AdaGrad: steps that shrink with all the gradients an element has had."""

from __future__ import annotations

from typing import Any

from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import (
    UpdateRule,
    check_delta,
    check_no_momentum,
    register_rule,
)


@register_rule("AdaGrad")
class AdaGrad(UpdateRule):
    """g = diff + decay W;  H = H + g^2;  W = W - rate g / (sqrt(H) + delta)

    SolverParameter: delta (1e-8), base_lr, lr_policy, weight_decay (0), regularization_type ("L2")
    history: H, one per parameter

    Raises: PrototxtError where momentum is given, or delta is not above 0.
    Source: Caffe's solver documentation, AdaGrad; J. Duchi, E. Hazan, Y. Singer, "Adaptive
    subgradient methods for online learning and stochastic optimization", 2011.
    """

    fields = ("delta",)

    def make_op(self) -> Any:
        return self.ops.adagrad_update(l1=self.l1)

    @classmethod
    def check(cls, settings: Settings) -> None:
        check_no_momentum(settings)
        check_delta(settings)

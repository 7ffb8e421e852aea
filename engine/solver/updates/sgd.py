"""SGD: stochastic gradient descent with momentum."""

from __future__ import annotations

from typing import Any

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

    fields = ("momentum",)

    def make_op(self) -> Any:
        return self.ops.sgd_update(l1=self.l1)

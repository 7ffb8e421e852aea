"""Nesterov: gradient descent that looks ahead along its momentum."""

from __future__ import annotations

from typing import Any

from caffepy.engine.solver.updates.rule import UpdateRule, register_rule


@register_rule("Nesterov")
class Nesterov(UpdateRule):
    """V' = momentum V + rate (diff + decay W);  W = W - ((1 + momentum) V' - momentum V);  V = V'

    SolverParameter: momentum (0), base_lr, lr_policy, weight_decay (0), regularization_type ("L2")
    history: V, one per parameter

    Source: Caffe's solver documentation, Nesterov; I. Sutskever et al., "On the importance of
    initialization and momentum in deep learning", 2013.
    """

    rate_in_history = True

    fields = ("momentum",)

    def make_op(self) -> Any:
        return self.ops.nesterov_update(l1=self.l1)

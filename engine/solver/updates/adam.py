"""Adam: steps by running means of the gradients and of their squares."""

from __future__ import annotations

import math
from typing import Any

from caffepy.engine.parameters import Parameter
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import (
    UpdateRule,
    advise_momentum,
    check_delta,
    check_shares,
    register_rule,
)


@register_rule("Adam")
class Adam(UpdateRule):
    """g = diff + decay W;  M = momentum M + (1 - momentum) g;
    V = momentum2 V + (1 - momentum2) g^2;  c = sqrt(1 - momentum2^t) / (1 - momentum^t);
    W = W - rate c M / (sqrt(V) + delta), where t counts iterations from 1

    SolverParameter: momentum (0), momentum2 (0.999), delta (1e-8), base_lr, lr_policy,
    weight_decay (0), regularization_type ("L2")
    history: M of all parameters, then V of all parameters

    Raises: PrototxtError where momentum or momentum2 lies outside [0, 1), or delta is not above 0.
    Source: Caffe's solver documentation, Adam; D. Kingma and J. Ba, "Adam: a method for stochastic
    optimization", 2015.
    """

    slots = 2
    decoupled = False  # whether the decay acts on the weights, beside the gradient
    _correction = 1.0
    fields = ("momentum", "momentum2", "delta")

    def make_op(self) -> Any:
        return self.ops.adam_update(l1=self.l1)

    @classmethod
    def check(cls, settings: Settings) -> None:
        check_shares(settings, "momentum", "momentum2")
        check_delta(settings)
        advise_momentum(settings, 0.9)

    def prepare(self, iteration: int) -> None:
        done = iteration + 1
        beginning = math.sqrt(1 - self.param.momentum2**done)
        self._correction = beginning / (1 - self.param.momentum**done)

    def numbers(self, parameter: Parameter, rate: float, decay: float) -> dict[str, float]:
        return {
            **super().numbers(parameter, rate * self._correction, 0.0 if self.decoupled else decay),
            "shrink": rate * decay if self.decoupled else 0.0,
        }

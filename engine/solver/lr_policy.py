"""Learning rate policies: how the rate follows from the iteration.

    @register_policy("halving")
    class Halving(LrPolicy):
        def rate(self, iteration): ...

Differs: Caffe takes 0 for a parameter that is missing, which makes most policies constant; here a
policy refuses to work without its parameters.
Source: Caffe's solver documentation (SolverParameter.lr_policy).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import ClassVar, TypeVar

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.solver.settings import Settings


class LrPolicy:
    """The rate of each iteration, by the parameters of a solver.

    needs: the fields that must be given; positive: those that must be above 0.
    current_step: how often the rate has dropped; part of a solver's state.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()

    def __init__(self, settings: Settings) -> None:
        self.param = settings.param
        self.current_step = 0
        for field in (*self.needs, *self.positive):
            if not settings.given(field):
                settings.refuse(
                    field,
                    f"lr_policy '{self.name}' needs it: expected a value, got none. Set it, or use "
                    "another policy.",
                )
        for field in self.positive:
            if getattr(self.param, field) <= 0:
                settings.refuse(
                    field,
                    f"lr_policy '{self.name}' needs it: expected a value above 0, got "
                    f"{getattr(self.param, field):g}. Correct it, or use another policy.",
                )
        if self.param.base_lr == 0:
            log.warning(f"{settings.where('base_lr')}: it is 0, so nothing will be learnt.")

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0; asked for once per iteration."""
        raise NotImplementedError(f"{type(self).__name__}.rate")


P = TypeVar("P", bound=type[LrPolicy])

_policies: dict[str, type[LrPolicy]] = {}


def register_policy(name: str) -> Callable[[P], P]:
    """Class decorator: makes an LrPolicy available to solvers as `lr_policy: "name"`."""

    def register(cls: P) -> P:
        assert name not in _policies, f"lr_policy '{name}' is registered twice"
        _policies[name] = cls
        cls.name = name
        return cls

    return register


def make_policy(settings: Settings) -> LrPolicy:
    """The policy that a solver names. Raises: PrototxtError."""
    name = settings.param.lr_policy
    if not name:
        settings.refuse(
            "lr_policy", f"expected one of {', '.join(sorted(_policies))}, got none. Set it."
        )
    if name not in _policies:
        settings.refuse_unknown("lr_policy", _policies)
    return _policies[name](settings)


def as_float32(rate: float) -> float:
    """The rate as Caffe holds it."""
    return float(np.float32(rate))


@register_policy("fixed")
class Fixed(LrPolicy):
    """base_lr"""

    def rate(self, iteration: int) -> float:
        return self.param.base_lr


@register_policy("step")
class Step(LrPolicy):
    """base_lr * gamma ^ floor(iteration / stepsize)"""

    positive = ("stepsize", "gamma")

    def rate(self, iteration: int) -> float:
        self.current_step = iteration // self.param.stepsize
        return as_float32(self.param.base_lr * self.param.gamma**self.current_step)


@register_policy("exp")
class Exp(LrPolicy):
    """base_lr * gamma ^ iteration"""

    positive = ("gamma",)

    def rate(self, iteration: int) -> float:
        return as_float32(self.param.base_lr * self.param.gamma**iteration)


@register_policy("inv")
class Inv(LrPolicy):
    """base_lr * (1 + gamma * iteration) ^ -power"""

    needs = ("gamma", "power")

    def rate(self, iteration: int) -> float:
        base = 1 + self.param.gamma * iteration
        return as_float32(self.param.base_lr * base**-self.param.power)


@register_policy("multistep")
class MultiStep(LrPolicy):
    """base_lr * gamma ^ (stepvalues passed); as in Caffe, at most one step per iteration."""

    needs = ("stepvalue",)
    positive = ("gamma",)

    def rate(self, iteration: int) -> float:
        stepvalue = self.param.stepvalue
        if self.current_step < len(stepvalue) and iteration >= stepvalue[self.current_step]:
            self.current_step += 1
            log.info(f"MultiStep Status: Iteration {iteration}, step = {self.current_step}")
        return as_float32(self.param.base_lr * self.param.gamma**self.current_step)


@register_policy("poly")
class Poly(LrPolicy):
    """base_lr * (1 - iteration / max_iter) ^ power; 0 beyond max_iter, where Caffe has nan."""

    needs = ("power",)
    positive = ("max_iter",)

    def rate(self, iteration: int) -> float:
        left = max(0.0, 1 - iteration / self.param.max_iter)
        return as_float32(self.param.base_lr * left**self.param.power)


@register_policy("sigmoid")
class Sigmoid(LrPolicy):
    """base_lr / (1 + exp(-gamma * (iteration - stepsize)))"""

    needs = ("gamma", "stepsize")

    def rate(self, iteration: int) -> float:
        x = self.param.gamma * (iteration - self.param.stepsize)
        # By tanh: exp overflows for large arguments.
        return as_float32(self.param.base_lr * 0.5 * (1 + math.tanh(0.5 * x)))

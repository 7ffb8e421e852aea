"""Learning rate policies: how the rate follows from the iteration.

    @register_policy("halving")
    class Halving(LrPolicy):
        def curve(self, iteration): ...

Differs: Caffe takes 0 for a parameter that is missing, which makes most policies constant; here a
policy refuses to work without its parameters.
Source: Caffe's solver documentation (SolverParameter.lr_policy); for plateau the SSD fork, for
multifixed and warm-up Intel's, for ramp-up and min_lr NVIDIA's.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Mapping
from typing import ClassVar, TypeVar

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.solver.settings import Settings

Loss = Callable[[], float]


class LrPolicy:
    """The rate of each iteration, by the parameters of a solver.

    Whatever the policy: in the first warmup_iter iterations the rate goes in a straight line from
    warmup_start_lr (0) to base_lr, or in the first rampup_interval as a parabola from rampup_lr (0)
    to base_lr; the policy then takes over, at the iteration that is reached. With min_lr the rate
    never falls below it, warm-up excepted.

    needs: the fields that must be given; positive: those that must be above 0.
    uses_base_lr: whether the rate starts from base_lr.
    follows_loss: whether it depends on the losses up to that of the iteration.
    loss: gives the mean loss that a display would show.
    current_step: how often the rate has dropped; part of a solver's state.
    """

    name: ClassVar[str]
    needs: ClassVar[tuple[str, ...]] = ()
    positive: ClassVar[tuple[str, ...]] = ()
    uses_base_lr: ClassVar[bool] = True
    follows_loss: ClassVar[bool] = False

    def __init__(self, settings: Settings, loss: Loss) -> None:
        self.settings = settings
        self.param = settings.param
        self.loss = loss
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
        _check_beginning(settings)
        # The field's default is that of a fork where it belongs to another policy.
        self.min_lr = self.param.min_lr if settings.given("min_lr") else 0.0
        begins_with_it = self.param.warmup_iter > 0 or self.param.rampup_interval > 0
        if not self.uses_base_lr and not begins_with_it:
            return
        if self.param.base_lr == 0:
            log.warning(
                f"{settings.where('base_lr')}: expected a learning rate, got 0: nothing is learnt. "
                "Set it."
            )
        if self.min_lr > self.param.base_lr:
            settings.refuse(
                "min_lr",
                f"expected at most base_lr, {self.param.base_lr:g}, got {self.min_lr:g}. Correct "
                "one.",
            )

    def rate(self, iteration: int) -> float:
        """The learning rate of an iteration, counted from 0; asked for once per iteration.

        Raises: PrototxtError where the policy's formula has come to nan or inf.
        """
        found = self._rate(iteration)
        if not math.isfinite(found):
            self.settings.refuse(
                "lr_policy",
                f"'{self.name}': expected a finite learning rate in iteration {iteration}, got "
                f"{found:g}. Correct the policy's parameters, or stop before by max_iter.",
            )
        return found

    def _rate(self, iteration: int) -> float:
        """The rate, which may be nan or inf."""
        param = self.param
        if iteration < param.warmup_iter:
            rise = param.base_lr - param.warmup_start_lr
            return as_float32(param.warmup_start_lr + rise * iteration / param.warmup_iter)
        if iteration < param.rampup_interval:
            rise = param.base_lr - param.rampup_lr
            done = iteration / param.rampup_interval
            found = as_float32(param.rampup_lr + rise * done**2)
        else:
            found = self.curve(iteration)
        return max(found, self.min_lr)

    def curve(self, iteration: int) -> float:
        """What the policy itself says of an iteration."""
        raise NotImplementedError(f"{type(self).__name__}.curve")

    def state(self) -> dict[str, float]:
        """What a solver's state holds besides current_step, by the names of SolverState's fields;
        numbers that float32 holds exactly."""
        return {}

    def restore(self, state: Mapping[str, float]) -> None:
        """Takes back what `state` gave; it may be empty."""


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


def make_policy(settings: Settings, loss: Loss = lambda: math.nan) -> LrPolicy:
    """The policy that a solver names. loss: see LrPolicy. Raises: PrototxtError."""
    name = settings.param.lr_policy
    if not name:
        settings.refuse(
            "lr_policy", f"expected one of {', '.join(sorted(_policies))}, got none. Set it."
        )
    if name not in _policies:
        settings.refuse_unknown("lr_policy", _policies)
    return _policies[name](settings, loss)


def as_float32(number: float) -> float:
    """The number as Caffe holds it; inf beyond its range."""
    with np.errstate(over="ignore"):
        return float(np.float32(number))


def power(base: float, exponent: float) -> float:
    """base ^ exponent; inf or nan, as in C, where Python raises or has a complex number."""
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan if base else math.inf


@register_policy("fixed")
class Fixed(LrPolicy):
    """base_lr"""

    def curve(self, iteration: int) -> float:
        return self.param.base_lr


@register_policy("step")
class Step(LrPolicy):
    """base_lr * gamma ^ floor(iteration / stepsize)"""

    positive = ("stepsize", "gamma")

    def curve(self, iteration: int) -> float:
        self.current_step = iteration // self.param.stepsize
        return as_float32(self.param.base_lr * power(self.param.gamma, self.current_step))


@register_policy("exp")
class Exp(LrPolicy):
    """base_lr * gamma ^ iteration"""

    positive = ("gamma",)

    def curve(self, iteration: int) -> float:
        return as_float32(self.param.base_lr * power(self.param.gamma, iteration))


@register_policy("inv")
class Inv(LrPolicy):
    """base_lr * (1 + gamma * iteration) ^ -power"""

    needs = ("gamma", "power")

    def curve(self, iteration: int) -> float:
        base = 1 + self.param.gamma * iteration
        return as_float32(self.param.base_lr * power(base, -self.param.power))


@register_policy("multistep")
class MultiStep(LrPolicy):
    """base_lr * gamma ^ (stepvalues passed); as in Caffe, at most one step per iteration."""

    needs = ("stepvalue",)
    positive = ("gamma",)

    def __init__(self, settings: Settings, loss: Loss) -> None:
        super().__init__(settings, loss)
        values = list(self.param.stepvalue)
        if values != sorted(values):
            log.warning(
                f"{settings.where('stepvalue')}: expected growing iterations, got "
                f"{', '.join(map(str, values))}: a step waits for those before it, as in Caffe. "
                "Put them in order."
            )

    def curve(self, iteration: int) -> float:
        stepvalue = self.param.stepvalue
        if self.current_step < len(stepvalue) and iteration >= stepvalue[self.current_step]:
            self.current_step += 1
            log.info(f"MultiStep Status: Iteration {iteration}, step = {self.current_step}")
        return as_float32(self.param.base_lr * power(self.param.gamma, self.current_step))


@register_policy("poly")
class Poly(LrPolicy):
    """min_lr + (base_lr - min_lr) * (1 - iteration / max_iter) ^ power; min_lr is 0 where it is not
    given. Beyond max_iter it is min_lr, where Caffe has nan."""

    needs = ("power",)
    positive = ("max_iter",)

    def curve(self, iteration: int) -> float:
        left = max(0.0, 1 - iteration / self.param.max_iter)
        height = self.param.base_lr - self.min_lr
        return as_float32(self.min_lr + height * power(left, self.param.power))


@register_policy("sigmoid")
class Sigmoid(LrPolicy):
    """base_lr / (1 + exp(-gamma * (iteration - stepsize)))"""

    needs = ("gamma", "stepsize")

    def curve(self, iteration: int) -> float:
        x = self.param.gamma * (iteration - self.param.stepsize)
        # By tanh: exp overflows for large arguments.
        return as_float32(self.param.base_lr * 0.5 * (1 + math.tanh(0.5 * x)))


@register_policy("cosine")
class Cosine(LrPolicy):
    """min_lr + (base_lr - min_lr) * (1 + cos(pi * t)) / 2; t goes from 0 at the end of warm-up or
    ramp-up to 1 at max_iter, and min_lr is 0 where it is not given.

    Source: I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts",
    2017 (without restarts).
    """

    positive = ("max_iter",)

    def curve(self, iteration: int) -> float:
        start = max(self.param.warmup_iter, self.param.rampup_interval)
        length = max(1, self.param.max_iter - start)
        done = min(1.0, (iteration - start) / length)
        height = self.param.base_lr - self.min_lr
        return as_float32(self.min_lr + height * 0.5 * (1 + math.cos(math.pi * done)))


@register_policy("multifixed")
class MultiFixed(LrPolicy):
    """stagelr[i] up to and including iteration stageiter[i], for the first such i; after the last
    stage its rate goes on."""

    needs = ("stagelr", "stageiter")
    uses_base_lr = False

    def __init__(self, settings: Settings, loss: Loss) -> None:
        super().__init__(settings, loss)
        ends, rates = self.param.stageiter, self.param.stagelr
        if len(ends) != len(rates):
            settings.refuse(
                "stageiter",
                f"expected one for each stagelr ({len(rates)}), got {len(ends)}. Give each stage "
                "both.",
            )
        if list(ends) != sorted(set(ends)):
            settings.refuse(
                "stageiter",
                f"expected growing iterations, got {', '.join(map(str, ends))}. Put the stages in "
                "order.",
            )

    def curve(self, iteration: int) -> float:
        ends = self.param.stageiter
        stage = bisect.bisect_left(ends, iteration)
        return self.param.stagelr[min(stage, len(ends) - 1)]


@register_policy("plateau")
class Plateau(LrPolicy):
    """base_lr * gamma ^ (drops so far). The rate drops when the mean loss of the last average_loss
    iterations has found no new minimum for plateau_winsize[i] iterations, i the drops so far; this
    counts from the last new minimum or drop. After as many drops as there are windows it stays.
    """

    needs = ("plateau_winsize",)
    positive = ("gamma",)
    follows_loss = True

    def __init__(self, settings: Settings, loss: Loss) -> None:
        super().__init__(settings, loss)
        if min(self.param.plateau_winsize) < 1:
            settings.refuse(
                "plateau_winsize",
                f"expected at least 1, got {min(self.param.plateau_winsize)}. Correct it.",
            )
        self._minimum = math.inf
        self._last_event = 0  # the iteration of the last minimum or drop

    def curve(self, iteration: int) -> float:
        loss = as_float32(self.loss())
        if loss < self._minimum:
            self._minimum, self._last_event = loss, iteration
        windows = self.param.plateau_winsize
        if (
            self.current_step < len(windows)
            and iteration >= self._last_event + windows[self.current_step]
        ):
            self.current_step += 1
            self._last_event = iteration
            log.info(f"Plateau Status: Iteration {iteration}, step = {self.current_step}")
        display = self.param.display
        if display and iteration % display == 0 and self._last_event > iteration - display:
            log.info(
                f"Plateau Status: Iteration {iteration}, current minimum_loss = {self._minimum:g}"
            )
        return as_float32(self.param.base_lr * power(self.param.gamma, self.current_step))

    def state(self) -> dict[str, float]:
        if math.isinf(self._minimum):
            return {}
        return {"minimum_loss": self._minimum, "iter_last_event": self._last_event}

    def restore(self, state: Mapping[str, float]) -> None:
        self._minimum = state.get("minimum_loss", math.inf)
        self._last_event = int(state.get("iter_last_event", 0))


def _check_beginning(settings: Settings) -> None:
    """Refuses fields of warm-up, ramp-up and min_lr that make no sense. Raises: PrototxtError."""
    param = settings.param
    if param.warmup_iter > 0 and param.rampup_interval > 0:
        settings.refuse(
            "rampup_interval",
            "expected one of warmup_iter and rampup_interval, got both. Remove one.",
        )
    for field in ("warmup_iter", "rampup_interval", "warmup_start_lr", "rampup_lr", "min_lr"):
        value = getattr(param, field)
        if value < 0:
            settings.refuse(field, f"expected 0 or more, got {value:g}. Correct it.")

"""LARS: gradient descent whose rate follows each parameter's own size."""

from __future__ import annotations

from typing import Any

from caffepy.engine.parameters import Parameter
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.updates.rule import UpdateRule, register_rule


@register_rule("LARS")
class Lars(UpdateRule):
    """As SGD, the rate multiplied by a number for each parameter and iteration. |.| is the L2 norm
    of a parameter as a whole; where W or the gradient is 0, the number is 1.

    type "LARS":                      eta |W| / (|diff| + decay |W|), times lr_mult
    type "SGD", local_lr_auto: true:  eta |W| / (|diff + decay W| + weight_decay |W|), as in
                                      Intel's fork: without lr_mult, unless that is 0
    type "SGD", larc: true:           eta |W| / |diff|, as in NVIDIA's fork: without lr_mult, unless
                                      that is 0; with larc_policy "clip" it is itself the rate,
                                      where it is below the learning rate

    SolverParameter: those of SGD; eta is local_gw_ratio (0.001), with larc it is larc_eta (0.001);
    local_lr_auto (false), larc (false), larc_policy ("scale")
    history: V, one per parameter

    Raises: PrototxtError where eta is not above 0, or both fields are given; NetError where one is
    and some lr_mult is negative.
    Source: Y. You, I. Gitman, B. Ginsburg, "Large batch training of convolutional networks", 2017.
    """

    rate_in_history = True
    elementwise = False

    fields = ("momentum",)

    def make_op(self) -> Any:
        param = self.param
        for one in self.learnable if param.larc or param.local_lr_auto else ():
            if one.rate < 0:
                one.layer.error(
                    f"parameter {one.index}: expected lr_mult from 0 up with larc or "
                    f"local_lr_auto, which replace it, got {one.rate:g}. Correct it, or use type "
                    '"LARS".'
                )
        return self.ops.lars_update(
            l1=self.l1,
            norm_decay=param.local_lr_auto,
            clip=param.larc and param.larc_policy == "clip",
        )

    @classmethod
    def check(cls, settings: Settings) -> None:
        param = settings.param
        if param.larc and param.local_lr_auto:
            settings.refuse(
                "local_lr_auto", "expected one of larc and local_lr_auto, got both. Remove one."
            )
        field = "larc_eta" if param.larc else "local_gw_ratio"
        if not getattr(param, field) > 0:
            settings.refuse(
                field, f"expected a value above 0, got {getattr(param, field):g}. Leave it out."
            )
        if param.larc and param.larc_policy not in ("scale", "clip"):
            settings.refuse_unknown("larc_policy", ("scale", "clip"))

    def numbers(self, parameter: Parameter, rate: float, decay: float) -> dict[str, float]:
        param = self.param
        denominator_decay = decay
        if param.larc:
            denominator_decay = 0.0
        elif param.local_lr_auto:
            denominator_decay = param.weight_decay
        if (param.larc or param.local_lr_auto) and parameter.rate > 0:
            rate /= parameter.rate
        return {
            **super().numbers(parameter, rate, decay),
            "trust": param.larc_eta if param.larc else param.local_gw_ratio,
            "denominator_decay": denominator_decay,
        }

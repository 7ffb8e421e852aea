"""BatchNorm, Scale and ReLU in place as one primitive of oneDNN, forward and backward.

What BatchNorm reads stays where the step before it wrote it; what Scale reads is not kept, and made
again should somebody run Scale's backward pass alone. Where something is not finite, or Python code
holds an array that the steps change, they run one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from caffepy.engine.core.layout import Layout
from caffepy.engine.core.record import Step, joined
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.diverted import Diverted
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.onednn.activation import OneDnnRelu
from caffepy.engine.ops.onednn.binding import NormalisationFlag, aligned
from caffepy.engine.ops.onednn.normalisation import Normalisation, Plan
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.scale import OneDnnScale
from caffepy.engine.ops.onednn.tensors import Kept

Rearranged = tuple[int, Sequence[Step]]  # as `Op.rearranged` returns it


class TrainedNorm(Protocol):
    """What is needed of BatchNorm's op."""

    ops: PrimitiveOps
    geometry: AxisGeometry
    kept: Kept
    batch_mean: np.ndarray
    batch_variance: np.ndarray
    merged_forward: MergedForward | None

    def keep(self, x: Value, out: Value) -> Value: ...
    def train(self, x: Value, mean: Value, variance: Value, factor: Value, out: Value) -> None: ...
    def add_statistics(self, mean: Value, variance: Value, factor: Value) -> None: ...
    def repeat(self, x: Value, out: Value) -> None: ...
    def plan_for(self, x: Value) -> Plan | None: ...


def forward(norm: TrainedNorm, before: Sequence[Step], step: Step) -> Rearranged:
    """What a `forward_train` and the steps before it become."""
    x, out = step.arguments["x"], step.arguments["out"]
    if x is not out or not before or not Diverted.possible(before[-1], out):
        return 0, (MergedForward(norm, [step]).step,)
    source = Diverted(before[-1], norm.kept.value(x))
    return 1, (source.step, MergedForward(norm, [step], source).step)


def backward(norm: TrainedNorm, before: Sequence[Step], step: Step) -> Rearranged | None:
    """What a `backward_train` in place and the steps before it become."""
    diff, rest = step.arguments["dy"], list(before)

    def take(kind: type[Op], method: str) -> Step | None:
        """The last of the steps that are left, if it is such a call in place."""
        last = rest[-1] if rest else None
        if last is None or not isinstance(last.op, kind) or last.method != method:
            return None
        in_place = last.arguments["dy"] is diff is last.arguments.get("out", diff)
        leaky = isinstance(last.op, OneDnnRelu) and last.op.slope
        return rest.pop() if in_place and not leaky else None

    of_data = take(OneDnnScale, "backward_data")
    of_parameters = take(OneDnnScale, "backward_params")
    of_relu = take(OneDnnRelu, "backward")
    if (
        step.arguments["out"] is not diff
        or of_data is None
        or (of_parameters and of_parameters.op is not of_data.op)
        or (of_parameters and of_parameters.arguments.get("out_s"))
    ):
        return None
    steps = [*before[len(rest) :], step]
    return len(steps) - 1, (MergedBackward(norm, steps, of_data, of_parameters, of_relu).step,)


class MergedForward(Op):
    """A `forward_train`, and the passes of Scale and ReLU that may follow in place.

    steps: these, one by one.  source: the step before, where it writes x to where that is kept.
    normalisation, layout: of the last pass.
    """

    normalisation: Normalisation
    layout: Layout

    def __init__(
        self, norm: TrainedNorm, steps: Sequence[Step], source: Diverted | None = None
    ) -> None:
        super().__init__(norm.ops)
        self.norm = norm
        self.steps = tuple(steps)
        self.scale, self.relu = (*(one.op for one in steps[1:]), None, None)[:2]
        self.out: Value = steps[0].arguments["out"]
        self._source = source
        self._version = -1  # of out, after the last pass
        factor_and_bias = [steps[1].arguments[name] for name in "sb"] if self.scale else []
        self._parameters: list[Value] = [one for one in factor_and_bias if one is not None]
        self._flags = NormalisationFlag.NONE
        for flag, wanted in (
            (NormalisationFlag.SCALE, len(self._parameters) > 0),
            (NormalisationFlag.SHIFT, len(self._parameters) > 1),
            (NormalisationFlag.RELU, self.relu is not None),
        ):
            self._flags |= flag * wanted
        self.step = joined(self.steps, self._run, self)

    def merged(self, step: Step, after: Step) -> Step | None:
        """Scale in place along the channels, then ReLU in place."""
        given = after.arguments
        if after.method != "forward" or not given.get("x") is given["out"] is self.out:
            return None
        if self.scale is None:
            geometry = self.norm.geometry
            fits = isinstance(after.op, OneDnnScale) and (
                (after.op.geometry.outer, after.op.geometry.size) == (geometry.outer, geometry.size)
            )
        else:
            fits = self.relu is None and isinstance(after.op, OneDnnRelu) and not after.op.slope
        return MergedForward(self.norm, (*self.steps, after), self._source).step if fits else None

    @property
    def num_parameters(self) -> int:
        """Those of Scale."""
        return len(self._parameters)

    def did(self, scale: OneDnnScale, relu: Op | None) -> bool:
        """Whether the last pass was this one of these ops, and what their gradients come from is
        untouched. Without ReLU that is not the result."""
        if self.scale is not scale or self.relu is not relu or not scale.behind:
            return False
        return relu is None or (not self.out.leased and self.out.version == self._version)

    def _run(self) -> None:
        norm, out, given = self.norm, self.out, self.steps[0].arguments
        if self._source is not None and self._source.took_place:
            x = norm.kept.take(out)
        elif self.scale is None or out.leased:
            for one in self.steps:
                one()
            return
        else:
            x = norm.keep(given["x"], out)
        sums = given["mean"], given["variance"], given["factor"]
        if self.scale is not None and self._normalise(x):
            norm.add_statistics(*sums)
            return
        norm.train(x, *sums, out)
        for one in self.steps[1:]:
            one()

    def _normalise(self, x: Value) -> bool:
        """All in one; False where that would not be what the steps do."""
        norm, out = self.norm, self.out
        plan = norm.plan_for(x)
        parameters = [value.read() for value in self._parameters]
        if plan is None or not all(map(_bounded, parameters)):
            return False
        self.layout, self.normalisation = plan.layout, plan.merged(self._flags)
        statistics = norm.batch_mean, norm.batch_variance
        source, target = x.read(plan.layout), out.write(plan.layout)
        self.normalisation.forward(source, target, *statistics, *parameters)
        if not all(map(_bounded, statistics)):  # ReLU has made 0 of nan
            return False
        norm.merged_forward = self
        self.scale.missed(out, self._make_input_of_scale)
        self._version = out.version
        return True

    def _make_input_of_scale(self, value: Value) -> None:
        self.norm.repeat(self.norm.kept.original(self.steps[0].arguments["x"]), value)


class MergedBackward:
    """A `backward_train`, and the passes of ReLU and Scale before it.

    What lies in the gradient where ReLU has cut off is not looked at: nan or inf there becomes 0.
    """

    def __init__(
        self,
        norm: TrainedNorm,
        steps: Sequence[Step],
        of_data: Step,
        of_parameters: Step | None,
        of_relu: Step | None,
    ) -> None:
        self._norm = norm
        self._steps = tuple(steps)
        self._diff: Value = of_data.arguments["dy"]
        self._x: Value = steps[-1].arguments["x"]
        self._factor: Value = of_data.arguments["s"]
        self._scale: OneDnnScale = of_data.op
        self._relu: OneDnnRelu | None = None if of_relu is None else of_relu.op
        added = {} if of_parameters is None else of_parameters.arguments
        self._sums: list[Value | None] = [added.get("add_s"), added.get("add_b")]
        self._own = [aligned(4 * norm.geometry.size) for _ in self._sums]
        self.step = joined(self._steps, self._run)

    def _run(self) -> None:
        forward = self._norm.merged_forward
        if forward is None or self._diff.leased or not forward.did(self._scale, self._relu):
            for one in self._steps:
                one()
            return
        norm, layout = self._norm, forward.layout
        content = norm.kept.original(self._x).read(layout)
        gradients = [
            own if value is None or value.allocated else value.write()
            for value, own in zip(self._sums, self._own, strict=True)
        ]
        target = self._diff.modify(layout)
        forward.normalisation.backward(
            target, content, target, norm.batch_mean, norm.batch_variance, self._factor.read(),
            *gradients[: forward.num_parameters],
        )  # fmt: skip
        for value, gradient, own in zip(self._sums, gradients, self._own, strict=True):
            if value is not None and gradient is own:
                total = value.modify().reshape(-1)
                total += own


def _bounded(array: np.ndarray) -> bool:
    """Whether all is finite, and products with it are no larger than float32 can be."""
    return math.isfinite(np.vdot(array, array))

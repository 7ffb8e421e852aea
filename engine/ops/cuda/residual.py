"""The gradients around a ReLU whose result has two readers, as at the end of a residual block: the
sum of what these give, ReLU's signs, and the gradients of the terms of a sum, as one kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from caffepy.engine.core.record import Step, joined
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.rectified import is_relu_backward

TERMS = 2  # of sums that are merged


@dataclass(frozen=True)
class Parts:
    """Steps that follow each other, one at least, and all that are there next to each other.

    total: the sum of the gradients of two readers.  relu: its backward pass, in place.  spread:
    that of a sum of two terms.  releases: the ends of values.  gone: whether nobody sees the
    gradient that ReLU leaves.
    """

    total: Step | None = None
    relu: Step | None = None
    spread: Step | None = None
    releases: tuple[Step, ...] = ()
    gone: bool = False


def sum_merged(step: Step, after: Step) -> Step | None:
    """A sum of two gradients, and the release of these or ReLU behind it."""
    if len(step.arguments["xs"]) != TERMS:
        return None
    return ResidualGradient(step.op.ops, [step], Parts(total=step)).merged(step, after)


def spread_rearranged(
    ops: DeviceOps, before: Sequence[Step], step: Step
) -> tuple[int, Sequence[Step]] | None:
    """The gradient of a sum of two terms, and what is right before it."""
    last, outs, diff = before[-1] if before else None, step.arguments["outs"], step.arguments["dy"]
    if last is None or len(outs) != TERMS or any(out is None for out in outs):
        return None
    if isinstance(last.op, ResidualGradient):
        parts, steps = last.op.parts, last.op.steps
    elif is_relu_backward(last, diff):
        parts, steps = Parts(relu=last), [last]
    else:
        return None
    if parts.spread is not None or parts.relu is None or parts.relu.arguments["out"] is not diff:
        return None
    return 1, (ResidualGradient(ops, [*steps, step], replace(parts, spread=step)).step,)


class ResidualGradient(CudaOp):
    """Some of a sum of gradients, ReLU and the gradients of a sum.

    steps: these, one by one.  parts: which of them is what.
    """

    family = "eltwise"

    def __init__(self, ops: DeviceOps, steps: Sequence[Step], parts: Parts) -> None:
        super().__init__(ops)
        self.steps = list(steps)
        self.parts = parts
        self.step = joined(self.steps, self._run, self)

    def merged(self, step: Step, after: Step) -> Step | None:
        """Releases right behind it, and ReLU."""
        parts = self.parts
        if after.method == "release":
            values = after.arguments["values"]
            if parts.spread is not None:
                diff = parts.spread.arguments["dy"]
                gone = any(value is diff for value in values)
                return self._with(after, releases=(*parts.releases, after), gone=gone)
            if parts.total is None or parts.relu is not None:
                return None
            terms = parts.total.arguments["xs"]
            if all(any(value is x for x in terms) for value in values):
                return self._with(after, releases=(*parts.releases, after))
            return None
        first = parts.total is not None and parts.relu is None and parts.spread is None
        if (
            first
            and parts.total is not None
            and is_relu_backward(after, parts.total.arguments["out"])
        ):
            return self._with(after, relu=after)
        return None

    def _with(self, after: Step, **more: object) -> Step:
        parts = replace(self.parts, **more)  # type: ignore[arg-type]
        return ResidualGradient(self.ops, [*self.steps, after], parts).step

    def _run(self) -> None:
        parts = self.parts
        if parts.relu is None or (parts.gone and parts.relu.arguments["dy"].leased):
            for one in self.steps:
                one.run()
            return
        diff, y, slope = parts.relu.arguments["dy"], parts.relu.arguments["x"], parts.relu.op.slope
        terms = [diff] if parts.total is None else parts.total.arguments["xs"]
        kernel = f"rectified_gradient_of_{len(terms)}"
        if parts.spread is None:
            self.launch(kernel, diff.count, slope, *terms, y, diff)
        else:
            outs, kept = parts.spread.arguments["outs"], [] if parts.gone else [diff]
            kernel += "_spread" if parts.gone else "_spread_and_kept"
            factors = parts.spread.op.coefficients
            self.launch(kernel, diff.count, slope, *factors, *terms, y, *outs, *kept)
        for one in parts.releases:
            one.run()

"""ReLU in place behind another op, in the kernel that writes that one's results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from caffepy.engine.core.record import Step, joined
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.cuda.activation import CudaRelu


class Rectifiable(Protocol):
    """An op whose `forward` can end with a ReLU.

    rectified_forward: `forward(...)` and the ReLU of that slope, as `(slope, ...)`. A slope of 1
    changes nothing.
    """

    @property
    def rectified_forward(self) -> Callable[..., None]: ...


def with_relu(op: Rectifiable, step: Step, after: Step) -> Step | None:
    """`forward` of an op and the ReLU in place behind it, as one step; None where it is no such."""
    out = step.arguments.get("out")
    if step.method != "forward" or not is_relu(after, out):
        return None
    run = partial(op.rectified_forward, after.op.slope, **step.arguments)
    return joined((step, after), run, Last(step.op.ops))


def is_relu(step: Step, value: Value | None) -> bool:
    """Whether a step is ReLU in place of a value. Not with slopes below 0: these keep its input."""
    return (
        isinstance(step.op, CudaRelu)
        and step.method == "forward"
        and step.op.slope >= 0
        and step.arguments["x"] is step.arguments["out"] is value
    )


class BiasGradient(Protocol):
    """What is needed of the op that adds a bias."""

    def rectified_backward(self, slope: float, y: Value, dy: Value, add_b: Value) -> None:
        """The backward pass of a ReLU in place of dy, whose results are y, and `backward_bias`."""


def with_relu_before(
    bias: BiasGradient, before: Sequence[Step], step: Step
) -> tuple[int, Sequence[Step]] | None:
    """`backward_params`, and the backward pass of ReLU right before it, in the kernel that sums up
    the gradient of the bias."""
    given = step.arguments
    if step.method != "backward_params" or given.get("add_b") is None or not before:
        return None
    relu = before[-1]
    if not is_relu_backward(relu, given["dy"]):
        return None

    def run() -> None:
        bias.rectified_backward(relu.op.slope, relu.arguments["x"], given["dy"], given["add_b"])
        step.op.backward_params(**{**given, "add_b": None})

    return 1, (joined((relu, step), run, Last(step.op.ops)),)


def is_relu_backward(step: Step, diff: Value) -> bool:
    """Whether a step is ReLU's gradient in place of that of its result, and comes of the latter."""
    given = step.arguments
    return (
        isinstance(step.op, CudaRelu)
        and step.method == "backward"
        and step.op.slope >= 0
        and given["dy"] is given["out"] is diff
    )


class Last(Op):
    """Of steps that take over no others."""

"""Joining values along an axis, and taking them apart, on a GPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from caffepy.engine.core.record import Step, joined, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.cuda.op import CudaOp, DeviceOps
from caffepy.engine.ops.cuda.rectified import is_relu_backward
from caffepy.engine.ops.geometry import ConcatGeometry


class CudaConcat(CudaOp):
    """The parts of a ConcatGeometry side by side, and the way back: each is the other's
    gradient."""

    family = "movement"

    def __init__(self, ops: DeviceOps, geometry: ConcatGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        # elements of one row of each part, of the axes from geometry.axis on
        self._widths = [math.prod(shape[geometry.axis :]) for shape in geometry.shapes]
        self._starts = [0, *itertools.accumulate(self._widths)]  # in a row of the whole

    @step(reads="parts", writes="out")
    def join(self, parts: Sequence[Value], *, out: Value) -> None:
        """parts: of geometry.shapes.  out: geometry.out_shape."""
        out.write(self.ops.layout)  # each launch keeps what the others wrote
        row = self._starts[-1]
        for part, width, start in zip(parts, self._widths, self._starts, strict=False):
            self.launch("copy_columns", part.count, width, width, 0, row, start, part, out)

    @step(reads="whole", writes="parts")
    def split(self, whole: Value, *, parts: Sequence[Value | None]) -> None:
        """whole: geometry.out_shape.  parts: of geometry.shapes; None where one is not wanted."""
        self.split_and_rectify(whole, parts, {})

    def merged(self, step: Step, after: Step) -> Step | None:
        """Of the way back: the end of the whole, and the gradients of ReLUs in place of parts."""
        if step.method != "split":
            return None
        return SplitGradient(self, [step]).merged(step, after)

    def split_and_rectify(
        self, whole: Value, parts: Sequence[Value | None], relus: Mapping[int, Step]
    ) -> None:
        """`split`, and the backward passes of ReLUs, by the number of the part they work on."""
        row = self._starts[-1]
        for number, part in enumerate(parts):
            if part is None:
                continue
            width, start = self._widths[number], self._starts[number]
            part.write(self.ops.layout)
            if number in relus:
                relu = relus[number]
                values = relu.op.slope, whole, relu.arguments["x"], part
                self.launch("rectified_columns", part.count, width, row, start, *values)
            else:
                self.launch("copy_columns", part.count, width, row, start, width, 0, whole, part)


class SplitGradient(Op):
    """A gradient that is taken apart, and the passes of ReLUs that follow in place of its parts.

    steps: these, and the ends of values, one by one.
    """

    def __init__(self, concat: CudaConcat, steps: Sequence[Step]) -> None:
        super().__init__(concat.ops)
        self._concat = concat
        self._steps = tuple(steps)
        self._whole: Value = steps[0].arguments["whole"]
        self._parts: Sequence[Value | None] = steps[0].arguments["parts"]
        self._releases = [one for one in steps if one.method == "release"]
        self._relus = {
            number: one
            for one in steps
            for number, part in enumerate(self._parts)
            if part is not None and is_relu_backward(one, part)
        }
        self.step = joined(self._steps, self._run, self)

    def merged(self, step: Step, after: Step) -> Step | None:
        """The end of the whole, and ReLU in place of a part."""
        if after.method == "release":
            values = after.arguments["values"]
            fits = all(value is self._whole for value in values)
        else:
            numbers = [
                number
                for number, part in enumerate(self._parts)
                if part is not None and is_relu_backward(after, part)
            ]
            fits = len(numbers) == 1 and numbers[0] not in self._relus
        return SplitGradient(self._concat, (*self._steps, after)).step if fits else None

    def _run(self) -> None:
        self._concat.split_and_rectify(self._whole, self._parts, self._relus)
        for one in self._releases:
            one.run()

"""The three passes of layers with weights: what convolution and inner product share.

Each runs one primitive, with every value in the layout that the primitive chose. weights is the
plain descriptor of the weights, along the axes that the primitive sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.numpy.convolution import Convolution
from caffepy.engine.ops.onednn.binding import (
    Algorithm,
    Arg,
    Descriptor,
    Primitive,
    aligned,
    describe,
)
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.layout import layout_of


def settle(w: Value, layout: Layout) -> None:
    """After weights were read in a layout for the first time: it is their home, unless they have
    one, and where that is not plain, they are not kept in plain memory too."""
    w.prefer(layout)
    if w.home is not PLAIN:
        w.drop_plain()


class ForwardPass:
    """y from x, w and b.

    after: places of the operands of what the primitive does with its results.  target: the layout
    of y.
    """

    def __init__(
        self,
        primitive: Primitive,
        scratchpad: Scratchpad,
        weights: Descriptor,
        bias: bool,
        after: Sequence[int] = (),
    ) -> None:
        places = [Arg.SOURCE, Arg.WEIGHTS, Arg.TARGET, *after] + [Arg.BIAS] * bias
        self._x = layout_of(primitive.argument(Arg.SOURCE))
        self._w = layout_of(primitive.argument(Arg.WEIGHTS), weights)
        self.target = layout_of(primitive.argument(Arg.TARGET))
        self._run = Execution(primitive, scratchpad, *places)
        self._first = True

    def run(self, x: Value, w: Value, b: Value | None, out: Value, *operands: np.ndarray) -> None:
        """Overwrites out. Updates of w run in this primitive's layout, unless another user was
        first."""
        arrays = x.read(self._x), w.read(self._w), out.write(self.target), *operands
        if self._first:
            self._first = False
            settle(w, self._w)
        if b is None:
            self._run(*arrays)
        else:
            self._run(*arrays, b.read())


class DataPass:
    """The gradient of x from those of y and from w."""

    def __init__(self, primitive: Primitive, scratchpad: Scratchpad, weights: Descriptor) -> None:
        self._dy = layout_of(primitive.argument(Arg.TARGET_DIFF))
        self._w = layout_of(primitive.argument(Arg.WEIGHTS), weights)
        self._dx = layout_of(primitive.argument(Arg.SOURCE_DIFF))
        places = Arg.TARGET_DIFF, Arg.WEIGHTS, Arg.SOURCE_DIFF
        self._run = Execution(primitive, scratchpad, *places)
        self._first = True

    def run(self, dy: Value, w: Value, out: Value) -> None:
        """Overwrites out. As a deconvolution's forward pass it may be the first user of w."""
        weights = w.read(self._w)
        if self._first:
            self._first = False
            settle(w, self._w)
        self._run(dy.read(self._dy), weights, out.write(self._dx))


class ParametersPass:
    """The gradients of w and b from that of y and from x.

    A gradient that was cleared is written by the primitive itself. To any other the primitive's
    result is added, in the layout in which it comes.
    """

    def __init__(
        self, primitive: Primitive, scratchpad: Scratchpad, weights: Descriptor, bias: bool
    ) -> None:
        places = [Arg.WEIGHTS_DIFF] + [Arg.BIAS_DIFF] * bias
        descriptors = [primitive.argument(place) for place in places]
        self._scratchpad = scratchpad
        self._x = layout_of(primitive.argument(Arg.SOURCE))
        self._dy = layout_of(primitive.argument(Arg.TARGET_DIFF))
        self._layouts = [layout_of(descriptors[0], weights)] + [PLAIN] * bias
        self._sizes = [descriptor.bytes for descriptor in descriptors]
        self._results: list[np.ndarray | None] = [None] * len(places)
        self._sums: list[Execution | None] = [None] * len(places)
        self._run = Execution(primitive, scratchpad, Arg.SOURCE, Arg.TARGET_DIFF, *places)

    def run(self, dy: Value, x: Value, gradients: Sequence[Value | None]) -> None:
        """Adds to the gradients: of w, and of b where it is computed; None where nobody wants
        one."""
        targets, added = [], []
        for index, value in enumerate(gradients):
            if value is not None and not value.allocated:
                targets.append(value.write(self._layouts[index]))
            else:
                targets.append(self._result(index))
                added.append((index, value))
        self._run(x.read(self._x), dy.read(self._dy), *targets)
        for index, value in added:
            if value is not None:
                self._add(index, value.modify(self._layouts[index]))

    def _result(self, index: int) -> np.ndarray:
        """Memory of this op for a result that is to be added, or that nobody wants."""
        result = self._results[index]
        if result is None:
            result = self._results[index] = aligned(self._sizes[index])
        return result

    def _add(self, index: int, target: np.ndarray) -> None:
        """target += the result in this op's memory, padding included."""
        run = self._sums[index]
        if run is None:
            flat = Descriptor.plain((self._sizes[index] // 4,))
            primitive = describe("binary", Algorithm.BINARY_ADD, flat, flat, flat)
            places = Arg.SOURCE, Arg.SOURCE_1, Arg.TARGET
            run = self._sums[index] = Execution(primitive, self._scratchpad, *places)
        run(target, self._result(index), target)


class NumpyData:
    """The gradient of x by numpy's op."""

    def __init__(self, op: Convolution) -> None:
        self._op = op

    def run(self, dy: Value, w: Value, out: Value) -> None:
        """Overwrites out."""
        self._op.backward_data(dy, w, out=out)


class NumpyParameters:
    """The gradients of w and b by numpy's op."""

    def __init__(self, op: Convolution) -> None:
        self._op = op

    def run(self, dy: Value, x: Value, gradients: Sequence[Value | None]) -> None:
        """Adds to the gradients: of w, and of b where it is wanted."""
        add_w, add_b = (*gradients, None)[:2]
        self._op.backward_params(dy, x, add_w=add_w, add_b=add_b)

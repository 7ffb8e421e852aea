"""Where a value lies, as primitives see it: for ops that run in whatever layout their input has."""

from __future__ import annotations

import math

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, Pass, describe, reorder
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.layout import BlockedLayout, layout_of


def tensor_layout(x: Value) -> Layout:
    """The layout in which x can be read without a copy, if its axes are those of x: activations
    have such layouts, weights may have others. Else PLAIN."""
    layout = x.fresh_layout
    if isinstance(layout, BlockedLayout) and layout.dims == x.shape:
        return layout
    return PLAIN


def describe_layout(layout: Layout, shape: tuple[int, ...]) -> Descriptor:
    """The descriptor of values of a shape that lie in a layout given by `tensor_layout`."""
    return layout.descriptor if isinstance(layout, BlockedLayout) else Descriptor.plain(shape)


def channels_last(shape: tuple[int, ...]) -> Descriptor:
    """Dense memory of a tensor (samples, channels, spatial axes) with the channels innermost."""
    _, channels, *sizes = shape
    strides = [channels * math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    return Descriptor.plain(shape, (channels * math.prod(sizes), 1, *strides))


def source_and_target(x: Value, out: Value, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The arrays to read and to overwrite; one array where the op works in place."""
    if out is x or out.shares_memory_with(x):
        target = out.modify(layout)
        return target, target
    return x.read(layout), out.write(layout)


def convolution_layout(shape: tuple[int, ...]) -> Layout:
    """The layout that a convolution would give its output of this shape: what an op works in that
    the library computes badly in plain memory. PLAIN for other than 1 to 3 spatial axes."""
    spatial = len(shape) - 2
    if not 1 <= spatial <= 3:
        return PLAIN
    tensor, kernel, ones = Descriptor.any(shape), (shape[1],) * 2 + (3,) * spatial, (1,) * spatial
    primitive = describe(
        "convolution_forward", Pass.FORWARD_INFERENCE, Algorithm.CONVOLUTION_DIRECT,
        tensor, Descriptor.any(kernel), None, tensor, ones, (0,) * spatial, ones, ones,
    )  # fmt: skip
    return layout_of(primitive.argument(Arg.TARGET))


class Kept:
    """What an op's backward needs of an input that its forward overwrites: a value of its own."""

    def __init__(self, scratchpad: Scratchpad) -> None:
        self._scratchpad = scratchpad
        self._copies: dict[Layout, Execution] = {}
        self._value: Value | None = None
        self._in_use = False

    def keep(self, x: Value, out: Value, layout: Layout) -> Value:
        """Before a forward pass from x to out in a layout: the value that it is to read. That is
        never out."""
        if out is not x and not out.shares_memory_with(x):
            self._in_use = False
            return x
        kept = self.take(x)
        source, target = x.read(layout), kept.write(layout)
        if layout is PLAIN:
            np.copyto(target, source)
            return kept
        copy = self._copies.get(layout)
        if copy is None:
            tensor = describe_layout(layout, x.shape)
            copy = Execution(reorder(tensor, tensor), self._scratchpad, Arg.SOURCE, Arg.TARGET)
            self._copies[layout] = copy
        copy(source, target)
        return kept

    def value(self, x: Value) -> Value:
        """The value itself, for somebody else to write a content of x to."""
        if self._value is None:
            self._value = Value(x.shape, x.dtype)
        return self._value

    def take(self, x: Value) -> Value:
        """The value, which is now the input of the last forward pass in place of x."""
        self._in_use = True
        return self.value(x)

    def original(self, x: Value) -> Value:
        """The input of the last forward pass, given the value that held it."""
        return self._value if self._in_use and self._value is not None else x

    def drop(self) -> bool:
        """Gives the memory back; False where there is none."""
        had_one = self._value is not None
        self._value, self._in_use = None, False
        self._copies.clear()  # they hold on to it
        return had_one

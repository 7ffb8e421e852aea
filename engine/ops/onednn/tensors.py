"""Where a value lies, as primitives see it: for ops that run in whatever layout their input has."""

from __future__ import annotations

import numpy as np

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.value import Value
from caffepy.engine.ops.onednn.binding import Descriptor
from caffepy.engine.ops.onednn.layout import BlockedLayout


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


def source_and_target(x: Value, out: Value, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """The arrays to read and to overwrite; one array where the op works in place."""
    if out is x or out.shares_memory_with(x):
        target = out.modify(layout)
        return target, target
    return x.read(layout), out.write(layout)

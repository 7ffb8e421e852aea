"""Joining values along an axis, and taking them apart, on oneDNN."""

from __future__ import annotations

from collections.abc import Sequence

from caffepy.engine.core.layout import PLAIN, Layout
from caffepy.engine.core.record import step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.geometry import ConcatGeometry
from caffepy.engine.ops.onednn.binding import Algorithm, Arg, Descriptor, describe, reorder
from caffepy.engine.ops.onednn.execution import Execution, Scratchpad
from caffepy.engine.ops.onednn.layout import layout_of
from caffepy.engine.ops.onednn.port import PrimitiveOps
from caffepy.engine.ops.onednn.tensors import describe_layout, tensor_layout


class OneDnnConcat(Op):
    """The parts of a ConcatGeometry side by side, and the way back: each is the other's gradient.

    The whole is blocked where the parts are and begin at whole blocks, else plain. Parts that were
    joined get their gradients in the layouts in which they lay.
    """

    ops: PrimitiveOps

    def __init__(self, ops: PrimitiveOps, geometry: ConcatGeometry) -> None:
        super().__init__(ops)
        self.geometry = geometry
        self._joins: dict[tuple[Layout, ...], _Join] = {}
        self._splits: dict[tuple[Layout, tuple[Layout, ...] | None], _Split] = {}
        self._join: _Join | None = None  # the last forward pass, if that was one
        self._split: _Split | None = None  # likewise

    @classmethod
    def supports(cls, ops: Ops, geometry: ConcatGeometry) -> bool:
        """Parts that are not empty."""
        return min(map(min, geometry.shapes)) > 0

    @step(reads="parts", writes="out")
    def join(self, parts: Sequence[Value], *, out: Value) -> None:
        """parts: of geometry.shapes.  out: geometry.out_shape."""
        last = self._split
        layouts = last.layouts if last is not None else tuple(map(tensor_layout, parts))
        plan = self._joins.get(layouts)
        if plan is None:
            plan = self._joins[layouts] = _Join(self.ops.scratchpad, self.geometry, layouts)
        if last is None:
            self._join = plan
        plan(parts, out)

    @step(reads="whole", writes="parts")
    def split(self, whole: Value, *, parts: Sequence[Value | None]) -> None:
        """whole: geometry.out_shape.  parts: of geometry.shapes; None where one is not wanted."""
        last = self._join
        key = (tensor_layout(whole), None) if last is None else (last.whole, last.layouts)
        plan = self._splits.get(key)
        if plan is None:
            plan = self._splits[key] = _Split(self.ops.scratchpad, self.geometry, *key)
        if last is None:
            self._split = plan
        plan(whole, parts)


class _Join:
    """Parts in given layouts, and the whole in the one that the library makes of them."""

    def __init__(
        self, scratchpad: Scratchpad, geometry: ConcatGeometry, layouts: tuple[Layout, ...]
    ) -> None:
        self.layouts = layouts
        parts = list(map(describe_layout, layouts, geometry.shapes))
        primitive = describe("concat", None, len(parts), geometry.axis, parts)
        self.whole = layout_of(primitive.argument(Arg.TARGET))
        places = range(Arg.MULTIPLE_SOURCE, Arg.MULTIPLE_SOURCE + len(parts))
        self._run = Execution(primitive, scratchpad, *places, Arg.TARGET)

    def __call__(self, parts: Sequence[Value], out: Value) -> None:
        arrays = [part.read(layout) for part, layout in zip(parts, self.layouts, strict=True)]
        self._run(*arrays, out.write(self.whole))


class _Split:
    """The whole in a given layout, or plain where parts would begin or end inside its blocks.

    layouts: of the parts; None for that of the whole.
    """

    def __init__(
        self,
        scratchpad: Scratchpad,
        geometry: ConcatGeometry,
        whole: Layout,
        layouts: tuple[Layout, ...] | None,
    ) -> None:
        views = _views(geometry, describe_layout(whole, geometry.out_shape))
        if views is None:
            whole = PLAIN
            views = _views(geometry, Descriptor.plain(geometry.out_shape))
        assert views is not None, "plain memory has no blocks"
        if layouts is None:
            layouts = tuple(layout_of(_closed_up(view)) for view in views)
        self.layouts = layouts
        self._whole = whole
        targets = map(describe_layout, layouts, geometry.shapes)
        self._runs = [
            Execution(reorder(view, target), scratchpad, Arg.SOURCE, Arg.TARGET)
            for view, target in zip(views, targets, strict=True)
        ]

    def __call__(self, whole: Value, parts: Sequence[Value | None]) -> None:
        source = whole.read(self._whole)
        for part, layout, run in zip(parts, self.layouts, self._runs, strict=True):
            if part is not None:
                run(source, part.write(layout))


def _views(geometry: ConcatGeometry, whole: Descriptor) -> list[Descriptor] | None:
    """Where the parts lie in the whole; None where that is not at whole blocks."""
    views, start = [], [0] * len(geometry.out_shape)
    for shape in geometry.shapes:
        view = whole.part(shape, start)
        if view is None:
            return None
        views.append(view)
        start[geometry.axis] += shape[geometry.axis]
    return views


def _closed_up(view: Descriptor) -> Descriptor:
    """The same layout without the gaps: what the library gives to the result of an addition."""
    addition = describe("binary", Algorithm.BINARY_ADD, view, view, Descriptor.any(view.dims))
    return addition.argument(Arg.TARGET)

"""Class labels and other numbers that may be wrong as ops on a GPU read them."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn, Protocol

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry, Shape
from caffepy.engine.ops.numpy.labels import LabelReader


class Reader(Protocol):
    """What knows which numbers are wrong, on the host."""

    def check(self, label: Value, /) -> None:
        """Raises: LabelError naming the first number that is wrong."""

    def refuse(self, label: Value, place: int, number: float, /) -> NoReturn:
        """Raises: LabelError about the element `number` at a place in C order."""


class CheckedOnDevice:
    """Numbers that kernels check.

    Where they lie on the host, as those that a data layer has just written, they are checked there
    before anything is launched, in each run. Kernels check all that they read: what is wrong counts
    for nothing, and is told to the watch, which refuses the first one told.

    arguments: for kernels, behind the numbers: number, add_watch.
    """

    def __init__(self, ops: DeviceOps, make: Callable[[], Reader], shape: Shape) -> None:
        """make: a reader; there are two, of which the watch keeps one.  shape: of the numbers."""
        self._ops = ops
        self._reader = make()
        self._label: Value | None = None
        number = ops.watch.add(functools.partial(_refuse, weakref.ref(self), make(), shape))
        self.arguments: tuple[Any, ...] = number, ops.watch.value

    def check(self, label: Value) -> tuple[Any, ...]:
        """Before kernels that read `label` are launched; gives it and `arguments` for them.

        Raises: LabelError where it lies on the host, and a number is wrong.
        """
        self._label = label
        self._ops.each_run(self._look)
        return label, *self.arguments

    def _look(self) -> None:
        if self._label is not None and self._label.on_host:
            self._reader.check(self._label)

    @property
    def last(self) -> Value | None:
        """What was checked last."""
        return self._label


class DeviceLabels(CheckedOnDevice):
    """Class numbers kept as floats, which kernels read by `class_of` of labels.cuh.

    arguments: for kernels, behind the label: ignores, ignore, number, add_watch.
    """

    reader: ClassVar[type[LabelReader]] = LabelReader

    def __init__(
        self,
        ops: DeviceOps,
        scores: AxisGeometry,
        ignore_label: int | None,
        where: str,
        *wording: str,
    ) -> None:
        """As LabelReader. wording: its noun and remedy."""
        make = functools.partial(self.reader, scores, ignore_label, where, *wording)
        super().__init__(ops, make, (scores.outer, scores.inner))
        self.arguments = ignore_label is not None, ignore_label or 0, *self.arguments


def _refuse(
    checked: weakref.ref[CheckedOnDevice], reader: Reader, shape: Shape, place: int, number: float
) -> NoReturn:
    """Raises the error about a number, whose op may be gone: the watch keeps neither its memory nor
    that of the reader, which knows the numbers that it has read."""
    found = checked()
    label = None if found is None else found.last
    reader.refuse(label or Value(shape), place, number)

"""Class labels as ops on a GPU read them."""

from __future__ import annotations

import functools
import weakref
from typing import Any, ClassVar, NoReturn

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.op import DeviceOps
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.labels import LabelReader


class DeviceLabels:
    """Class numbers kept as floats, which kernels read by `class_of` of labels.cuh.

    Where the labels lie on the host, as those that a data layer has just written, they are checked
    there before anything is launched, in each run. Kernels check all that they read: a label that
    is no class counts for nothing, and is told to the watch, which refuses the first one told.

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
        self._ops = ops
        self._reader, refusing = (
            self.reader(scores, ignore_label, where, *wording) for _ in range(2)
        )
        self._label: Value | None = None
        number = ops.watch.add(functools.partial(_refuse, weakref.ref(self), refusing))
        ignores = ignore_label is not None
        self.arguments: tuple[Any, ...] = ignores, ignore_label or 0, number, ops.watch.value

    def check(self, label: Value) -> tuple[Any, ...]:
        """Before kernels that read `label` are launched; gives it and `arguments` for them.

        Raises: LabelError where it lies on the host, and one is no class.
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


def _refuse(
    labels: weakref.ref[DeviceLabels], reader: LabelReader, place: int, number: float
) -> NoReturn:
    """Raises the error about a label, whose op may be gone: the watch keeps neither its memory nor
    that of the reader, which knows the labels that it has read."""
    found = labels()
    label = None if found is None else found.last
    reader.refuse(label or Value((reader.scores.outer, reader.scores.inner)), place, number)

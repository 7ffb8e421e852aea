"""Class labels as numpy ops read them."""

from __future__ import annotations

import functools
from typing import NoReturn

import numpy as np

from caffepy.engine.core.errors import LabelError
from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import AxisGeometry


class LabelReader:
    """Class numbers kept as floats: cut to integers as Caffe does, and checked.

    scores: the blob that is labelled, seen around its axis of classes.  ignore_label: positions
    with this label count for nothing.  where: the layer; noun, remedy: what the numbers are and
    what to do about a bad one, for messages.
    """

    def __init__(
        self,
        scores: AxisGeometry,
        ignore_label: int | None,
        where: str,
        noun: str = "label",
        remedy: str = "Correct the data, give the layer below as many outputs as there are "
        "classes, or set ignore_label.",
    ) -> None:
        self.scores = scores
        self.ignore_label = ignore_label
        self.where = where
        self.noun = noun
        self.remedy = remedy
        self._read: tuple[Value, int, int] | None = None  # of what `_found` was made
        self._checked: tuple[Value, int, int] | None = None
        self._found = np.empty(0, np.int64), np.empty(0, bool)

    def read(self, label: Value) -> tuple[np.ndarray, np.ndarray]:
        """label: (outer, inner) elements in any shape, axis 0 the samples.

        Returns (outer, inner) int64 class numbers, 0 where the label is none, and (outer, inner)
        bool: whether the position counts.
        The arrays are the same until the label is written, and not to be changed.
        Raises: LabelError naming the first sample whose label is no class.
        """
        content = label, label.storage_id, label.version
        if content != self._read:
            self._found = self._look_up(label)
            self._read = content
        return self._found

    def check(self, label: Value) -> None:
        """Raises: LabelError as `read` does, without making class numbers of the labels."""
        content = label, label.storage_id, label.version
        if content != self._checked:
            if not self._usual(label.read()):
                numbers = np.trunc(label.read())
                bad = ~self._good(numbers)
                if self.ignore_label is not None:
                    bad &= numbers != self.ignore_label
                self._refuse_any(label, bad)
            self._checked = content

    def refuse(self, label: Value, place: int, number: float) -> NoReturn:
        """Raises: LabelError about the element `number` at a place in C order."""
        ignored = "" if self.ignore_label is None else f" or ignore_label {self.ignore_label}"
        raise LabelError(
            self.where,
            label,
            tuple(int(index) for index in np.unravel_index(place, label.shape)),
            f"expected 0 to {self.scores.size - 1}{ignored}, got {number:g}. {self.remedy}",
            self.noun,
        )

    def places(self, classes: np.ndarray) -> np.ndarray:
        """(outer, inner) int64: where the scores of the classes lie among all scores."""
        steps = classes if self.scores.inner == 1 else classes * self.scores.inner
        places: np.ndarray = self._origins + steps
        return places

    @functools.cached_property
    def everything(self) -> np.ndarray:
        """What `read` tells of positions if none is ignored."""
        return np.full((self.scores.outer, self.scores.inner), True)

    @functools.cached_property
    def _origins(self) -> np.ndarray:
        """(outer, inner): where the scores of class 0 lie."""
        outer, size, inner = self.scores.shape
        return np.arange(outer)[:, None] * (size * inner) + np.arange(inner)

    def _look_up(self, label: Value) -> tuple[np.ndarray, np.ndarray]:
        shape = (self.scores.outer, self.scores.inner)
        numbers = label.read()
        if self._usual(numbers):
            return numbers.astype(np.int64).reshape(shape), self.everything
        numbers = np.trunc(numbers)
        counted = np.full(label.shape, True) if self.ignore_label is None else (
            numbers != self.ignore_label
        )  # fmt: skip
        good = self._good(numbers)
        self._refuse_any(label, counted & ~good)
        classes = np.where(good, numbers, 0).astype(np.int64)
        return classes.reshape(shape), counted.reshape(shape)

    def _usual(self, numbers: np.ndarray) -> bool:
        """Whether all are classes, and none is ignored, seen at little cost."""
        if self.ignore_label is not None or not numbers.size:
            return False
        return bool(numbers.min() >= 0 and numbers.max() < self.scores.size)

    def _good(self, numbers: np.ndarray) -> np.ndarray:
        """Which of the integers are classes."""
        good: np.ndarray = (numbers >= 0) & (numbers < self.scores.size)
        return good

    def _refuse_any(self, label: Value, bad: np.ndarray) -> None:
        if bad.any():
            place = int(bad.argmax())
            self.refuse(label, place, label.read().reshape(-1)[place])

"""Blob: a named pair of values, the data and its gradient."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Epoch, Value

MAX_COUNT = (1 << 31) - 1  # elements of a blob, as in Caffe


class BlobShapeError(ShapeError):
    """A shape that no blob can have. It does not name the layer: whoever knows that adds it."""


class Blob:
    """What layers pass to each other: `data` and `diff` of one shape.

    `diff` gets memory when it is first written.
    """

    __slots__ = ("data", "diff", "name")

    def __init__(
        self,
        name: str = "",
        shape: Shape = (),
        dtype: Any = np.float32,
        epoch: Epoch | None = None,
    ) -> None:
        self.name = name
        self._check(shape)
        self.data = Value(shape, dtype, epoch)
        self.diff = Value(shape, dtype, epoch)

    @property
    def shape(self) -> Shape:
        return self.data.shape

    @property
    def num_axes(self) -> int:
        return len(self.data.shape)

    @property
    def count(self) -> int:
        return self.data.count

    def reshape(self, shape: Shape) -> bool:
        """Gives data and diff another shape; True where it differs. Raises: BlobShapeError."""
        self._check(shape)
        self.diff.reshape(shape)
        return self.data.reshape(shape)

    def alias(self, other: Blob, shape: Shape | None = None) -> None:
        """Shares data and diff with `other`, seen in `shape`."""
        self.data.alias(other.data, shape)
        self.diff.alias(other.diff, shape)

    def vary(self) -> None:
        """From now on its shape may be another in each pass: see Value."""
        self.data.varies = self.diff.varies = True

    def _check(self, shape: Shape) -> None:
        """Refuses a shape before memory is asked for."""
        if min(shape, default=0) < 0 or math.prod(shape) > MAX_COUNT:
            raise BlobShapeError(
                f"blob '{self.name}': expected sizes from 0 up and at most {MAX_COUNT} elements, "
                f"got shape {tuple(shape)}. Correct the sizes that lead to it."
            )

    def __repr__(self) -> str:
        return f"Blob({self.name!r}, {self.shape})"

"""Blob: a named pair of values, the data and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffepy.engine.core.value import Epoch, Shape, Value


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
        """Gives data and diff another shape; True where it differs."""
        self.diff.reshape(shape)
        return self.data.reshape(shape)

    def alias(self, other: Blob, shape: Shape | None = None) -> None:
        """Shares data and diff with `other`, seen in `shape`."""
        self.data.alias(other.data, shape)
        self.diff.alias(other.diff, shape)

    def __repr__(self) -> str:
        return f"Blob({self.name!r}, {self.shape})"

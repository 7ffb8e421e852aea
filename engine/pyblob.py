"""What Python code sees of blobs: numpy arrays that are the net's own memory, as in pycaffe."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, overload

import numpy as np

from caffepy.engine import table
from caffepy.engine.core import blob as core
from caffepy.engine.core.errors import DeviceError, ShapeError
from caffepy.engine.core.storage import Shape
from caffepy.engine.core.value import Value
from caffepy.engine.pycopy import Uncopied

LEGACY_AXES = 4  # num, channels, height, width


class Blob(Uncopied):
    """One blob of a net.

    data, diff: arrays of the blob's shape in the net's dtype. They are the net's memory: what is
    written into them (`blob.data[...] = x`, `blob.data *= 2`) is what the net goes on with, and
    they show what the net writes later, until a reshape asks for more memory.
    shape: a tuple.  count: the number of elements.
    num, channels, height, width: the sizes of up to 4 axes, 1 where there is none.
    """

    __slots__ = ("__weakref__", "_blob")

    def __init__(self, blob: core.Blob) -> None:
        self._blob = blob

    @property
    def data(self) -> np.ndarray:
        """The array of the blob's numbers, in its shape: the net's memory."""
        return self._blob.data.lease()

    @data.setter
    def data(self, array: Any) -> None:
        self._only_in_place("data", self._blob.data, array)

    @property
    def diff(self) -> np.ndarray:
        """The array of their gradients, in the blob's shape: the net's memory."""
        return self._blob.diff.lease()

    @diff.setter
    def diff(self, array: Any) -> None:
        self._only_in_place("diff", self._blob.diff, array)

    @property
    def shape(self) -> Shape:
        """The sizes of all axes."""
        return self._blob.shape

    @property
    def count(self) -> int:
        """The number of elements."""
        return self._blob.count

    @property
    def num(self) -> int:
        """The size of axis 0. Raises: ShapeError for more than 4 axes, as the next three."""
        return self._legacy_size("num", 0)

    @property
    def channels(self) -> int:
        """The size of axis 1, 1 where there is none."""
        return self._legacy_size("channels", 1)

    @property
    def height(self) -> int:
        """The size of axis 2, 1 where there is none."""
        return self._legacy_size("height", 2)

    @property
    def width(self) -> int:
        """The size of axis 3, 1 where there is none."""
        return self._legacy_size("width", 3)

    def reshape(self, *sizes: int) -> None:
        """Takes another shape, one whole number per axis: `blob.reshape(*other.shape)`.

        Raises: TypeError where a size is no whole number; ShapeError where no blob has such sizes.
        """
        try:
            shape = tuple(operator.index(size) for size in sizes)
        except TypeError:
            raise TypeError(
                f"blob '{self._blob.name}': reshape: expected whole numbers, one per axis, got "
                f"{', '.join(map(repr, sizes))}. Write reshape(*shape) for a tuple, and // for a "
                "division without a rest."
            ) from None
        self._blob.reshape(shape)

    @property
    def _gpu_data_ptr(self) -> int:
        """Raises: DeviceError: use `data`."""
        return self._refuse_pointer("_gpu_data_ptr", "data")

    @property
    def _gpu_diff_ptr(self) -> int:
        """Raises: DeviceError: use `diff`."""
        return self._refuse_pointer("_gpu_diff_ptr", "diff")

    def _refuse_pointer(self, name: str, part: str) -> NoReturn:
        raise DeviceError(
            f"blob '{self._blob.name}': {name}: expected an array, got an address in a GPU's "
            "memory asked for: caffepy gives none, as contents move between host and GPU. Use the "
            f"array in {part}."
        )

    def _legacy_size(self, name: str, axis: int) -> int:
        shape = self._blob.shape
        if len(shape) > LEGACY_AXES:
            raise ShapeError(
                f"blob '{self._blob.name}': {name}: expected at most {LEGACY_AXES} axes, got shape "
                f"{shape}. Use shape[{axis}]."
            )
        return shape[axis] if axis < len(shape) else 1

    def _only_in_place(self, name: str, value: Value, array: Any) -> None:
        """What is assigned after `blob.data += 1` is the array itself; another one is refused."""
        own = value.lease()
        same = (
            isinstance(array, np.ndarray)
            and array.shape == own.shape
            and array.__array_interface__["data"] == own.__array_interface__["data"]
        )
        if not same:
            raise AttributeError(
                f"blob '{self._blob.name}': {name} is the net's memory and cannot be replaced. "
                f"Write {name}[...] = ... to set its elements."
            )

    def __repr__(self) -> str:
        return f"Blob({self._blob.name!r}, shape={self.shape})"

    def _repr_html_(self) -> str:
        """As notebooks show it: the shape, and what range the numbers have."""
        told = [("shape", f"{self.shape} {self._blob.data.dtype}")]
        told += [
            (part, _range(value.read()))
            for part, value in (("data", self._blob.data), ("diff", self._blob.diff))
            if value.allocated and self.count
        ]
        return table.html(told, title=f"Blob '{self._blob.name}'")


class BlobVec(Uncopied, Sequence[Blob]):
    """The learnable blobs of a layer, which `add_blob` makes more of.

    blobs: the layer's, which may grow.  add: makes the next one, of a shape.
    """

    def __init__(
        self, blobs: Sequence[core.Blob], add: Callable[[Shape], Any] | None = None
    ) -> None:
        self._blobs = blobs
        self._add = add or _cannot_add
        self._shown: list[Blob] = []

    def add_blob(self, *sizes: int) -> None:
        """Appends a blob of zeros with one size per axis. Raises: RuntimeError after set-up."""
        self._add(tuple(operator.index(size) for size in sizes))

    def __len__(self) -> int:
        return len(self._blobs)

    @overload
    def __getitem__(self, index: int) -> Blob: ...

    @overload
    def __getitem__(self, index: slice) -> list[Blob]: ...

    def __getitem__(self, index: int | slice) -> Blob | list[Blob]:
        self._shown += [Blob(blob) for blob in self._blobs[len(self._shown) :]]
        return self._shown[index]

    def __repr__(self) -> str:
        return f"BlobVec({list(self)})"


def _range(array: np.ndarray) -> str:
    """`-0.5 to 2, mean 0.25`"""
    with np.errstate(all="ignore"):  # nan and inf show as such
        return f"{array.min():g} to {array.max():g}, mean {array.mean():g}"


def _cannot_add(shape: Shape) -> NoReturn:
    raise RuntimeError(
        f"add_blob{shape}: a layer takes learnable blobs in its setup only, while the net is "
        "built. Call it there."
    )

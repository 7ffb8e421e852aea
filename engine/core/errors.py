"""Exceptions that reach the user.

    CaffepyError
      PrototxtError    a prototxt cannot be read, or asks for something that does not exist
      WeightsError     a weights file cannot be read or does not fit the net
      NetError         the layers do not make a net
        ShapeError     blob shapes do not fit a layer
      DataError        a database, list, image or record is bad
        LabelError     a label is no class
      NotFiniteError   nan or inf where numbers should be
      SnapshotError    a snapshot cannot be written or resumed
        SaveError      a file cannot be written: the disk is full, the folder is gone or closed
      DeviceError      a backend, library or device is missing or fails
        OutOfMemoryError  a device has too little free memory

The message has the form `where: what: expected, got. remedy.`
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffepy.engine.core.units import size
from caffepy.proto.errors import CaffepyError, PrototxtError, WeightsError

if TYPE_CHECKING:
    from caffepy.engine.core.value import Value

__all__ = [
    "CaffepyError",
    "DataError",
    "DeviceError",
    "LabelError",
    "NetError",
    "NotFiniteError",
    "OutOfMemoryError",
    "PrototxtError",
    "SaveError",
    "ShapeError",
    "SnapshotError",
    "WeightsError",
]


class NetError(CaffepyError):
    """The layers do not make a net."""


class ShapeError(NetError):
    """The shapes of blobs do not fit a layer."""


class DataError(CaffepyError):
    """A database, list, image or record is bad."""


class LabelError(DataError):
    """A label is no class, or an index has no row.

    where: the layer that reads it.  labels: the value it is in.  index: its place there, sample
    first.  problem: expected, got, remedy.  noun: what it is.
    The op that finds it knows no more; the net then sets blob, the labels' name, and source, where
    the sample comes from.
    """

    def __init__(
        self,
        where: str,
        labels: Value,
        index: tuple[int, ...],
        problem: str,
        noun: str = "label",
    ) -> None:
        super().__init__(where, problem)
        self.where = where
        self.labels = labels
        self.index = index
        self.problem = problem
        self.noun = noun
        self.blob = ""
        self.source = ""

    def __str__(self) -> str:
        sample, *inside = self.index or (0,)
        what = f"{self.noun} blob '{self.blob}', sample" if self.blob else f"{self.noun} of sample"
        what += f" {sample} of the batch"
        if any(size > 1 for size in self.labels.shape[1:]):
            what += f" at {tuple(inside)}"
        if self.source:
            what += f" ({self.source})"
        return f"{self.where}: {what}: {self.problem}"


class NotFiniteError(CaffepyError):
    """There is nan or inf where numbers should be."""


class SnapshotError(CaffepyError):
    """A snapshot cannot be written or resumed."""


class SaveError(SnapshotError):
    """A file cannot be written: the disk is full, or the folder is gone or closed to us."""


class DeviceError(CaffepyError):
    """A backend, library or device is missing or fails."""


class OutOfMemoryError(DeviceError):
    """A device has too little free memory.

    where: the device.  asked, free: bytes.  explanation: what takes the memory, and what to do;
    the device does not know.
    """

    def __init__(self, where: str, asked: int, free: int, explanation: str = "") -> None:
        remedy = explanation or "Use a smaller batch_size, or end what else uses the device."
        super().__init__(
            f"{where}: memory: expected {size(asked)} free, got {size(free)}. {remedy}"
        )
        self.where = where
        self.asked = asked
        self.free = free
        self.explanation = explanation

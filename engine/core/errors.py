"""Exceptions that reach the user.

    CaffepyError
      PrototxtError    a prototxt cannot be read, or asks for something that does not exist
      WeightsError     a weights file cannot be read or does not fit the net
      NetError         the layers do not make a net
        ShapeError     blob shapes do not fit a layer
      DataError        a database, list, image or record is bad
      SnapshotError    a snapshot cannot be written or resumed
      DeviceError      a backend, library or device is missing or fails

The message has the form `where: what: expected, got. remedy.`
"""

from __future__ import annotations

from caffepy.proto.errors import CaffepyError, PrototxtError, WeightsError

__all__ = [
    "CaffepyError",
    "DataError",
    "DeviceError",
    "NetError",
    "PrototxtError",
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


class SnapshotError(CaffepyError):
    """A snapshot cannot be written or resumed."""


class DeviceError(CaffepyError):
    """A backend, library or device is missing or fails."""

"""Ops: what layers and nets know of a backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from caffepy.engine.core.record import Recorder


class Ops(Protocol):
    """What every backend has. The op constructors are those of NumpyOps, the reference.

    dtype: of all values.  recorder: while set, op calls append their Steps to it.
    """

    name: ClassVar[str]
    dtype: np.dtype
    recorder: Recorder | None

    def __getattr__(self, constructor: str) -> Callable[..., Any]:
        """The op constructors, as layers call them: `ops.convolution(geometry)`."""
        raise AttributeError(f"backend '{self.name}' has no op '{constructor}'")

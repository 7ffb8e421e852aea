"""Ops: what layers and nets know of a backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np

from caffepy.engine.core.layout import Buffer, Layout
from caffepy.engine.core.record import Recorder


class Runtime(Protocol):
    """Where kernels run. layout: how they see values, in C order in the runtime's memory."""

    layout: Layout

    def build(self, source: str, name: str, element: str) -> Any:
        """Compiles CUDA source; what it gives is for `launch`. The same content is compiled once.

        name: what the compiler's messages call it.  element: what T is, float or double.
        Raises: DeviceError with the compiler's message.
        """

    def launch(
        self, program: Any, kernel: str, count: int, arguments: Sequence[Buffer | np.generic]
    ) -> None:
        """Runs a kernel on a grid for `count` elements. arguments: buffers of `layout`, and
        scalars of the exact type that the kernel takes; the count is the first."""

    def launch_rows(
        self, program: Any, kernel: str, count: int, arguments: Sequence[Buffer | np.generic]
    ) -> None:
        """As `launch`, with a block of threads for each of `count` rows or fewer. Threads of a
        block may work together (__syncthreads, __shared__, shuffles)."""


class Ops(Protocol):
    """What every backend has. The op constructors are those of NumpyOps, the reference.

    dtype: of all values.  recorder: while set, op calls append their Steps to it.
    runtime: where kernels run; None on backends that compute on the CPU.
    layout: in which parameters are at home where no op has chosen another layout for them.
    late: whether calls of ops return before their work is done: what they find wrong with their
    inputs is then raised by `check`.
    """

    name: ClassVar[str]
    dtype: np.dtype
    recorder: Recorder | None
    runtime: Runtime | None
    layout: Layout
    late: ClassVar[bool]

    def check(self) -> None:
        """Raises what ops found wrong since the last look, and did not raise themselves."""

    def let_go(self) -> None:
        """Forgets the arrays that ops hold on to since their last call, before values move."""

    def __getattr__(self, constructor: str) -> Callable[..., Any]:
        """The op constructors, as layers call them: `ops.convolution(geometry)`."""
        raise AttributeError(f"backend '{self.name}' has no op '{constructor}'")

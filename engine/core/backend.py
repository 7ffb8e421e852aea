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


class Copied(Protocol):
    """The end of a copy."""

    def milliseconds_since(self, earlier: Any) -> float:
        """The time between two; waits until the copy is done."""


class Device(Protocol):
    """Where data layers bring their batches while the batches before are computed with.

    layout: of values there. Work on it is in order, but for copies ahead.
    """

    layout: Layout

    def memory(self) -> tuple[int, int]:
        """The bytes that can be allocated, and all that it has."""

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """Host memory that copies to the device need not wait for."""

    def upload(self, source: np.ndarray, buffer: Buffer) -> None:
        """From the host, in C order; `source` may be changed once this returns."""

    def upload_ahead(self, source: np.ndarray, buffer: Buffer) -> Copied:
        """Copies pinned memory after the work asked for so far, beside what is asked for next.
        Until it is done `source` must not change."""

    def wait_for(self, event: Any) -> None:
        """Work asked for from now on waits for the end of a copy; the host does not."""


class Ops(Protocol):
    """What every backend has. The op constructors are those of NumpyOps, the reference.

    dtype: of all values.  recorder: while set, op calls append their Steps to it.
    runtime: where kernels run; None on backends that compute on the CPU.
    layout: in which parameters are at home where no op has chosen another layout for them.
    scales_loss: whether gradients leave the range of products unless the loss is scaled
    (`loss_scale`).
    late: whether calls of ops return before their work is done: what they find wrong with their
    inputs is then raised by `check`.
    device: where batches are brought ahead of their use; None where they are used on the host.
    keeps_data: whether data sets are to be kept there.
    scratch_bytes: what ops that were built write and read again there, in turn.
    """

    name: ClassVar[str]
    dtype: np.dtype
    recorder: Recorder | None
    runtime: Runtime | None
    layout: Layout
    late: ClassVar[bool]
    scales_loss: bool
    device: Device | None
    keeps_data: bool

    @property
    def scratch_bytes(self) -> int: ...

    def check(self) -> None:
        """Raises what ops found wrong since the last look, and did not raise themselves."""

    def let_go(self) -> None:
        """Forgets the arrays that ops hold on to since their last call, before values move."""

    def __getattr__(self, constructor: str) -> Callable[..., Any]:
        """The op constructors, as layers call them: `ops.convolution(geometry)`."""
        raise AttributeError(f"backend '{self.name}' has no op '{constructor}'")

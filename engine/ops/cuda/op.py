"""What ops on a GPU share: the backend as they see it, launches, and numbers that change."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import numpy as np

from caffepy.engine.core.backend import Ops
from caffepy.engine.core.layout import Layout
from caffepy.engine.core.random import Counter
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op
from caffepy.engine.ops.cuda.plan_choice import PlanChoice
from caffepy.engine.ops.cuda.port import CudaRuntime, Product
from caffepy.engine.ops.cuda.products import Products
from caffepy.engine.ops.cuda.watch import Watch
from caffepy.engine.ops.cuda.workspace import Workspace
from caffepy.engine.ops.kernels import Kernels


class DeviceOps(Ops, Protocol):
    """A backend on a GPU, as its ops see it.

    runtime: the GPU.  layout: how values lie there, in C order.  precision: of products, "fp32",
    "tf32", "fp16" or "bf16".  deterministic: whether sums of many threads have one order where
    that is slower.  watch: what kernels find wrong with their inputs.
    workspace: memory that ops use in turn.  products: matrix products.  plans: those of cuDNN.
    """

    runtime: CudaRuntime
    layout: Layout
    precision: str
    deterministic: bool
    watch: Watch
    workspace: Workspace
    products: Products
    plans: PlanChoice

    def kernels(self, family: str) -> Kernels:
        """The kernels of `kernels/<family>.cu`."""

    def multiply(self, product: Product, a: Value, b: Value, out: Value) -> None:
        """A matrix product in the backend's precision, written or added to `out`; see Products."""

    def each_run(self, action: Callable[[], None]) -> None:
        """Calls `action` now; of steps that become a graph, before each launch of it. For work
        on the host: what is sent to the device anew, and checks."""

    def number(self, counter: Counter) -> LiveCount:
        """The value of a counter, for kernels to read."""


class CudaOp(Op):
    """Base of ops on a GPU. family: the `.cu` file with its kernels."""

    ops: DeviceOps
    family: ClassVar[str]

    def __init__(self, ops: DeviceOps) -> None:
        super().__init__(ops)
        self.kernels = ops.kernels(self.family)

    def launch(self, kernel: str, count: int, *arguments: Any) -> None:
        """A kernel with a thread for each of `count` elements or fewer; see `Kernels.launch`."""
        self.kernels.launch(kernel, count, *arguments)

    def launch_rows(self, kernel: str, count: int, *arguments: Any) -> None:
        """A kernel with a block of threads for each of `count` rows or fewer."""
        self.kernels.launch_rows(kernel, count, *arguments)

    def scratch(self, count: int, dtype: Any = None) -> Value:
        """Memory of the op's own, of `count` elements."""
        return Value((count,), dtype or self.ops.dtype)


class LiveNumbers:
    """Numbers of the host that kernels read from the device, so that they may change from run to
    run of a graph.

    An op calls `bring` before it launches a kernel that reads `value`.  now: those of the next run.
    """

    def __init__(self, ops: DeviceOps, count: int, dtype: Any = np.float64) -> None:
        self._ops = ops
        self._sent: bytes | None = None
        self.now = np.zeros(count, dtype)
        self.value = Value((count,), dtype)

    def bring(self) -> None:
        """Makes the device's numbers those of now, in each run."""
        self._ops.each_run(self.refresh)

    def refresh(self) -> None:
        """Makes the device's numbers those of now."""
        now = self.now.tobytes()
        if now != self._sent:
            self._ops.runtime.upload(self.now, self.value.write(self._ops.layout))
            self._sent = now


class LiveCount(LiveNumbers):
    """A counter of the host that kernels read from the device: one uint64."""

    def __init__(self, ops: DeviceOps, counter: Counter) -> None:
        super().__init__(ops, 1, np.uint64)
        self._counter = weakref.ref(counter)  # whose key this is

    def refresh(self) -> None:
        counter = self._counter()
        assert counter is not None, "ops hold the counters that they bring"
        self.now[0] = counter.value
        super().refresh()


class KeptOnDevice:
    """What an op's backward needs of an input that its forward may overwrite: a copy where it
    does."""

    def __init__(self, ops: DeviceOps) -> None:
        self._ops = ops
        self._copy: Value | None = None

    def keep(self, x: Value, out: Value) -> None:
        """Before a forward pass from `x` to `out`."""
        copy = self.target(x, out)
        if copy is not None:
            layout = self._ops.layout
            self._ops.runtime.copy(x.read(layout), copy.write(layout))

    def target(self, x: Value, out: Value) -> Value | None:
        """Where a kernel that goes from `x` to `out` is to write `x` itself, in place of `keep`;
        None where it need not."""
        if not (x is out or x.shares_memory_with(out)):
            self._copy = None
        elif self._copy is None or self._copy.count != x.count:
            self._copy = Value((x.count,), x.dtype)
        return self._copy

    def of(self, x: Value) -> Value:
        """The input of the last forward pass, given the value that held it."""
        return x if self._copy is None else self._copy

"""Stopwatches: points in the work of a backend, and the time between them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Event


class Stopwatch(Protocol):
    """Measures the work of a backend."""

    def mark(self) -> Any:
        """This point in the work."""

    def ms(self, earlier: Any, later: Any) -> float:
        """The milliseconds of the work between two points; waits until it is done."""


class HostStopwatch:
    """Of work that is done when a call returns. clock: gives seconds."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock

    def mark(self) -> float:
        return self._clock()

    def ms(self, earlier: float, later: float) -> float:
        return (later - earlier) * 1e3


class DeviceStopwatch:
    """Of a GPU, which does its work after the calls: by events in its stream. What the GPU waits
    for the host counts too."""

    def __init__(self, runtime: CudaRuntime) -> None:
        self._runtime = runtime

    def mark(self) -> Event:
        return self._runtime.record()

    def ms(self, earlier: Event, later: Event) -> float:
        return later.milliseconds_since(earlier)


def stopwatch(ops: Ops) -> Stopwatch:
    """The one for a backend."""
    return DeviceStopwatch(ops.runtime) if isinstance(ops, CudaOps) else HostStopwatch()

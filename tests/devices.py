"""What tests of the GPU engine run on: the host runtime everywhere, and a GPU where there is one.

`pytest -m gpu` runs them on a GPU. Where there is none these are left out, but for one test that is
skipped with the reason.
"""

from __future__ import annotations

from typing import Any

import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from tests.host_runtime import HostRuntime

# Parameters of fixtures. The names begin with those that `device` knows.
CUDA = "cuda"
DEVICES = (CUDA, pytest.param("gpu", marks=pytest.mark.gpu))
CACHING = ("cuda --cache device", pytest.param("gpu --cache device", marks=pytest.mark.gpu))


def device(request: pytest.FixtureRequest) -> CudaRuntime:
    """The runtime that a parameter of DEVICES or CACHING names."""
    if request.param.startswith(CUDA):
        return HostRuntime(request.getfixturevalue("host_folder"))
    found: CudaRuntime = request.getfixturevalue("gpu_runtime")
    return found


class Noted:
    """A graph that tells of its launches. graph: the runtime's own."""

    def __init__(self, graph: Graph, launched: list[Graph]) -> None:
        self._graph = graph
        self._launched = launched

    def launch(self) -> None:
        self._launched.append(self)
        self._graph.launch()


class Unpooled:
    """In place of a runtime's pool: each buffer is an allocation of its own, so that tools which
    watch these see what goes beyond its end. cuda: cupy's module."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda

    def malloc(self, size: int) -> Any:
        return self._cuda.MemoryPointer(self._cuda.Memory(size), 0)

    def free_bytes(self) -> int:
        return 0

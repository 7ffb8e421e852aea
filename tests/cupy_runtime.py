"""CupyRuntime: runs CUDA kernels through cupy, for tests on a machine with a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffepy.engine.ops.kernels import instantiated

THREADS = 128


class CupyLayout:
    """C order on the current GPU."""

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return 0

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> Any:
        import cupy

        return cupy.empty(shape, dtype)

    def load(self, plain: np.ndarray, buffer: Any) -> None:
        buffer.set(plain)

    def store(self, buffer: Any, plain: np.ndarray) -> None:
        plain[...] = buffer.get()

    def convert(self, source: Any, content: Any, buffer: Any) -> bool:
        return False

    def elements(self, buffer: Any) -> Any:
        return buffer.reshape(-1)


class CupyRuntime:
    """A Runtime on the current GPU."""

    layout = CupyLayout()

    def build(self, source: str, name: str, element: str) -> Any:
        import cupy

        return cupy.RawModule(code=instantiated(source, name, element))

    def launch(self, program: Any, kernel: str, count: int, arguments: Sequence[Any]) -> None:
        blocks = -(-count // THREADS)
        program.get_function(kernel)((blocks,), (THREADS,), tuple(arguments))

"""A cuBLAS on the host, of what `engine/ops/cuda/cublas.py` calls."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.fake_cupy import Stream


class FakeCublas:
    """The library's functions by numpy, from the addresses that they are given, along columns.
    stream: by its address, the one that keeps products where it captures."""

    status = 0

    def __init__(self, stream: Callable[[int], Stream] | None = None) -> None:
        self.stream = stream
        self.set: list[tuple[str, int]] = []
        self.computed: list[tuple[str, int]] = []

    def cublasCreate_v2(self, handle: Any) -> int:
        handle._obj.value = 77
        return self.status

    def cublasSetStream_v2(self, handle: Any, stream: int) -> int:
        self.set.append(("stream", stream))
        return 0

    def cublasSetWorkspace_v2(self, handle: Any, address: int, size: int) -> int:
        self.set.append(("workspace", address))
        return 0

    def cublasGetStatusString(self, status: int) -> bytes:
        return b"an invalid value"

    def _queue(self, work: Callable[[], int]) -> int:
        stream = self.stream and self.stream(self.set[0][1])
        if not stream or stream.captured is None:
            return work()
        stream.queue(work)
        return 0

    def cublasGemmEx_64(
        self, handle: Any, op_a: int, op_b: int, m: int, n: int, k: int, alpha: Any,
        a: int, a_type: int, lda: int, b: int, b_type: int, ldb: int, beta: Any,
        c: int, c_type: int, ldc: int, compute: int, algorithm: int,
    ) -> int:  # fmt: skip
        self.computed.append(("one", compute))
        return self._queue(lambda: _gemm(
            op_a, op_b, (m, n, k), (alpha, beta), (a, a_type, lda), (b, b_type, ldb),
            (c, c_type, ldc), compute, algorithm,
        ))  # fmt: skip

    def cublasGemmStridedBatchedEx_64(
        self, handle: Any, op_a: int, op_b: int, m: int, n: int, k: int, alpha: Any,
        a: int, a_type: int, lda: int, step_a: int, b: int, b_type: int, ldb: int, step_b: int,
        beta: Any, c: int, c_type: int, ldc: int, step_c: int, batch: int,
        compute: int, algorithm: int,
    ) -> int:  # fmt: skip
        self.computed.append(("batch", compute))
        assert step_c, "the matrices of a batch are written at the same time"
        sizes = [np.dtype(_DATA[each]).itemsize for each in (a_type, b_type, c_type)]
        return self._queue(lambda: max(
            _gemm(
                op_a, op_b, (m, n, k), (alpha, beta),
                (a + i * step_a * sizes[0], a_type, lda), (b + i * step_b * sizes[1], b_type, ldb),
                (c + i * step_c * sizes[2], c_type, ldc), compute, algorithm,
            )
            for i in range(batch)
        ))  # fmt: skip


_DATA = {0: np.float32, 1: np.float64, 2: np.float16, 14: np.uint16}


def _gemm(
    op_a: int, op_b: int, sizes: tuple[int, int, int], scalars: tuple[Any, Any],
    a: tuple[int, int, int], b: tuple[int, int, int], c: tuple[int, int, int],
    compute: int, algorithm: int,
) -> int:  # fmt: skip
    """C = alpha op(A) op(B) + beta C; A, B, C: address, type, elements from column to column."""
    m, n, k = sizes
    if algorithm != -1 or compute not in ((70,) if c[1] == 1 else (68, 77)):
        return 7
    scalar = ctypes.c_double if compute == 70 else ctypes.c_float
    if any(not isinstance(one._obj, scalar) for one in scalars):
        return 7
    left = _columns(a, (k, m) if op_a else (m, k))
    right = _columns(b, (n, k) if op_b else (k, n))
    out = _columns(c, (m, n))
    if left is None or right is None or out is None:
        return 7
    wide = _numbers(left.T if op_a else left) @ _numbers(right.T if op_b else right)
    alpha, beta = (one._obj.value for one in scalars)
    out[...] = alpha * wide + (beta * out if beta else 0)
    return 0


def _columns(matrix: tuple[int, int, int], shape: tuple[int, int]) -> np.ndarray | None:
    """A matrix as it lies, column by column; None where a column does not fit."""
    address, kind, step = matrix
    rows, columns = shape
    if step < max(rows, 1):
        return None
    dtype = np.dtype(_DATA[kind])
    count = (columns - 1) * step + rows
    memory: Any = (ctypes.c_char * (count * dtype.itemsize)).from_address(address)
    flat: np.ndarray = np.frombuffer(memory, dtype)
    strides = (dtype.itemsize, step * dtype.itemsize)
    return np.lib.stride_tricks.as_strided(flat, shape, strides)


def _numbers(matrix: np.ndarray) -> np.ndarray:
    """The values of a matrix; uint16 holds bfloat16."""
    if matrix.dtype == np.uint16:
        return (matrix.astype(np.uint32) << 16).view(np.float32)
    return matrix.astype(np.float64 if matrix.dtype == np.float64 else np.float32)

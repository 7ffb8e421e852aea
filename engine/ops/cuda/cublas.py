"""cuBLAS: matrix products on a GPU.

Called through ctypes, since cupy's own wrappers set the stream with each call, which takes away
the workspace that was set: products then allocate in the middle of a captured graph. With one
stream and a workspace of its own, cuBLAS gives the same bits each time.

Source: NVIDIA's cuBLAS documentation.
"""

from __future__ import annotations

import ctypes
import sys
from dataclasses import replace
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda.port import Product
from caffepy.engine.ops.libraries import candidates

WORKSPACE_BYTES = 32 << 20  # what NVIDIA recommends for Hopper; less is enough before it
# cublasOperation_t, cudaDataType, cublasComputeType_t, cublasGemmAlgo_t
PLAIN, TRANSPOSED = 0, 1
DATA_TYPES = {
    np.dtype(np.float32): 0,  # CUDA_R_32F
    np.dtype(np.float64): 1,  # CUDA_R_64F
    np.dtype(np.float16): 2,  # CUDA_R_16F
    np.dtype(np.uint16): 14,  # CUDA_R_16BF
}
COMPUTE_32F, COMPUTE_64F, COMPUTE_32F_FAST_TF32 = 68, 70, 77
DEFAULT_ALGORITHM = -1

_Pointer = ctypes.c_void_p
_Int = ctypes.c_int
_Int64 = ctypes.c_int64
_MATRIX = (_Pointer, _Int, _Int64)  # address, data type, elements from column to column
_BATCH = (*_MATRIX, ctypes.c_longlong)  # and from matrix to matrix
_SIZES = (_Pointer, _Int, _Int, _Int64, _Int64, _Int64)  # the handle, two operations, m, n, k
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cublasCreate_v2": (ctypes.POINTER(_Pointer),),
    "cublasSetStream_v2": (_Pointer, _Pointer),
    "cublasSetWorkspace_v2": (_Pointer, _Pointer, ctypes.c_size_t),
    "cublasGemmEx_64": (
        *_SIZES, _Pointer, *_MATRIX, *_MATRIX, _Pointer, *_MATRIX, _Int, _Int,
    ),
    "cublasGemmStridedBatchedEx_64": (
        *_SIZES, _Pointer, *_BATCH, *_BATCH, _Pointer, *_BATCH, _Int64, _Int, _Int,
    ),
}  # fmt: skip

Operand = tuple[int, np.dtype]  # the address of the first element, and what it is


def load(major: int) -> Any:
    """The library for a major version of CUDA: the one that is loaded, or the installed one.

    Raises: DeviceError where there is none.
    """
    name = f"cublas64_{major}.dll" if sys.platform == "win32" else f"libcublas.so.{major}"
    wheels = (f"nvidia-cublas-cu{major}", "nvidia-cublas")
    for path in (name, *candidates(wheels, (name,))):  # by its bare name if it is loaded already
        try:
            library = ctypes.CDLL(path)
            for function, argument_types in _FUNCTIONS.items():
                getattr(library, function).argtypes = argument_types
            library.cublasGetStatusString.restype = ctypes.c_char_p
        except (OSError, AttributeError):  # AttributeError: another library of that name
            continue
        return library
    raise DeviceError(
        f"cuBLAS: expected the library {name}, got none. Install caffepy[cuda{major}]."
    )


class Cublas:
    """cuBLAS on the current device, whose work goes to one stream.

    library: `load`'s.  stream, workspace: addresses; the workspace is of WORKSPACE_BYTES.
    It lasts as long as the process: CUDA may be gone when Python ends.
    """

    def __init__(self, library: Any, stream: int, workspace: int) -> None:
        self._library = library
        self._handle = _Pointer()
        self._call("cublasCreate_v2", ctypes.byref(self._handle))
        self._call("cublasSetStream_v2", self._handle, stream)  # takes the workspace away: first
        self._call("cublasSetWorkspace_v2", self._handle, workspace, WORKSPACE_BYTES)

    def multiply(self, product: Product, a: Operand, b: Operand, out: Operand, tf32: bool) -> None:
        """Queues a product, none of whose sizes is 0. tf32: whether float32 numbers are rounded to
        11 bits before they are multiplied."""
        if product.batch > 1 and not product.out_step:  # all write one matrix: not at the same time
            for index in range(product.batch):
                self.multiply(_one_of(product, index), a, b, out, tf32)
            return
        # What is (m, n) in C order is (n, m) to cuBLAS, which counts along columns. So it is asked
        # for the transposed product, op(b)' op(a)', for which each matrix lies as it is.
        b_row = product.b_row or (product.k if product.transpose_b else product.n)
        a_row = product.a_row or (product.m if product.transpose_a else product.k)
        left = (*_place(b, product.b_start), b_row)
        right = (*_place(a, product.a_start), a_row)
        result = (*_place(out, product.out_start), product.out_row or product.n)
        wide = out[1] == np.float64
        scalar = ctypes.c_double if wide else ctypes.c_float
        one, kept = ctypes.byref(scalar(1)), ctypes.byref(scalar(product.add))
        how = (
            COMPUTE_64F if wide else COMPUTE_32F_FAST_TF32 if tf32 else COMPUTE_32F,
            DEFAULT_ALGORITHM,
        )
        sizes = (
            self._handle,
            TRANSPOSED if product.transpose_b else PLAIN,
            TRANSPOSED if product.transpose_a else PLAIN,
            product.n,
            product.m,
            product.k,
        )
        if product.batch == 1:
            self._call("cublasGemmEx_64", *sizes, one, *left, *right, kept, *result, *how)
        else:
            self._call(
                "cublasGemmStridedBatchedEx_64",
                *sizes,
                one,
                *(*left, product.b_step),
                *(*right, product.a_step),
                kept,
                *(*result, product.out_step),
                product.batch,
                *how,
            )

    def _call(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status:
            told = self._library.cublasGetStatusString(status).decode(errors="replace")
            raise DeviceError(
                f"cuBLAS: {function}: expected success, got status {status} ({told}). Report this, "
                "with the net."
            )


def _place(operand: Operand, start: int) -> tuple[int, int]:
    """The address of an operand's first element, and its type."""
    address, dtype = operand
    return address + start * dtype.itemsize, DATA_TYPES[dtype]


def _one_of(product: Product, index: int) -> Product:
    """A product of a batch, alone."""
    return replace(
        product,
        batch=1,
        a_start=product.a_start + index * product.a_step,
        b_start=product.b_start + index * product.b_step,
        out_start=product.out_start + index * product.out_step,
    )

"""The matrix products of the host runtime, by numpy, with what cuBLAS refuses or leaves undefined
refused."""

from __future__ import annotations

import numpy as np

from caffepy.engine.ops.cuda.port import Product

_TF32_DROPPED = 13  # bits of a float32's significand
_HALVES = (np.dtype(np.float16), np.dtype(np.uint16))


def check(product: Product, a: np.ndarray, b: np.ndarray, out: np.ndarray, precision: str) -> None:
    """Asserts that cuBLAS can compute a product.

    a, b, out: flat.
    """
    assert precision in ("fp32", "tf32"), f"expected fp32 or tf32, got {precision!r}"
    assert out.dtype in (np.float32, np.float64), f"expected float32 or 64, got {out.dtype}"
    assert a.dtype == b.dtype, f"expected factors of one type, got {a.dtype} and {b.dtype}"
    half = a.dtype in _HALVES and out.dtype == np.float32
    assert half or a.dtype == out.dtype, f"expected factors of {out.dtype}, got {a.dtype}"
    first, second, result = _matrices(product, a, b, out)
    for factor in (first, second):
        if np.may_share_memory(factor, result):
            assert not np.shares_memory(factor, result), f"expected out elsewhere: {product}"
    if product.batch > 1:
        places = np.lib.stride_tricks.as_strided(
            np.arange(out.size), result.shape, [each // out.itemsize * 8 for each in result.strides]
        )
        assert np.unique(places).size == result.size, f"expected results apart: {product}"


def multiply(
    product: Product, a: np.ndarray, b: np.ndarray, out: np.ndarray, precision: str
) -> None:
    """Computes a product. a, b, out: flat."""
    first, second, result = _matrices(product, a, b, out)
    left = _rounded(_exact(first, out.dtype), precision)
    right = _rounded(_exact(second, out.dtype), precision)
    if product.transpose_a:
        left = left.swapaxes(1, 2)
    if product.transpose_b:
        right = right.swapaxes(1, 2)
    found = np.matmul(left, right)
    result[...] = result + found if product.add else found


def _matrices(
    product: Product, a: np.ndarray, b: np.ndarray, out: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The batches as they lie: a (batch, m, k) or (batch, k, m), b (batch, k, n) or (batch, n, k),
    out (batch, m, n)."""
    m, n, k = product.m, product.n, product.k
    shapes = ((k, m) if product.transpose_a else (m, k), (n, k) if product.transpose_b else (k, n))
    batch = product.batch
    return (
        _batch(a, batch, shapes[0], product.a_start, product.a_step, product.a_row),
        _batch(b, batch, shapes[1], product.b_start, product.b_step, product.b_row),
        _batch(out, batch, (m, n), product.out_start, product.out_step, product.out_row),
    )


def _batch(
    flat: np.ndarray, batch: int, shape: tuple[int, int], start: int, step: int, row: int | None
) -> np.ndarray:
    rows, columns = shape
    row = columns if row is None else row
    assert row >= columns, f"expected rows of {columns} elements or more, got {row}"
    assert min(start, step) >= 0, f"expected start and step of 0 or more, got {start}, {step}"
    any_element = rows and columns and batch
    end = start + (batch - 1) * step + (rows - 1) * row + columns if any_element else 0
    assert end <= flat.size, f"expected matrices within {flat.size} elements, got {end}"
    strides = [flat.itemsize * each for each in (step, row, 1)]
    return np.lib.stride_tricks.as_strided(flat[start:], (batch, rows, columns), strides)


def _exact(matrices: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """The numbers as those of the sums. uint16: the upper half of float32s."""
    if matrices.dtype == np.uint16:
        return (matrices.astype(np.uint32) << 16).view(np.float32)
    return matrices.astype(dtype)


def _rounded(matrices: np.ndarray, precision: str) -> np.ndarray:
    """The factors to 11 bits, to the nearest even, for tf32."""
    if precision == "fp32" or matrices.dtype == np.float64:
        return matrices
    bits = matrices.view(np.uint32)
    odd = (bits >> _TF32_DROPPED) & 1
    near = (bits + ((1 << (_TF32_DROPPED - 1)) - 1 + odd)) >> _TF32_DROPPED << _TF32_DROPPED
    return np.where(np.isfinite(matrices), near.astype(np.uint32).view(np.float32), matrices)

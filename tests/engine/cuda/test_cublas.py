"""Products by cuBLAS: what it is asked for, computed by numpy from the addresses given."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda import cublas
from caffepy.engine.ops.cuda.cublas import Cublas
from caffepy.engine.ops.cuda.port import Product
from tests.fake_cublas import FakeCublas

sizes = st.integers(1, 5)
gaps = st.integers(0, 3)


def run(
    product: Product, a: np.ndarray, b: np.ndarray, out: np.ndarray, tf32: bool = False
) -> FakeCublas:
    library = FakeCublas()
    left, right, result = ((each.ctypes.data, each.dtype) for each in (a, b, out))
    Cublas(library, 11, 22).multiply(product, left, right, result, tf32)
    return library


def matrix(flat: np.ndarray, start: int, row: int, rows: int, columns: int) -> np.ndarray:
    """A view of a matrix in C order."""
    size = flat.itemsize
    return np.lib.stride_tricks.as_strided(flat[start:], (rows, columns), (row * size, size))


@given(
    m=sizes, n=sizes, k=sizes, batch=st.integers(1, 3), transposed=st.tuples(*[st.booleans()] * 2),
    add=st.booleans(), starts=st.tuples(gaps, gaps, gaps), gap=st.tuples(gaps, gaps, gaps),
    shared=st.tuples(*[st.booleans()] * 3), wide=st.booleans(),
)  # fmt: skip
def test_every_field_of_a_product_is_kept_to(
    m: int, n: int, k: int, batch: int, transposed: tuple[bool, bool], add: bool,
    starts: tuple[int, int, int], gap: tuple[int, int, int], shared: tuple[bool, bool, bool],
    wide: bool,
) -> None:  # fmt: skip
    lie = [(k, m) if transposed[0] else (m, k), (n, k) if transposed[1] else (k, n), (m, n)]
    rows = [columns + more for (_, columns), more in zip(lie, gap, strict=True)]
    steps = [
        0 if same else row * high + 1
        for (high, _), row, same in zip(lie, rows, shared, strict=True)
    ]
    given_rows = [row if more else None for row, more in zip(rows, gap, strict=True)]
    fields: list[Any] = [m, n, k, *transposed, add, batch, *steps, *starts, *given_rows]
    product = Product(*fields)
    random = np.random.default_rng(0)
    a, b, out = (
        random.integers(-4, 5, start + batch * (row * high + 1)).astype("f8" if wide else "f4")
        for start, row, (high, _) in zip(starts, rows, lie, strict=True)
    )
    expected = out.copy()
    for i in range(batch):
        left, right, result = (
            matrix(flat, start + i * step, row, *shape)
            for flat, start, step, row, shape in zip(
                (a, b, expected), starts, steps, rows, lie, strict=True
            )
        )
        value = (left.T if transposed[0] else left) @ (right.T if transposed[1] else right)
        result[...] = result * add + value
    run(product, a, b, out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("dtype", "tf32", "compute"),
    [("f4", False, 68), ("f4", True, 77), ("f8", False, 70), ("f8", True, 70)],
)
def test_the_precision_is_the_one_asked_for(dtype: str, tf32: bool, compute: int) -> None:
    ones, out = np.ones(4, dtype), np.empty(4, dtype)
    assert run(Product(2, 2, 2), ones, ones, out, tf32).computed == [("one", compute)]
    np.testing.assert_array_equal(out, 2)


def test_half_precision_is_summed_in_float32() -> None:
    out = np.zeros(1, "f4")
    run(Product(1, 1, 3), np.full(3, 300, "f2"), np.full(3, 300, "f2"), out)
    assert out == 270000
    bits = (np.array([1.5, -2.0], "f4").view(np.uint32) >> 16).astype(np.uint16)
    run(Product(1, 1, 2), bits, bits, out)
    assert out == 6.25


def test_products_into_one_matrix_are_done_in_turn() -> None:
    a, b, out = np.arange(1, 4, dtype="f4"), np.ones(3, "f4"), np.full(1, 10, "f4")
    product = Product(1, 1, 1, add=True, batch=3, a_step=1, b_step=1)
    assert run(product, a, b, out).computed == [("one", 68)] * 3
    assert out == 16


def test_the_workspace_is_set_behind_the_stream_which_would_take_it_away() -> None:
    library = FakeCublas()
    Cublas(library, 11, 22)
    assert library.set == [("stream", 11), ("workspace", 22)]


def test_an_error_names_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeCublas, "status", 7)
    with pytest.raises(DeviceError, match=r"cublasCreate_v2: expected .* status 7 \(an invalid"):
        Cublas(FakeCublas(), 11, 22)


def test_a_library_that_is_not_there_is_named() -> None:
    name = "cublas64_1.dll" if sys.platform == "win32" else "libcublas.so.1"
    with pytest.raises(
        DeviceError, match=f"expected the library {name}, got none. Install caffepy"
    ):
        cublas.load(1)


def test_the_functions_of_a_library_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def __getattr__(self, name: str) -> Any:
            function = type("Function", (), {})()
            setattr(self, name, function)
            return function

    monkeypatch.setattr("ctypes.CDLL", lambda path: Library())
    library = cublas.load(12)
    # m, n, k and all steps in 64 bits: cublas_api.h
    assert len(library.cublasGemmEx_64.argtypes) == 19
    assert len(library.cublasGemmStridedBatchedEx_64.argtypes) == 23

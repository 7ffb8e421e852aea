"""HostRuntime as a device: memory apart from the host's, graphs, events, copies ahead, products."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DeviceError, OutOfMemoryError
from caffepy.engine.ops.cuda.port import Product
from tests.host_kernels import kernel, on_device, on_host
from tests.host_runtime import HostRuntime


@pytest.fixture
def runtime(host_folder: Path) -> HostRuntime:
    return HostRuntime(host_folder)


# ---- memory


def test_the_host_cannot_use_an_array_of_the_device(runtime: HostRuntime) -> None:
    buffer: Any = on_device(runtime, np.arange(3.0))
    for use in (
        lambda: np.asarray(buffer),
        lambda: np.float64(buffer),
        lambda: np.ones(3) + buffer,
        lambda: np.copyto(np.ones(3), buffer),
        lambda: buffer[0],
        lambda: buffer[::2],
        lambda: list(buffer),
    ):
        with pytest.raises((AssertionError, TypeError)):
            use()


def test_buffers_are_poisoned_sliced_and_viewed(runtime: HostRuntime) -> None:
    buffer = runtime.allocate(4, np.float32)
    assert np.isnan(on_host(runtime, buffer)).all()
    assert (buffer.size, buffer.dtype, buffer.nbytes) == (4, np.dtype(np.float32), 16)
    runtime.clear(buffer[:2])
    runtime.upload(np.array([[1.0, 2.0]], np.float32).T, buffer[2:])
    assert on_host(runtime, buffer).tolist() == [0, 0, 1, 2]
    assert on_host(runtime, buffer[2:3].view(np.uint8)).tolist() == [0, 0, 128, 63]
    runtime.copy(buffer[2:], buffer[:2])
    target = np.empty((2, 2), np.float32)
    runtime.download(buffer, target.T)
    assert target.tolist() == [[1, 1], [2, 2]]


def test_memory_is_counted_and_ends(host_folder: Path) -> None:
    runtime = HostRuntime(host_folder, limit=100)
    kept = runtime.allocate(15, np.float32)[:2]
    assert runtime.memory() == (40, 100)
    with pytest.raises(OutOfMemoryError, match="expected 44 bytes free, got 40 bytes"):
        runtime.allocate(11, np.float32)
    del kept
    assert runtime.memory() == (100, 100)
    assert runtime.properties().total_memory == 100


# ---- graphs, events, the second stream

TWICE = kernel("for (size_t i = threadIdx.x; i < count; i += blockDim.x) out[i] *= 2;")


def test_captured_work_is_done_at_each_launch(runtime: HostRuntime) -> None:
    program = runtime.build(TWICE, "f.cu", "float")
    x, out = (
        on_device(runtime, np.array([1, 2, 3], np.int32)),
        on_device(runtime, np.zeros(3, np.int32)),
    )

    def work() -> None:
        assert runtime.capturing
        runtime.copy(x, out)
        for _ in range(2):
            runtime.launch_rows(program, "f", 1, [np.uint64(3), out])
        runtime.clear(x[2:])

    graph = runtime.capture(work)
    assert not runtime.capturing
    assert (graph.pieces, on_host(runtime, out).tolist()) == (4, [0, 0, 0])
    graph.launch()
    assert on_host(runtime, out).tolist() == [4, 8, 12]
    runtime.upload(np.array([5, 6, 7], np.int32), x)
    graph.launch()
    graph.launch()
    assert on_host(runtime, out).tolist() == [20, 24, 0]


@pytest.mark.parametrize(
    "work",
    [
        lambda gpu, x: gpu.upload(np.zeros(2), x),
        lambda gpu, x: gpu.download(x, np.zeros(2)),
        lambda gpu, x: gpu.synchronize(),
        lambda gpu, x: gpu.record(),
        lambda gpu, x: gpu.wait_for(gpu.upload_ahead(gpu.pinned((2,), float), x)),
        lambda gpu, x: gpu.capture(lambda: None),
        lambda gpu, x: gpu.build(TWICE, "f.cu", "float"),
    ],
)
def test_what_the_host_waits_for_cannot_be_captured(work: Any, runtime: HostRuntime) -> None:
    x = on_device(runtime, np.zeros(2))
    with pytest.raises(DeviceError, match=r"graph: .* expected work that can be captured"):
        runtime.capture(lambda: work(runtime, x))
    assert not runtime.capturing
    work(runtime, x)


def test_a_graph_does_not_keep_the_memory_it_uses(runtime: HostRuntime) -> None:
    x = runtime.allocate(2, np.int32)
    graph = runtime.capture(partial(runtime.clear, x))
    graph.launch()
    del x
    with pytest.raises(DeviceError, match="got a buffer that was given back"):
        graph.launch()


def test_a_graph_keeps_what_was_allocated_for_it(runtime: HostRuntime) -> None:
    x, out = on_device(runtime, np.arange(3)), runtime.allocate(3, np.int64)

    def work() -> None:
        between = runtime.allocate(3, np.int64)
        runtime.copy(x, between)
        runtime.copy(between, out)

    runtime.capture(work).launch()
    assert on_host(runtime, out).tolist() == [0, 1, 2]


def test_a_copy_ahead_is_there_when_it_was_waited_for(runtime: HostRuntime) -> None:
    first, second = runtime.pinned((2,), np.float32), runtime.pinned((2, 2), np.float32)
    buffers = [on_device(runtime, np.zeros(2, np.float32)) for _ in range(2)]
    events = [runtime.upload_ahead(first, buffers[0]), runtime.upload_ahead(second[1], buffers[1])]
    first[:] = 1  # too early
    second[:] = 2
    assert np.isnan([on_host(runtime, each) for each in buffers]).all()
    runtime.wait_for(events[0])
    assert on_host(runtime, buffers[0]).tolist() == [1, 1]
    assert np.isnan(on_host(runtime, buffers[1])).all()
    runtime.synchronize()
    assert on_host(runtime, buffers[1]).tolist() == [2, 2]
    runtime.wait_for(events[0])


def test_a_copy_ahead_needs_pinned_memory(runtime: HostRuntime) -> None:
    with pytest.raises(AssertionError, match="expected pinned memory"):
        runtime.upload_ahead(np.zeros(2), runtime.allocate(2, np.float64))


def test_events_count_the_work_between_them(runtime: HostRuntime) -> None:
    x = runtime.allocate(2, np.int32)

    def work() -> None:
        for _ in range(3):
            runtime.clear(x)

    graph = runtime.capture(work)
    start = runtime.record()
    runtime.clear(x)
    graph.launch()
    assert runtime.record().milliseconds_since(start) == 4


# ---- products

SIDE = st.integers(1, 4)
GAP = st.integers(0, 3)


@st.composite
def products(draw: st.DrawFn) -> tuple[Product, tuple[int, int, int]]:
    """A product, and the sizes of a, b and out that it needs."""
    m, n, k, batch = (draw(SIDE) for _ in range(4))
    fields: dict[str, Any] = {"m": m, "n": n, "k": k, "batch": batch}
    for name in ("transpose_a", "transpose_b", "add"):
        fields[name] = draw(st.booleans())
    shapes = {
        "a": (k, m) if fields["transpose_a"] else (m, k),
        "b": (n, k) if fields["transpose_b"] else (k, n),
        "out": (m, n),
    }
    sizes = []
    for name, (rows, columns) in shapes.items():
        row, start = columns + draw(GAP), draw(GAP)
        extent = (rows - 1) * row + columns
        shared = name != "out" and draw(st.booleans())
        step = 0 if shared else extent + draw(GAP)
        fields |= {f"{name}_start": start, f"{name}_step": step}
        fields[f"{name}_row"] = None if row == columns else row
        sizes.append(start + (batch - 1) * step + extent)
    return Product(**fields), (sizes[0], sizes[1], sizes[2])


def expected_product(product: Product, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> np.ndarray:
    """One element after the other, by the words of Product."""
    result: np.ndarray = out.copy()
    p = product
    a_row = p.a_row or (p.m if p.transpose_a else p.k)
    b_row = p.b_row or (p.k if p.transpose_b else p.n)
    for i, row, column in np.ndindex(p.batch, p.m, p.n):
        place = p.out_start + i * p.out_step + row * (p.out_row or p.n) + column
        total = out[place] if p.add else 0
        for inner in range(p.k):
            at = (inner * a_row + row) if p.transpose_a else (row * a_row + inner)
            bt = (column * b_row + inner) if p.transpose_b else (inner * b_row + column)
            total += a[p.a_start + i * p.a_step + at] * b[p.b_start + i * p.b_step + bt]
        result[place] = total
    return result


@settings(deadline=None, max_examples=60)
@given(products(), st.sampled_from([np.float32, np.float64]))
def test_products_have_every_stride(case: tuple[Product, tuple[int, int, int]], dtype: Any) -> None:
    product, sizes = case
    runtime = HostRuntime(Path())
    content = [np.random.default_rng(0).integers(-9, 9, size).astype(dtype) for size in sizes]
    a, b, out = (on_device(runtime, each) for each in content)
    runtime.multiply(product, a, b, out)
    np.testing.assert_array_equal(on_host(runtime, out), expected_product(product, *content))


def test_a_product_overwrites_nan(runtime: HostRuntime) -> None:
    a, b = on_device(runtime, np.ones(2)), on_device(runtime, np.ones(2))
    out = runtime.allocate(1, np.float64)
    graph = runtime.capture(lambda: runtime.multiply(Product(1, 1, 2), a, b, out))
    assert np.isnan(on_host(runtime, out))
    graph.launch()
    assert on_host(runtime, out) == 2


def test_products_of_nothing(runtime: HostRuntime) -> None:
    empty, ones = runtime.allocate(0, np.float64), on_device(runtime, np.ones(2))
    runtime.multiply(Product(1, 2, 0, add=True), empty, empty, ones)
    runtime.multiply(Product(0, 2, 1), empty, ones, empty)
    runtime.multiply(Product(1, 2, 1, batch=0), ones, ones, ones)
    assert on_host(runtime, ones).tolist() == [1, 1]
    runtime.multiply(Product(1, 2, 0), empty, empty, ones)
    assert on_host(runtime, ones).tolist() == [0, 0]


def test_precisions_round_what_is_multiplied(runtime: HostRuntime) -> None:
    numbers = np.array([1 + 2**-11, 1 + 3 * 2**-11, 1 + 2**-10, -np.inf, 1 + 2**-23], np.float32)
    one = np.ones(1, np.float32)

    def times_one(content: np.ndarray, unit: np.ndarray, precision: str) -> list[float]:
        out = runtime.allocate(content.size, np.float32)
        a, b = on_device(runtime, content), on_device(runtime, unit)
        runtime.multiply(Product(content.size, 1, 1), a, b, out, precision)
        found: list[float] = on_host(runtime, out).tolist()
        return found

    assert times_one(numbers, one, "fp32") == numbers.tolist()
    rounded = [1, 1 + 2**-9, 1 + 2**-10, -np.inf, 1]  # to the nearest even of 11 bits
    assert times_one(numbers, one, "tf32") == rounded
    halves = numbers.astype(np.float16)
    assert times_one(halves, one.astype(np.float16), "fp32") == halves.tolist()
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    unit = (one.view(np.uint32) >> 16).astype(np.uint16)
    assert times_one(bits, unit, "fp32") == [1, 1, 1, -np.inf, 1]


@pytest.mark.parametrize(
    ("product", "message"),
    [
        (Product(3, 2, 2), "expected matrices within 4 elements, got 6"),
        (Product(2, 2, 2, a_start=1), "expected matrices within 4 elements, got 5"),
        (Product(2, 2, 2, batch=2, a_step=1), "expected matrices within 4 elements, got 5"),
        (Product(2, 2, 2, b_row=1), "expected rows of 2 elements or more, got 1"),
        (Product(1, 2, 2, batch=2, b_step=0), "expected results apart"),
        (Product(1, 2, 2, batch=2, out_step=1), "expected results apart"),
    ],
)
def test_products_that_cublas_cannot_compute_are_refused(
    product: Product, message: str, runtime: HostRuntime
) -> None:
    a, b, out = (on_device(runtime, np.zeros(4)) for _ in range(3))
    with pytest.raises(AssertionError, match=message):
        runtime.multiply(product, a, b, out)
    with pytest.raises(AssertionError, match="expected out elsewhere"):
        runtime.multiply(Product(2, 2, 2), a, b, a)

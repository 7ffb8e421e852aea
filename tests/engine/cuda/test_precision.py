"""Products in 16 bits: how factors are rounded, how often, and what nets make of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.net import Net
from caffepy.engine.ops.cuda.backend import PRECISIONS, CudaOps
from caffepy.engine.ops.cuda.port import Product
from caffepy.engine.ops.cuda.products import HALF, Products
from caffepy.engine.ops.geometry import ConvolutionGeometry, InnerProductGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes import capture, lifetimes
from tests.devices import DEVICES, device
from tests.host_runtime import HostRuntime
from tests.nets import make_net

HALVES = ("fp16", "bf16")
# Products of rounded factors are exact in float32; the sums of some hundred are as in float32.
SUMS = 1e-6
# Of a number to the nearest of 11 bits, or of 8, with a few roundings one after the other.
ROUNDED = {"fp32": 1e-5, "tf32": 4e-3, "fp16": 4e-3, "bf16": 3e-2}

NET = """
    layer { name: "in" type: "Input" top: "x"
      input_param { shape { dim: 2 dim: 3 dim: 7 dim: 7 } } }
    layer { name: "conv" type: "Convolution" bottom: "x" top: "conv" convolution_param {
      num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } bias_filler { type: "constant"
      value: 0.1 } } }
    layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
    layer { name: "one" type: "Convolution" bottom: "conv" top: "one" convolution_param {
      num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }
    layer { name: "sum" type: "TanH" bottom: "one" top: "tanh" }
    layer { name: "ip" type: "InnerProduct" bottom: "tanh" top: "ip" inner_product_param {
      num_output: 5 weight_filler { type: "xavier" } } }
    force_backward: true
"""
# Steps in time multiply parts of what a layer keeps to itself from its way forward to that back.
SEQUENCES = """
    layer { name: "in" type: "Input" top: "x" top: "cont"
      input_param { shape { dim: 3 dim: 2 dim: 5 } shape { dim: 3 dim: 2 } } }
    layer { name: "lstm" type: "LSTM" bottom: "x" bottom: "cont" top: "tanh" recurrent_param {
      num_output: 4 weight_filler { type: "xavier" } } }
    layer { name: "rnn" type: "RNN" bottom: "tanh" bottom: "cont" top: "rnn" recurrent_param {
      num_output: 3 weight_filler { type: "xavier" } } }
    layer { name: "ip" type: "InnerProduct" bottom: "rnn" top: "ip" inner_product_param {
      num_output: 5 axis: 2 weight_filler { type: "xavier" } } }
    force_backward: true
"""
NETS = pytest.mark.parametrize("text", [NET, SEQUENCES], ids=["images", "sequences"])


@pytest.fixture(params=DEVICES)
def backend(request: pytest.FixtureRequest) -> Callable[[str], CudaOps]:
    """Makes a backend of a precision."""
    return lambda precision: CudaOps(device(request), precision=precision)


@pytest.fixture
def casts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The shapes of the values that were rounded, or are to be by a graph."""
    found: list[tuple[int, ...]] = []
    cast = Products._cast

    def noted(self: Products, value: Value, out: Value, start: int, count: int) -> None:
        found.append(value.shape)
        cast(self, value, out, start, count)

    monkeypatch.setattr(Products, "_cast", noted)
    return found


def rounded(numbers: np.ndarray, precision: str) -> np.ndarray:
    """float32 numbers, to the nearest with as many bits as a factor has."""
    if precision == "fp16":
        with np.errstate(over="ignore"):
            return numbers.astype(np.float16).astype(np.float64)
    bits = numbers.view(np.uint32).astype(np.uint64)
    near = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
    return near.astype(np.uint32).view(np.float32).astype(np.float64)


def value(content: np.ndarray) -> Value:
    made = Value(content.shape, np.float32)
    made.write()[...] = content
    return made


def tough_numbers() -> np.ndarray:
    """Of all magnitudes, halfway between numbers of 16 bits, at their ends, and nan."""
    random = np.random.default_rng(0)
    bits = random.integers(0, 1 << 32, 3000, np.uint64).astype(np.uint32)
    plain = random.standard_normal(3000).astype(np.float32).view(np.uint32)
    halfway = np.concatenate([plain & ~np.uint32(0xFFFF) | np.uint32(0x8000),
                              plain & ~np.uint32(0x1FFF) | np.uint32(0x1000)])  # fmt: skip
    tiny = (random.integers(0, 4097, 500) * 2.0**-26).astype(np.float32)
    ends = np.float32([0, -0.0, 65504, 65519.99, 65520, -65520, 65536, 1e30, np.inf, -np.inf,
                       2.0**-14, 2.0**-24, 2.0**-25, 2.0**-25 * 1.001, 3.4028235e38])  # fmt: skip
    every = np.concatenate([bits, plain, halfway]).view(np.float32)
    return np.concatenate([every, tiny, -tiny, ends, np.float32([np.nan])])


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("start", [0, 1, 4])
def test_factors_go_to_the_nearest_even_number_of_16_bits(
    start: int, precision: str, backend: Callable[[str], CudaOps]
) -> None:
    ops, numbers = backend(precision), tough_numbers()
    count = numbers.size - start
    out = Value((count,), HALF)
    ops.kernels("cast").launch(f"cast_{precision}", count, start, value(numbers), out)
    bits = out.read()
    found = (
        bits.view(np.float16).astype(np.float64)
        if precision == "fp16"
        else (bits.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    )
    numbers = numbers[start:]
    is_nan = np.isnan(numbers)
    assert np.isnan(found[is_nan]).all()
    expected = rounded(numbers[~is_nan], precision)
    np.testing.assert_array_equal(found[~is_nan], expected)
    np.testing.assert_array_equal(np.signbit(found[~is_nan]), np.signbit(expected))


def assert_sums(found: Value, terms: np.ndarray, sizes: np.ndarray) -> None:
    """Equal to sums of terms, but for a share of the sum of their magnitudes."""
    error = np.abs(found.read().reshape(terms.shape) - terms)
    assert (error <= SUMS * sizes + 1e-30).all(), error.max()


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize("transpose", [False, True])
def test_inner_products_are_exact_but_for_the_rounding_of_factors(
    transpose: bool, precision: str, backend: Callable[[str], CudaOps]
) -> None:
    random = np.random.default_rng(1)
    rows, inputs, outputs = 5, 37, 7
    arrays = [random.standard_normal(shape).astype(np.float32)
              for shape in ((rows, inputs), (outputs, inputs), (rows, outputs))]  # fmt: skip
    x, w, dy = (rounded(array, precision) for array in arrays)
    if transpose:
        arrays[1] = np.ascontiguousarray(arrays[1].T)
    given = [value(array) for array in arrays]
    op = backend(precision).inner_product(InnerProductGeometry(rows, inputs, outputs, transpose))
    y, dx, dw = (Value(shape) for shape in (dy.shape, x.shape, arrays[1].shape))
    op.forward(given[0], given[1], None, out=y)
    op.backward_data(given[2], given[1], out=dx)
    op.backward_params(given[2], given[0], add_w=dw)
    op.backward_params(given[2], given[0], add_w=dw)
    for found, left, right in ((y, x, w.T), (dx, dy, w)):
        assert_sums(found, left @ right, abs(left) @ abs(right))
    gradient = dy.T @ x, abs(dy.T) @ abs(x)
    assert_sums(dw, *(2 * (each.T if transpose else each) for each in gradient))


@pytest.mark.parametrize("precision", HALVES)
@pytest.mark.parametrize(
    "geometry",
    [
        ConvolutionGeometry((2, 4, 6, 5), 6, (3, 2), (2, 1), (1, 0), (1, 2), 2),
        ConvolutionGeometry((2, 5, 3, 3), 4, (1, 1), (1, 1), (0, 0), (1, 1)),
        ConvolutionGeometry((3, 2, 3, 4, 3), 3, (2, 2, 2), (1, 1, 1), (1, 0, 1), (1, 1, 1)),
    ],
    ids=["groups", "pointwise", "three axes"],
)
def test_convolutions_are_those_of_rounded_factors(
    geometry: ConvolutionGeometry, precision: str, backend: Callable[[str], CudaOps]
) -> None:
    random = np.random.default_rng(2)
    shapes = geometry.shape, geometry.weight_shape, geometry.out_shape
    arrays = [random.standard_normal(shape).astype(np.float32) for shape in shapes]
    exact = [rounded(array, precision) for array in arrays]

    def results(ops: CudaOps | NumpyOps, contents: list[np.ndarray]) -> list[np.ndarray]:
        x, w, dy = (Value(content.shape, ops.dtype) for content in contents)
        for one, content in zip((x, w, dy), contents, strict=True):
            one.write()[...] = content
        y, dx, dw = (Value(shape, ops.dtype) for shape in (dy.shape, x.shape, w.shape))
        op = ops.convolution(geometry)
        op.forward(x, w, None, out=y)
        op.backward_data(dy, w, out=dx)
        op.backward_params(dy, x, add_w=dw)
        return [one.read() for one in (y, dx, dw)]

    found = results(backend(precision), arrays)
    expected = results(NumpyOps(np.float64), exact)
    sizes = results(NumpyOps(np.float64), [abs(array) for array in exact])
    for one, other, size in zip(found, expected, sizes, strict=True):
        assert (abs(one - other) <= SUMS * size).all()


def test_float64_is_exact_whatever_the_precision(host_folder: Path) -> None:
    ops = CudaOps(HostRuntime(host_folder), np.float64, precision="fp16")
    a, b, out = (Value((4,), np.float64) for _ in range(3))
    a.write()[...] = 1 + 2.0**-30
    b.write()[...] = [1, 0, 0, 1]
    ops.multiply(Product(2, 2, 2), a, b, out)
    np.testing.assert_array_equal(out.read(), a.read())


@pytest.mark.parametrize("samples", [0, 2])
def test_products_may_be_of_nothing(samples: int, backend: Callable[[str], CudaOps]) -> None:
    ops = backend("fp16")
    for inputs in (0, 3):
        x, w, y = Value((samples, inputs)), Value((4, inputs)), Value((samples, 4))
        op = ops.inner_product(InnerProductGeometry(samples, inputs, 4, False))
        op.forward(x, w, None, out=y)
        dx, dw = Value(x.shape), Value(w.shape)
        op.backward_data(y, w, out=dx)
        op.backward_params(y, x, add_w=dw)
        for one in (y, dx, dw):
            np.testing.assert_array_equal(one.read(), np.zeros(one.shape))
    batch = Product(2, 2, 2, batch=0, a_step=9, b_step=9, out_step=4)
    ops.multiply(batch, Value((0,)), Value((0,)), Value((4,)))


# ---- how often


def pass_once(net: Net, number: int) -> None:
    """Forward and back, with inputs and gradients of that number."""
    random = np.random.default_rng(number)
    for one in (net.blobs["x"].data, net.blobs["ip"].diff):
        one.write()[...] = random.standard_normal(one.shape)
    if "cont" in net.blobs:
        net.blobs["cont"].data.write()[...] = [[0, 1], [1, 1], [1, 0]]
    net.parameters.clear_diffs()
    net.forward()
    net.backward()


def learn(net: Net) -> None:
    """Changes the weights."""
    for one in net.parameters.learnable:
        one.blob.data.modify()[...] -= 0.1 * one.blob.diff.read()


def everything(net: Net) -> list[np.ndarray]:
    blobs = [*net.blobs.values(), *(one.blob for one in net.parameters.learnable)]
    return [content.copy() for blob in blobs for content in (blob.data.read(), blob.diff.read())]


def test_each_factor_is_rounded_once_for_each_write(
    backend: Callable[[str], CudaOps], casts: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "WARM_UP", 99)
    net = make_net(NET, backend("fp16"))
    shapes = [net.blobs[name].shape for name in ("conv", "tanh")]  # read by products as they are
    weights = [one.blob.shape for one in net.parameters.learnable if len(one.blob.shape) > 1]
    gradients = [net.blobs[name].shape for name in ("one", "ip")]
    for number in range(3):
        casts.clear()
        pass_once(net, number)
        expected = shapes + gradients + (weights if number != 1 else [])
        assert sorted(casts) == sorted(expected)
        if number:
            learn(net)


@NETS
def test_graphs_round_what_steps_do_and_give_equal_bits(
    text: str,
    backend: Callable[[str], CudaOps],
    casts: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    captured = make_net(text, backend("bf16"))
    pieces: list[int] = []
    for number in range(7):
        runtime = captured.ops.runtime
        before = getattr(runtime, "steps", 0)  # the host runtime counts them
        casts.clear()
        pass_once(captured, number)
        learn(captured)
        pieces.append(getattr(runtime, "steps", 0) - before)
        assert not casts or number < 3
    assert len(set(pieces[1:])) == 1  # no more work in a graph than in steps
    monkeypatch.setattr(capture, "WARM_UP", 99)
    stepped = make_net(text, backend("bf16"))
    for number in range(7):
        pass_once(stepped, number)
        learn(stepped)
    for one, other in zip(everything(captured), everything(stepped), strict=True):
        np.testing.assert_array_equal(one, other)


@NETS
@pytest.mark.parametrize("begin", [1, 2, 3])
def test_graphs_see_what_changed_between_them(
    text: str,
    begin: int,
    backend: Callable[[str], CudaOps],
    casts: list[tuple[int, ...]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run() -> tuple[list[np.ndarray], list[int]]:
        net, counts = make_net(text, backend("fp16")), []
        found = []
        for number in range(9):
            casts.clear()
            pass_once(net, number)
            if number >= begin and number % 2:  # no update in between at times, as with iter_size
                learn(net)
            if number in (4, 5):  # a layer's input and its weights change before the way back
                net.blobs["tanh"].data.modify()[...] *= 2
                net.parameters.learnable[-2].blob.data.modify()[...] *= 0.5
                net.backward()
            found += everything(net)
            counts.append(len(casts))
        return found, counts

    captured, counts = run()
    assert counts[-2:] == [0, 0]  # all in graphs by now
    monkeypatch.setattr(capture, "WARM_UP", 99)
    for one, other in zip(captured, run()[0], strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_a_failed_capture_was_to_round_is_rounded_later(
    backend: Callable[[str], CudaOps],
) -> None:
    ops = backend("fp16")
    a, b, out = value(np.full((2, 2), 3)), value(np.eye(2)), Value((2, 2))
    a.read(ops.layout), b.read(ops.layout), out.write(ops.layout)
    ops.multiply(Product(2, 2, 2), b, b, out)  # what is made once is there
    a.modify(ops.layout)

    def run() -> None:
        ops.multiply(Product(2, 2, 2), a, b, out)
        raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        ops.capture(run)
    ops.multiply(Product(2, 2, 2), a, b, out)
    np.testing.assert_array_equal(out.read(), a.read())


def test_rounded_copies_go_with_the_memory_of_values(
    backend: Callable[[str], CudaOps], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifetimes, "SMALLEST", 1)
    loss = 'layer { name: "loss" type: "Power" bottom: "ip" top: "loss" loss_weight: 0.1 }'
    net = make_net(NET + loss, backend("fp16"), keep=False)
    kept = make_net(NET + loss, backend("fp16"))
    x = np.random.default_rng(0).standard_normal(net.blobs["x"].shape)
    for number in range(6):
        for one in (net, kept):
            one.blobs["x"].data.write()[...] = x + number
            one.parameters.clear_diffs()
            one.forward_backward()
            learn(one)
    assert net.blobs["one"].diff._storage.rounding is None
    assert kept.blobs["one"].diff._storage.rounding is not None
    for one, other in zip(net.parameters.learnable, kept.parameters.learnable, strict=True):
        np.testing.assert_array_equal(one.blob.data.read(), other.blob.data.read())


@NETS
@pytest.mark.parametrize("precision", PRECISIONS)
def test_nets_differ_by_the_rounding_of_factors(
    text: str, precision: str, backend: Callable[[str], CudaOps]
) -> None:
    net, reference = make_net(text, backend(precision)), make_net(text)
    for number in range(4):
        pass_once(net, number)
        pass_once(reference, number)
    for one, other in zip(everything(net), everything(reference), strict=True):
        assert abs(one - other).max() <= ROUNDED[precision] * max(1, abs(other).max())

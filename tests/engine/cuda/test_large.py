"""Values of more than 2^31 elements, which blobs may not have and kernels can take.

The first samples and the last hold numbers, the others zeros: what comes of them is that of the
reference. On the host runtime the same tests run on few samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.random import Counter, Stream
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.geometry import (
    AxisGeometry,
    ConcatGeometry,
    ConvolutionGeometry,
    LrnGeometry,
    PoolingGeometry,
)
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.devices import CUDA, device

SAMPLE = 16, 32, 32
SIZE = 16 * 32 * 32
LARGE = (1 << 31) // SIZE + 3  # samples
FEW = 5
NEEDED = 40 << 30  # bytes: four large values, and what ops use besides
RTOL, ATOL = 1e-5, 1e-6


@dataclass(frozen=True)
class Large:
    """A backend, and how many samples there are."""

    ops: CudaOps
    samples: int


@pytest.fixture(params=[CUDA, pytest.param("gpu", marks=[pytest.mark.gpu, pytest.mark.slow])])
def large(request: pytest.FixtureRequest) -> Large:
    """Skips the test where the memory of the GPU is too small."""
    ops = CudaOps(device(request), precision="fp32")
    if request.param == CUDA:
        return Large(ops, FEW)
    free, _ = ops.runtime.memory()
    if free < NEEDED:
        pytest.skip(f"needs {NEEDED >> 30} GiB of free memory on the GPU, which has {free >> 30}")
    return Large(ops, LARGE)


def pattern(place: int) -> np.ndarray:
    """The first two samples of an input, and the last."""
    return np.random.default_rng(place).standard_normal((3, *SAMPLE)).astype(np.float32)


def filled(large: Large, samples: np.ndarray) -> Value:
    """Zeros between these samples, of which the last comes last."""
    value = Value((large.samples, *samples.shape[1:]))
    buffer = value.write(large.ops.layout)
    large.ops.runtime.clear(buffer)
    size = samples[0].size
    large.ops.runtime.upload(samples[:2], buffer[: 2 * size])
    large.ops.runtime.upload(samples[2], buffer[-size:])
    return value


def ends(large: Large, value: Value) -> np.ndarray:
    """The samples that `filled` filled."""
    size = value.count // large.samples
    buffer = value.read(large.ops.layout)
    found = np.empty((3, *value.shape[1:]), np.float32)
    large.ops.runtime.download(buffer[: 2 * size], found[:2])
    large.ops.runtime.download(buffer[-size:], found[2])
    return found


def small(content: Any, ops: Ops) -> Value:
    value = Value(np.shape(content))
    value.write()[...] = content
    return value


Run = Callable[[Ops, tuple[int, ...], Sequence[Value], Value], None]


def elementwise(constructor: str, *arguments: Any) -> Run:
    def run(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
        getattr(ops, constructor)(*arguments).forward(*xs, out=out)

    return run


def way_back(constructor: str, *arguments: Any) -> Run:
    def run(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
        getattr(ops, constructor)(*arguments).backward(*xs, out=out)

    return run


def added(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
    ops.eltwise_sum((1.0, -0.5)).forward(xs, out=out)


def beside(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
    ops.concat(ConcatGeometry((shape, shape), 1)).join(xs, out=out)


def scaled(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
    factors, bias = np.random.default_rng(9).standard_normal((2, SAMPLE[0]))
    op = ops.scale(AxisGeometry.around(shape, 1))
    op.forward(xs[0], small(factors, ops), small(bias, ops), out=out)


def softmax(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
    ops.softmax(AxisGeometry.around(shape, 1)).forward(xs[0], out=out)


def pooled(method: str) -> Run:
    def run(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
        op = ops.pooling(PoolingGeometry(shape, method, (2, 2), (2, 2), (0, 0)))
        op.forward(xs[0], out=out)

    return run


def pooled_back(method: str) -> Run:
    def run(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
        op = ops.pooling(PoolingGeometry(shape, method, (3, 3), (1, 1), (1, 1)))
        y = Value(shape)
        op.forward(xs[0], out=y)
        op.backward(y, xs[0], out=out)

    return run


def normalised(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
    ops.lrn(LrnGeometry(shape, 5, 0.1, 0.75, 1.0, False)).forward(xs[0], out=out)


def convolved(kernel: int) -> Run:
    def run(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
        sizes = (kernel,) * 2, (1, 1), (kernel // 2,) * 2, (1, 1)
        geometry = ConvolutionGeometry(shape, SAMPLE[0], *sizes)
        w = np.random.default_rng(9).standard_normal(geometry.weight_shape)
        ops.convolution(geometry).forward(xs[0], small(w, ops), None, out=out)

    return run


def updated(ops: Ops, shape: tuple[int, ...], xs: Sequence[Value], out: Value) -> None:
    """data and diff are inputs, the history is the output, which begins with zeros."""
    out.clear()
    numbers = {"rate": 0.1, "scale": 0.5, "decay": 0.01, "momentum": 0.9}
    ops.sgd_update().update(*xs, out, keep_diff=False, **numbers)


HALVED = SAMPLE[0], 16, 16
CASES: dict[str, tuple[Run, int, tuple[int, ...]]] = {  # with the inputs, and the output's sample
    "ReLU": (elementwise("relu", 0.1), 1, SAMPLE),
    "ReLU, back": (way_back("relu", 0.1), 2, SAMPLE),
    "Sigmoid": (elementwise("sigmoid"), 1, SAMPLE),
    "ELU": (elementwise("elu", 1.0), 1, SAMPLE),
    "Eltwise": (added, 2, SAMPLE),
    "Concat": (beside, 2, (32, 32, 32)),
    "Scale": (scaled, 1, SAMPLE),
    "Softmax": (softmax, 1, SAMPLE),
    "Pooling MAX": (pooled("MAX"), 1, HALVED),
    "Pooling AVE": (pooled("AVE"), 1, HALVED),
    "Pooling MAX, back": (pooled_back("MAX"), 1, SAMPLE),
    "LRN": (normalised, 1, SAMPLE),
    "Convolution 1x1": (convolved(1), 1, SAMPLE),
    "Convolution 3x3": (convolved(3), 1, SAMPLE),
    "SGD": (updated, 2, SAMPLE),
}


@pytest.mark.parametrize("name", CASES)
def test_samples_at_both_ends_are_those_of_the_numpy_engine(name: str, large: Large) -> None:
    run, inputs, sample = CASES[name]
    given = [pattern(place) for place in range(inputs)]
    expected = Value((3, *sample))
    reference = NumpyOps()
    run(reference, (3, *SAMPLE), [small(one, reference) for one in given], expected)
    out = Value((large.samples, *sample))
    run(large.ops, (large.samples, *SAMPLE), [filled(large, one) for one in given], out)
    np.testing.assert_allclose(ends(large, out), expected.read(), RTOL, ATOL)


def test_sums_over_samples_count_them_all(large: Large) -> None:
    dy = pattern(0)
    value, total, squares = filled(large, dy), Value((SAMPLE[0],)), Value((1,))
    total.clear()
    op = large.ops.bias(AxisGeometry.around(value.shape, 1))
    op.backward_bias(value, add_b=total)
    np.testing.assert_allclose(total.read(), dy.sum((0, 2, 3), np.float64), 1e-4, 1e-3)
    large.ops.sum_of_squares().forward([value], out=squares)
    np.testing.assert_allclose(squares.read(), np.square(dy, dtype=np.float64).sum(), 1e-5)


def test_statistics_of_channels_count_all_samples(large: Large) -> None:
    x = pattern(0) + 1
    value, out = filled(large, x), Value((large.samples, *SAMPLE))
    mean, variance, factor = (Value((size,)) for size in (SAMPLE[0], SAMPLE[0], 1))
    for one in (mean, variance, factor):
        one.clear()
    op = large.ops.batch_norm(AxisGeometry.around(value.shape, 1), 1e-5, 0.999)
    op.forward_train(value, mean, variance, factor, out=out)
    count = large.samples * SAMPLE[1] * SAMPLE[2]
    means = x.sum((0, 2, 3), np.float64) / count
    variances = np.square(x, dtype=np.float64).sum((0, 2, 3)) / count - means**2
    expected = (x - means[:, None, None]) / np.sqrt(variances + 1e-5)[:, None, None]
    np.testing.assert_allclose(ends(large, out), expected, 1e-3, 1e-3)


def test_masks_are_those_of_the_reference_both_ways(large: Large) -> None:
    x = pattern(0)
    value, out = filled(large, x), Value((large.samples, *SAMPLE))
    stream = Stream(1, "layer", "dropout")
    passes = Counter()
    op = large.ops.dropout(0.5, 2.0, stream, passes)
    op.forward(value, out=out)
    found = ends(large, out)
    for sample, place in enumerate((0, 1, large.samples - 1)):
        halves = stream.words(passes.value, SIZE // 2, place * SIZE // 2).view("<u4")
        stays = (halves >= 1 << 31).reshape(SAMPLE)
        np.testing.assert_array_equal(found[sample], 2 * x[sample] * stays)
    back = Value((large.samples, *SAMPLE))
    op.backward(value, out=back)
    np.testing.assert_array_equal(ends(large, back), found)

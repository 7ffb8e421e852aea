"""BatchNorm and MVN on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.geometry import AxisGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TEST
from tests.cuda_parity import check_parity
from tests.harness import make_layer

SHAPES = (
    (1, 1),
    (2, 3),
    (37, 5),  # channels of one pixel, several parts
    (40, 2, 7),  # of few pixels
    (3, 2, 11, 7),  # of many, in no whole vectors
    (2, 3, 8, 8),  # in whole vectors
    (3, 2, 53, 41),  # several parts of each, in no whole vectors
    (2, 2, 50, 54),  # in whole vectors
    (1, 1, 73, 67),
)
BATCH_NORM = 'type: "BatchNorm" batch_norm_param { moving_average_fraction: 0.9 eps: 0.01 }'
MVN = 'type: "MVN" mvn_param {{ across_channels: {} normalize_variance: {} }}'


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Each channel with a mean of its own."""
    x = np.random.default_rng(len(shape)).standard_normal(shape)
    return x + np.arange(shape[1]).reshape(-1, *[1] * (len(shape) - 2)) * 10.0


@pytest.mark.parametrize("names", ["", ' bottom: "x" top: "x"'])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_equals_the_numpy_engine(
    shape: tuple[int, ...], names: str, cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, BATCH_NORM + names, [images(shape)])


@pytest.mark.parametrize("names", ["", ' bottom: "x" top: "x"'])
@pytest.mark.parametrize("shape", [(2, 3), (3, 2, 11, 7), (2, 3, 8, 8), (0, 3, 2)])
def test_stored_statistics_equal_the_numpy_engine(
    shape: tuple[int, ...], names: str, cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, BATCH_NORM + names, [images(shape)], phase=TEST)


@pytest.mark.parametrize("variance", ["true", "false"])
@pytest.mark.parametrize("across", ["true", "false"])
@pytest.mark.parametrize("shape", [*((*shape, 1, 1)[:4] for shape in SHAPES), (0, 2, 3, 3)])
def test_mvn_equals_the_numpy_engine(
    shape: tuple[int, ...], across: str, variance: str, cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, MVN.format(across, variance), [images(shape)], atol=1e-9)


@pytest.mark.parametrize("shape", [(64, 2), (4, 2, 60, 60), (3, 2, 61, 59)])
def test_a_mean_much_larger_than_the_deviation_takes_nothing_from_the_variance(
    shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    """In float32; a sum of squares would have lost all of it."""
    x = np.float32(images(shape) + 1e4)
    x[0, 0] = np.float32(3e4)  # nor does a far element that happens to come first
    ops = CudaOps(cuda_runtime, np.float32)
    run = make_layer('type: "BatchNorm"', [x], ops=ops)
    run.forward()
    axes = (0, *range(2, x.ndim))
    mean, variance, _ = (blob.data.read() for blob in run.layer.blobs)
    np.testing.assert_allclose(mean, x.mean(axis=axes, dtype=np.float64), rtol=2e-7)
    exact = x.astype(np.float64).var(axis=axes, ddof=1)
    np.testing.assert_allclose(variance, exact, rtol=3e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 7, 5), (2, 3, 8, 8)])
@pytest.mark.filterwarnings("ignore:invalid value")
def test_nan_and_inf_stay_in_their_channel(
    shape: tuple[int, ...], bad: float, cuda_runtime: CudaRuntime
) -> None:
    x = images(shape)
    x[0, 1] = x[-1, 1] = bad
    check_parity(cuda_runtime, BATCH_NORM, [x])


@pytest.mark.parametrize("inner", [54, 5])
def test_results_do_not_depend_on_where_memory_begins(
    inner: int, cuda_runtime: CudaRuntime
) -> None:
    ops = CudaOps(cuda_runtime, np.float64)
    shape = (3, 2, inner)
    found = []
    for start in (0, 1):
        op = ops.batch_norm(AxisGeometry(*shape), 1e-5, 0.9)
        values = [Value(shape, np.float64) for _ in range(4)]
        for value in values:
            memory = ops.layout.zeros(value.count + start, ops.dtype)
            value.move_to(memory[start:], ops.layout)
        x, y, dy, dx = values
        for number, value in enumerate((x, dy)):
            value.write()[...] = np.random.default_rng(number).standard_normal(shape)
        op.forward_train(x, *(Value((n,), np.float64) for n in (2, 2, 1)), out=y)
        op.backward_train(dy, x, out=dx)
        found.append([y.read(), dx.read()])
    np.testing.assert_array_equal(found[0], found[1])


def test_an_op_that_worked_in_place_goes_on_beside(cuda_runtime: CudaRuntime) -> None:
    """And keeps no copy of an input that its output does not overwrite."""
    geometry = AxisGeometry(4, 3, 5)
    results = []
    for ops in (NumpyOps(np.float64), CudaOps(cuda_runtime, np.float64)):
        op = ops.batch_norm(geometry, 1e-5, 0.9)
        x, y, dx = (Value(geometry.shape, np.float64) for _ in range(3))
        sums = [Value((n,), np.float64) for n in (3, 3, 1)]
        for out in (x, y):
            x.write()[...] = images(geometry.shape)
            op.forward_train(x, *sums, out=out)
            y.write()[...] = np.cos(images(geometry.shape))
            op.backward_train(y, x, out=dx)
            results.append(dx.read().copy())
    np.testing.assert_allclose(results[2:], results[:2], rtol=1e-9, atol=1e-11)

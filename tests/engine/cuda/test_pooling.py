"""Pooling on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.proto.caffe_pb2 import TEST, TRAIN
from tests.cuda_parity import check_parity

SHAPE = (2, 3, 9, 13)
WINDOWS = (
    "kernel_size: 3 stride: 2",
    "kernel_size: 3 stride: 1 pad: 1",
    "kernel_size: 2 stride: 2",
    "kernel_size: 2 stride: 3 round_mode: FLOOR",  # pixels in no window
    "kernel_h: 5 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 2",
    "kernel_size: 3 stride: 2 pad: 1 round_mode: FLOOR",
    "kernel_h: 4 kernel_w: 8 stride_h: 2 stride_w: 3",  # a warp for each
    "kernel_size: 7 stride: 3 pad: 3",
    "global_pooling: true",
)


def layer(fields: str, tops: int = 1) -> str:
    names = " ".join(f'top: "top_{index}"' for index in range(tops))
    return f'type: "Pooling" {names} pooling_param {{ {fields} }}'


def x_of(shape: tuple[int, ...], ties: bool = False) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal(shape)
    return np.round(x) if ties else x


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("fields", WINDOWS)
def test_equals_the_numpy_engine(method: str, fields: str, cuda_runtime: CudaRuntime) -> None:
    check_parity(cuda_runtime, layer(f"pool: {method} {fields}"), [x_of(SHAPE)])


@pytest.mark.parametrize("method", ["MAX", "AVE"])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (0, 3, 5, 5), (1, 2, 1, 41)])
def test_odd_sizes_equal_the_numpy_engine(
    method: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    fields = f"pool: {method} kernel_h: 1 kernel_w: 3 pad_w: 1 stride: 2"
    check_parity(cuda_runtime, layer(fields), [x_of(shape)])


@pytest.mark.parametrize("fields", WINDOWS)
def test_masks_and_gradients_go_to_the_first_maximum(
    fields: str, cuda_runtime: CudaRuntime
) -> None:
    for x in (x_of(SHAPE, ties=True), np.zeros(SHAPE)):
        check_parity(cuda_runtime, layer(fields, tops=2), [x])


@pytest.mark.parametrize("fields", WINDOWS)
def test_nan_and_infinity_are_no_maxima(fields: str, cuda_runtime: CudaRuntime) -> None:
    x = x_of(SHAPE)
    x[0, 0, :5] = np.nan
    x[0, 1, :5] = -np.inf
    x[1, 1, 3, 3] = np.inf
    x[1, 2] = np.float64(np.finfo(np.float32).min)
    check_parity(cuda_runtime, layer(fields, tops=2), [x])


@pytest.mark.parametrize("phase", [TRAIN, TEST])
@pytest.mark.parametrize(
    "fields",
    ["kernel_size: 2 stride: 2", "kernel_size: 3 stride: 2", "kernel_size: 9", "kernel_size: 1"],
)
def test_draws_equal_those_of_the_numpy_engine(
    fields: str, phase: int, cuda_runtime: CudaRuntime
) -> None:
    x = np.maximum(x_of(SHAPE), 0)
    x[0, 0] = 0
    param = layer(f"pool: STOCHASTIC {fields}")
    check_parity(cuda_runtime, param, [x], phase=phase, backward=phase == TRAIN)

"""Softmax on the GPU engine, by threads and by blocks of them."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.cuda.softmax import FEW_CLASSES, FEW_POSITIONS, MANY_POSITIONS, by_rows
from caffepy.engine.ops.geometry import AxisGeometry
from tests.cuda_parity import check_parity

SHAPES = (
    (1, 1), (7, 5, 3, 1), (3, 37), (2, 131, 3), (1109, 3), (3, 7, 461), (2, 33, 16411), (4, 0),
    (0, 4),
)  # fmt: skip


@pytest.mark.parametrize("in_place", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_numpy_engine(
    shape: tuple[int, ...], in_place: bool, cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal(shape) * 10
    blobs = 'bottom: "x" top: "x"' if in_place else ""
    check_parity(cuda_runtime, f'type: "Softmax" {blobs}', [x])


@pytest.mark.parametrize("inner", [2, FEW_POSITIONS])
def test_what_is_not_finite_comes_out_as_on_the_numpy_engine(
    inner: int, cuda_runtime: CudaRuntime
) -> None:
    x = np.random.default_rng(0).standard_normal((6, 4, inner))
    x[0, 1], x[1, 2], x[2, 3], x[3], x[4, 3] = np.nan, np.inf, -np.inf, -np.inf, np.nan
    check_parity(cuda_runtime, 'type: "Softmax"', [x])


def test_a_block_takes_a_position_where_classes_are_many_or_positions_few() -> None:
    few, many = FEW_CLASSES, FEW_CLASSES + 1
    assert by_rows(AxisGeometry(FEW_POSITIONS, few, 1))
    assert not by_rows(AxisGeometry(FEW_POSITIONS + 1, few, 1))
    assert by_rows(AxisGeometry(MANY_POSITIONS, many, 1))
    assert by_rows(AxisGeometry(2, many, FEW_POSITIONS))
    assert not by_rows(AxisGeometry(2, many, MANY_POSITIONS))

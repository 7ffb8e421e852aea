"""Bias, Scale and PReLU on the GPU engine."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.ops.cuda.port import CudaRuntime
from tests.cuda_parity import check_parity

IN_PLACE = 'bottom: "x" top: "x"'
NORMAL = 'filler { type: "gaussian" std: 1 }'
SHAPES = (
    (1, 1),
    (7, 5),
    (2, 3, 4),  # inner a multiple of a vector
    (3, 2, 5),  # vectors that lie in two channels
    (2, 7, 1, 13),
    (300, 37),  # several parts of two groups of columns
    (70, 3, 3, 3),  # columns of a few places each
    (3, 2, 4, 5),  # whole vectors of runs
    (1, 2, 61, 67),  # runs
    (2, 1, 66, 68),  # runs in parts
)
LAYERS = (
    f'type: "Bias" bias_param {{ {NORMAL} }}',
    f'type: "Scale" scale_param {{ {NORMAL} }}',
    f'type: "Scale" scale_param {{ {NORMAL} bias_term: true bias_{NORMAL} }}',
    f'type: "PReLU" prelu_param {{ {NORMAL} }}',
)
SHARED = (
    f'type: "Bias" bias_param {{ num_axes: 0 {NORMAL} }}',
    f'type: "Scale" scale_param {{ axis: 0 num_axes: -1 {NORMAL} bias_term: true }}',
    f'type: "PReLU" prelu_param {{ channel_shared: true {NORMAL} }}',
)


def random(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(shape)).standard_normal(shape)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_the_numpy_engine(
    layer: str, shape: tuple[int, ...], cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, layer, [random(shape)])


@pytest.mark.parametrize("layer", [*LAYERS, *SHARED])
@pytest.mark.parametrize("names", ["", IN_PLACE])
def test_equals_the_numpy_engine_in_place_and_not(
    layer: str, names: str, cuda_runtime: CudaRuntime
) -> None:
    check_parity(cuda_runtime, f"{names} {layer}", [random((3, 5, 7))])


@pytest.mark.parametrize("kind", ["Bias", "Scale"])
@pytest.mark.parametrize(("axis", "shape"), [(0, (2, 3)), (-1, (19,)), (1, ())])
@pytest.mark.parametrize("wanted", [(True, True), (True, False), (False, True)])
def test_equals_the_numpy_engine_with_two_bottoms(
    kind: str,
    axis: int,
    shape: tuple[int, ...],
    wanted: tuple[bool, bool],
    cuda_runtime: CudaRuntime,
) -> None:
    bias = "bias_term: true" if kind == "Scale" else ""
    layer = f'type: "{kind}" {kind.lower()}_param {{ axis: {axis} {bias} }}'
    bottoms = [random((2, 3, 19)), random(shape)]
    check_parity(cuda_runtime, layer, bottoms, propagate_down=wanted)


@pytest.mark.parametrize("layer", LAYERS)
def test_no_samples_give_gradients_of_zero(layer: str, cuda_runtime: CudaRuntime) -> None:
    check_parity(cuda_runtime, layer, [np.empty((0, 3, 5))])


@pytest.mark.parametrize("layer", LAYERS)
def test_numbers_that_are_not_finite_come_out_as_on_numpy(
    layer: str, cuda_runtime: CudaRuntime
) -> None:
    x = random((2, 5, 3))
    x[:, 0], x[0, 1, 0], x[1, 2, 1] = np.nan, np.inf, -np.inf
    check_parity(cuda_runtime, layer, [x])

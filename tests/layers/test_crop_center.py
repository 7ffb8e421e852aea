"""CropCenter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


def layer(*cuts: int) -> str:
    fields = " ".join(f"crop_size: {cut}" for cut in cuts)
    return f'type: "CropCenter" crop_center_param {{ {fields} }}'


@pytest.mark.parametrize("case", golden_cases("CropCenter"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("cuts", [(0, 0, 0), (1, 0, 2), (0, 1, 1)])
def test_value_and_gradient(cuts: tuple[int, ...], ops: Ops) -> None:
    x = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    (top,) = make_layer(layer(*cuts), [x], ops=ops).forward()
    middle = tuple(slice(cut, size - cut) for cut, size in zip(cuts, x.shape, strict=True))
    np.testing.assert_array_equal(top, x[middle])
    check_layer_gradient(layer(*cuts), [x])


def test_crops_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected one for each axis of .*, got 2 numbers"):
        make_layer(layer(0, 1), [np.zeros((3, 4, 5))])
    with pytest.raises(ShapeError, match=r"more than 2 \* crop_size elements in each axis"):
        make_layer(layer(0, 2, 0), [np.zeros((3, 4, 5))])

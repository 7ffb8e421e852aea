"""Input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError
from caffepy.engine.ops.base import Ops
from tests.harness import golden_cases, make_layer, run_golden

TWO = 'type: "Input" top: "a" top: "b"'


@pytest.mark.parametrize("case", golden_cases("Input"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def test_one_shape_is_for_all_tops() -> None:
    run = make_layer(f"{TWO} input_param {{ shape {{ dim: 2 dim: 3 }} }}", [])
    assert [blob.shape for blob in run.top] == [(2, 3), (2, 3)]


def test_data_that_the_caller_set_stays() -> None:
    run = make_layer('type: "Input" input_param { shape { dim: 2 } }', [])
    run.top[0].data.write()[...] = [3, 4]
    np.testing.assert_array_equal(run.forward()[0], [3, 4])


def test_shape_that_the_caller_gave_stays() -> None:
    run = make_layer('type: "Input" input_param { shape { dim: 2 } }', [])
    run.top[0].reshape((5, 2))
    assert run.forward()[0].shape == (5, 2)


def test_number_of_shapes_must_fit() -> None:
    three = "shape { dim: 1 } " * 3
    with pytest.raises(NetError, match=r"expected none, one, or one per top \(2\), got 3"):
        make_layer(f"{TWO} input_param {{ {three} }}", [])

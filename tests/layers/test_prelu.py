"""PReLU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("PReLU"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize("names", ["", 'bottom: "x" top: "x"'])
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.integers(1, 4), min_size=2, max_size=6), shared=st.booleans())
def test_gradient(shape: list[int], shared: bool, names: str) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    check_layer_gradient(
        f"""type: "PReLU" {names} prelu_param {{ channel_shared: {str(shared).lower()}
        filler {{ type: "uniform" min: -1 }} }}""",
        [x],
    )


@pytest.mark.parametrize("slope", [-0.5, 0.25, 1, 1.5])
def test_slopes_multiply_what_is_below_zero(slope: float, ops: Ops) -> None:
    text = f'type: "PReLU" prelu_param {{ filler {{ value: {slope} }} }}'
    run = make_layer(text, [[[-2.0, 0.0, 3.0, np.inf, -np.inf]]], ops=ops)
    expected = [[-2 * slope, 0, 3, np.inf, -slope * np.inf]]
    np.testing.assert_array_equal(run.forward()[0], expected)
    run.top[0].diff.write()[...] = 5
    run.backward()
    gradient = [[5 * slope, 5 * slope, 5, 5, 5 * slope]]
    np.testing.assert_array_equal(run.bottom[0].diff.read(), gradient)


@pytest.mark.parametrize("slope", [-0.5, 0.25])
def test_working_in_place_changes_no_number(slope: float, ops: Ops) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    text = f'type: "PReLU" bottom: "x" prelu_param {{ filler {{ value: {slope} }} }} '
    runs = [make_layer(text + f'top: "{top}"', [x], ops=ops) for top in ("y", "x")]
    tops = []
    for run in runs:
        tops.append(run.forward()[0])
        run.top[0].diff.write()[...] = x**2
        run.layer.blobs[0].diff.write()[...] = 0
        run.layer.backward(run.top, [True], run.bottom)
    apart, in_place = runs
    np.testing.assert_array_equal(*tops)
    for mine, theirs in (
        (in_place.bottom[0], apart.bottom[0]),
        (in_place.layer.blobs[0], apart.layer.blobs[0]),
    ):
        np.testing.assert_array_equal(mine.diff.read(), theirs.diff.read())


def test_channels_that_change_are_refused() -> None:
    run = make_layer('type: "PReLU"', [np.ones((2, 3))])
    run.bottom[0].reshape((2, 4))
    with pytest.raises(ShapeError, match=r"'bottom_0': expected 3 channels in axis 1"):
        run.layer.reshape(run.bottom, run.top)
    with pytest.raises(ShapeError, match=r"expected at least 2 axes \(N, C, ...\)"):
        make_layer('type: "PReLU"', [np.ones(3)])

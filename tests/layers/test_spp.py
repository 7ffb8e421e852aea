"""SPP."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden


@pytest.mark.parametrize("case", golden_cases("SPP"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def layer(height: int, pool: str = "MAX") -> str:
    return f'type: "SPP" spp_param {{ pyramid_height: {height} pool: {pool} }}'


@settings(max_examples=12, deadline=None)
@given(
    height=st.integers(1, 3),
    pool=st.sampled_from(["MAX", "AVE"]),
    size=st.tuples(*[st.sampled_from([4, 6, 7, 9])] * 2),
)
def test_gradient(height: int, pool: str, size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).permutation(2 * size[0] * size[1])
    check_layer_gradient(layer(height, pool), [x.reshape(2, 1, *size) / 10])


@settings(max_examples=30, deadline=None)
@given(
    height=st.integers(1, 4),
    pool=st.sampled_from(["MAX", "AVE"]),
    size=st.tuples(*[st.integers(1, 20)] * 2),
)
def test_each_level_is_a_pooling_layer_or_all_are_refused(
    height: int, pool: str, size: tuple[int, int]
) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *size))

    def pooled(windows: int) -> np.ndarray:
        (kernel_h, kernel_w) = kernel = [-(-pixels // windows) for pixels in size]
        pad_h, pad_w = (
            (windows * side - pixels + 1) // 2 for side, pixels in zip(kernel, size, strict=True)
        )
        (top,) = make_layer(
            f"""type: "Pooling" pooling_param {{ pool: {pool} kernel_h: {kernel_h}
            kernel_w: {kernel_w} stride_h: {kernel_h} stride_w: {kernel_w} pad_h: {pad_h}
            pad_w: {pad_w} }}""",
            [x],
        ).forward()
        assert top.shape == (2, 3, windows, windows)
        return top.reshape(2, -1)

    try:
        expected = np.concatenate([pooled(2**level) for level in range(height)], axis=1)
    except NetError:
        with pytest.raises(ShapeError, match="so that each has pixels"):
            make_layer(layer(height, pool), [x])
    else:
        (top,) = make_layer(layer(height, pool), [x]).forward()
        np.testing.assert_array_equal(top.reshape(2, -1), expected)


def test_images_of_any_size_give_vectors_of_one_length(ops: Ops) -> None:
    run = make_layer(layer(2), [np.ones((2, 3, 7, 9))], ops=ops)
    for shape in ((2, 3, 8, 8), (1, 3, 3, 20), (0, 3, 6, 6)):
        run.bottom[0].reshape(shape)
        run.bottom[0].data.write()[...] = 1
        (top,) = run.forward()
        assert top.shape == (shape[0], 15)
        assert (top == 1).all()
        run.backward()


def test_levels_stand_side_by_side(ops: Ops) -> None:
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    (top,) = make_layer(layer(2), [x], ops=ops).forward()
    np.testing.assert_array_equal(top, [[15, 5, 7, 13, 15]])


def test_what_does_not_fit_is_refused() -> None:
    x = np.ones((1, 1, 6, 6))
    with pytest.raises(NetError, match=r"spp_param.pyramid_height: expected at least 1, got 0"):
        make_layer(layer(0), [x])
    with pytest.raises(NetError, match=r"spp_param.pool: expected MAX or AVE, got STOCHASTIC"):
        make_layer(layer(1, "STOCHASTIC"), [x])
    for shape in ((1, 1, 6), (1, 1, 0, 6)):
        with pytest.raises(ShapeError, match=r"'bottom_0': expected 4 axes \(N, C, H, W\) with"):
            make_layer(layer(1), [np.ones(shape)])
    for height in (4, 40):
        with pytest.raises(ShapeError, match="6 pixels, which take windows of 1 with"):
            make_layer(layer(height), [x])
    with pytest.raises(ShapeError, match="5 pixels, which take windows of 2 with 2 pixels padding"):
        make_layer(layer(3), [np.ones((1, 1, 6, 5))])

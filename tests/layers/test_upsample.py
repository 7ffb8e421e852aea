"""Upsample."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import LabelError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.nets import make_net

RANDOM = np.random.default_rng(0)


def layer(fields: str = "") -> str:
    return f'type: "Upsample" upsample_param {{ {fields} }}'


def places(shape: tuple[int, ...], plane: int, *, apart: bool = True) -> np.ndarray:
    """A mask whose places differ in each plane, or are drawn one by one."""
    if not apart:
        return RANDOM.integers(0, plane, shape)
    size = shape[2] * shape[3]
    drawn = [RANDOM.permutation(plane)[:size] for _ in range(shape[0] * shape[1])]
    return np.array(drawn).reshape(shape)


@pytest.mark.parametrize("case", golden_cases("Upsample"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


# ---- one bottom


@pytest.mark.parametrize("scale", [None, 1, 2, 5])
@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5), (1, 1, 1, 1), (3, 40, 13, 7), (0, 2, 3, 3), (2, 1, 0, 3)]
)
def test_pixels_become_squares(shape: tuple[int, ...], scale: int | None, ops: Ops) -> None:
    x = RANDOM.standard_normal(shape).astype(np.float32)
    run = make_layer(layer("" if scale is None else f"scale: {scale}"), [x], ops=ops)
    (top,) = run.forward()
    np.testing.assert_array_equal(top, x.repeat(scale or 1, 2).repeat(scale or 1, 3))
    run.top[0].diff.write()[...] = top
    run.backward()
    expected = x * np.float32((scale or 1) ** 2)
    np.testing.assert_allclose(run.bottom[0].diff.read(), expected, rtol=1e-5)
    if 0 < x.size < 100:
        found = [run.layer.origin(0, place, run.bottom) for place in range(top.size)]
        np.testing.assert_array_equal(x.ravel()[[place for _, place in found]], top.ravel())  # type: ignore[misc]


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_gradient_of_squares(scale: int) -> None:
    check_layer_gradient(layer(f"scale: {scale}"), [RANDOM.standard_normal((2, 2, 2, 3))])


# ---- two bottoms


def unpooled(x: np.ndarray, mask: np.ndarray, out: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel."""
    y = np.zeros((*x.shape[:2], out[0] * out[1]), x.dtype)
    for n, c, i, j in np.ndindex(x.shape):
        y[n, c, int(mask[n, c, i, j])] = x[n, c, i, j]
    return y.reshape(*x.shape[:2], *out)


@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize(
    ("fields", "shape", "out"),
    [
        ("", (2, 3, 4, 5), (8, 10)),
        ("scale: 3", (1, 2, 2, 2), (6, 6)),
        ("scale_h: 2 scale_w: 4", (1, 2, 3, 2), (6, 8)),
        ("scale: 2 pad_out_h: true pad_out_w: true", (2, 2, 3, 4), (5, 7)),
        ("scale: 2 pad_out_w: true", (2, 2, 3, 4), (6, 7)),
        ("upsample_h: 5 upsample_w: 9 scale: 2", (2, 2, 3, 4), (5, 9)),
        ("upsample_h: 40 upsample_w: 33", (2, 5, 20, 17), (40, 33)),
    ],
)
def test_pixels_go_where_the_mask_says(
    fields: str, shape: tuple[int, ...], out: tuple[int, int], apart: bool, ops: Ops
) -> None:
    x = RANDOM.standard_normal(shape).astype(np.float32)
    mask = places(shape, out[0] * out[1], apart=apart)
    run = make_layer(layer(fields), [x, mask], ops=ops)
    (top,) = run.forward()
    np.testing.assert_array_equal(top, unpooled(x, mask, out))
    dy = RANDOM.standard_normal(top.shape).astype(np.float32)
    run.top[0].diff.write()[...] = dy
    run.bottom[1].diff.write()[...] = 1
    run.backward([True, True])
    assert not run.bottom[1].diff.read().any()
    taken = dy.reshape(*shape[:2], -1)
    expected = np.zeros(shape, np.float32)
    for n, c, i, j in np.ndindex(shape):  # also where another pixel stayed: as in SegNet's fork
        expected[n, c, i, j] = taken[n, c, int(mask[n, c, i, j])]
    np.testing.assert_array_equal(run.bottom[0].diff.read(), expected)


def test_gradient_by_mask() -> None:
    shape = (2, 2, 2, 3)
    bottoms = [RANDOM.standard_normal(shape), places(shape, 24)]
    check_layer_gradient(layer(), bottoms, bottoms=[0])


@pytest.mark.parametrize("bad", [24, -1, 1e9, np.nan])
def test_a_place_beyond_the_top_is_refused(bad: float, ops: Ops) -> None:
    mask = places((2, 2, 2, 3), 24).astype(np.float32)
    mask[1, 0, 1, 2] = bad
    run = make_layer(layer(), [np.ones((2, 2, 2, 3)), mask], ops=ops)
    message = r"expected 0 to 23, got .* Make the top as large"
    with pytest.raises(LabelError, match=message) as caught:
        run.forward()
    assert caught.value.index == (1, 0, 1, 2)


def test_a_net_pools_and_undoes_it(ops: Ops) -> None:
    net = make_net(
        """
          force_backward: true
          layer { name: "x" type: "Input" top: "x"
            input_param { shape { dim: 2 dim: 3 dim: 5 dim: 6 } } }
          layer { name: "pool" type: "Pooling" bottom: "x" top: "pool" top: "mask"
            pooling_param { kernel_size: 2 stride: 2 } }
          layer { name: "up" type: "Upsample" bottom: "pool" bottom: "mask" top: "up"
            upsample_param { upsample_h: 5 upsample_w: 6 } }
          layer { name: "loss" type: "Reduction" bottom: "up" top: "loss" loss_weight: 1
            reduction_param { operation: SUMSQ } }
        """,
        ops,
    )
    x = RANDOM.standard_normal((2, 3, 5, 6)).astype(np.float32)
    net.blobs["x"].data.write()[...] = x
    for _ in range(2):
        net.forward()
        net.backward()
    up = net.blobs["up"].data.read()
    stays = up != 0
    np.testing.assert_array_equal(up[stays], x[stays])
    assert stays.sum() == 2 * 3 * 9
    np.testing.assert_allclose(net.blobs["x"].diff.read(), 2 * up, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "bottoms", "message"),
    [
        ("scale: 1.5", 1, "scale: expected a whole number from 1 on, got 1.5"),
        ("scale: 0", 1, "scale: expected a whole number from 1 on, got 0"),
        ("scale: nan", 2, "scale: expected a whole number from 1 on, got nan"),
        ("scale: inf", 2, "scale: expected a whole number from 1 on, got inf"),
        ("scale: 2 scale_h: 2", 1, "expected scale alone with one bottom, got scale, scale_h"),
        ("upsample_h: 4 upsample_w: 4", 1, "expected scale alone with one bottom, got upsample_h"),
        ("scale: 2 scale_h: 2 scale_w: 2", 2, "scale, or scale_h and scale_w, got both"),
        ("scale_h: 2", 2, "scale_h and scale_w: expected at least 1, got 2 and 0"),
        ("upsample_w: 4", 2, "upsample_h and upsample_w: expected at least 1, got 0 and 4"),
        ("scale: 3 pad_out_h: true", 2, "pad_out_h: expected false where the scale is not 2"),
    ],
)
def test_bad_fields_are_refused(fields: str, bottoms: int, message: str) -> None:
    with pytest.raises(NetError, match=message):
        make_layer(layer(fields), [np.zeros((1, 2, 2, 2))] * bottoms)


def test_bottoms_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"expected 4 axes \(N, C, H, W\)"):
        make_layer(layer(), [np.zeros((2, 3, 4))])
    with pytest.raises(ShapeError, match=r"'bottom_1': expected shape .* that of 'bottom_0'"):
        make_layer(layer(), [np.zeros((2, 3, 4, 5)), np.zeros((2, 3, 4, 4))])

"""Interp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

RANDOM = np.random.default_rng(0)
CONFIGURATIONS = [
    ("height: 7 width: 5", (2, 3, 4, 9), (7, 5)),
    ("height: 1 width: 1", (1, 2, 4, 3), (1, 1)),
    ("height: 5 width: 3", (2, 1, 1, 1), (5, 3)),
    ("height: 1 width: 6", (1, 2, 5, 1), (1, 6)),
    ("zoom_factor: 3", (1, 2, 4, 2), (10, 4)),
    ("shrink_factor: 2", (1, 2, 6, 7), (3, 4)),
    ("shrink_factor: 2 zoom_factor: 3", (1, 2, 6, 7), (7, 10)),
    ("height: 4 width: 4 zoom_factor: 2", (1, 1, 3, 3), (5, 5)),
    ("height: 4 width: 4 shrink_factor: 2", (1, 1, 3, 3), (2, 2)),
    ("height: 4 width: 4 shrink_factor: 2 zoom_factor: 2", (1, 1, 3, 3), (4, 4)),
    ("height: 6 width: 5 pad_beg: -1 pad_end: -2", (2, 1, 6, 5), (6, 5)),
    ("zoom_factor: 2 pad_beg: -2", (1, 2, 3, 4), (1, 3)),
]


def layer(fields: str) -> str:
    return f'type: "Interp" interp_param {{ {fields} }}'


@pytest.mark.parametrize("case", golden_cases("Interp"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def interpolated(x: np.ndarray, out: tuple[int, int], begin: int, end: int) -> np.ndarray:
    """Pixel by pixel."""
    height, width = (size - end - begin for size in x.shape[2:])
    x = x[:, :, begin : begin + height, begin : begin + width]
    y = np.empty((*x.shape[:2], *out))
    for i in range(out[0]):
        for j in range(out[1]):
            r = i * (height - 1) / (out[0] - 1) if out[0] > 1 else 0.0
            c = j * (width - 1) / (out[1] - 1) if out[1] > 1 else 0.0
            y[:, :, i, j] = sum(
                x[:, :, p, q] * max(0, 1 - abs(p - r)) * max(0, 1 - abs(q - c))
                for p in range(height)
                for q in range(width)
            )
    return y


@pytest.mark.parametrize(("fields", "shape", "out"), CONFIGURATIONS)
def test_value_pixel_by_pixel(
    fields: str, shape: tuple[int, ...], out: tuple[int, int], ops: Ops
) -> None:
    x = RANDOM.standard_normal(shape)
    (top,) = make_layer(layer(fields), [x], ops=ops).forward()
    begin, end = 1 * ("beg: -1" in fields) + 2 * ("beg: -2" in fields), 2 * ("end: -2" in fields)
    np.testing.assert_allclose(top, interpolated(x, out, begin, end), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("fields", "shape", "out"), CONFIGURATIONS)
def test_gradient(fields: str, shape: tuple[int, ...], out: tuple[int, int]) -> None:
    check_layer_gradient(layer(fields), [RANDOM.standard_normal(shape)])


@pytest.mark.parametrize(
    "fields", ["height: 129 width: 65", "height: 1 width: 3", "shrink_factor: 3", "zoom_factor: 4"]
)
def test_the_gradient_is_the_transpose_on_every_engine(fields: str, ops: Ops) -> None:
    """By <A x, dy> = <x, A^T dy>, on more pixels than a gradient check has time for."""
    x = RANDOM.standard_normal((2, 3, 33, 40)).astype(np.float32)
    run = make_layer(layer(f"{fields} pad_beg: -1"), [x], ops=ops)
    (top,) = run.forward()
    dy = RANDOM.standard_normal(top.shape).astype(np.float32)
    run.top[0].diff.write()[...] = dy
    run.backward()
    dx = run.bottom[0].diff.read()
    assert not dx[:, :, 0].any()
    assert not dx[:, :, :, 0].any()
    forward, backward = (float((a.astype(float) * b).sum()) for a, b in ((top, dy), (x, dx)))
    assert forward == pytest.approx(backward, rel=1e-4, abs=1e-3)


def test_a_long_row_takes_no_large_matrix(ops: Ops) -> None:
    x = RANDOM.standard_normal((1, 2, 1, 3000))
    run = make_layer(layer("height: 2 width: 5999"), [x], ops=ops)
    (top,) = run.forward()
    between = np.interp(np.arange(5999) / 2, np.arange(3000), x[0, 1, 0])
    np.testing.assert_allclose(top[0, 1, 1], between, atol=1e-5)
    run.top[0].diff.write()[...] = 1
    run.backward()
    expected = np.full(3000, 4.0)
    expected[[0, -1]] = 3
    np.testing.assert_allclose(run.bottom[0].diff.read()[0, 1, 0], expected, rtol=1e-5)


@pytest.mark.parametrize("what", [np.nan, np.inf])
def test_a_pixel_that_is_not_finite_spoils_its_neighbours_only(what: float, ops: Ops) -> None:
    x = np.ones((1, 2, 5, 5), np.float32)
    x[0, 0, 2, 2] = what
    run = make_layer(layer("height: 9 width: 9"), [x], ops=ops)
    (top,) = run.forward()
    near = np.isin(
        np.arange(9), [2, 3, 4, 5]
    )  # where the pixel is before or after; at 2 by 0 of it
    assert np.isfinite(top[0, 1]).all()
    np.testing.assert_array_equal(~np.isfinite(top[0, 0]), np.outer(near, near))
    run.top[0].diff.write()[...] = 1
    run.top[0].diff.modify()[0, 0, 3, 3] = what
    run.backward()
    spoilt = np.zeros((5, 5), bool)
    spoilt[1:3, 1:3] = True
    gradient = run.bottom[0].diff.read()
    np.testing.assert_array_equal(~np.isfinite(gradient[0, 0]), spoilt)
    assert np.isfinite(gradient[0, 1]).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "expected height and width, zoom_factor or shrink_factor, got none"),
        ("height: 3", "expected height and width, zoom_factor or shrink_factor, got none"),
        ("height: 0 width: 3", "height: expected at least 1, got 0"),
        ("zoom_factor: 0", "zoom_factor: expected at least 1, got 0"),
        ("shrink_factor: -2", "shrink_factor: expected at least 1, got -2"),
        ("zoom_factor: 2 pad_beg: 1", "pad_beg: expected 0, or less to crop, got 1"),
        ("zoom_factor: 2 mode: NEAREST", "mode: expected LINEAR, got NEAREST"),
        ('zoom_factor: 2 interp_type: "nearest"', "interp_type: expected it to be left out"),
    ],
)
def test_bad_fields_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        make_layer(layer(fields), [np.ones((1, 2, 4, 4))])


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 3, 4, 3)])
def test_bottoms_that_are_too_small_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"4 axes .* with at least 4 rows and columns, got shape"):
        make_layer(layer("zoom_factor: 2 pad_beg: -1 pad_end: -2"), [np.ones(shape)])

"""Reorg."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests.harness import check_layer_gradient, make_layer

RANDOM = np.random.default_rng(0)
SHAPES = [(2, 4, 4, 6, 2), (1, 9, 3, 6, 3), (2, 12, 4, 2, 2), (1, 2, 3, 3, 1), (3, 64, 26, 26, 2)]


def layer(stride: int, reverse: bool) -> str:
    fields = f"stride: {stride} reverse: {str(reverse).lower()}"
    return f'type: "Reorg" reorg_param {{ {fields} }}'


def as_darknet(x: np.ndarray, stride: int, reverse: bool) -> np.ndarray:
    """Element by element, with the places in memory that darknet's loop goes through."""
    samples, channels, height, width = x.shape
    fewer = channels // stride**2
    flat = x.ravel()
    out = np.empty_like(flat)
    for b, k, j, i in itertools.product(*map(range, x.shape)):
        one = i + width * (j + height * (k + channels * b))
        down, right = divmod(k // fewer, stride)
        row, column = j * stride + down, i * stride + right
        other = column + width * stride * (row + height * stride * (k % fewer + fewer * b))
        if reverse:
            out[other] = flat[one]
        else:
            out[one] = flat[other]
    if reverse:
        return out.reshape(samples, fewer, height * stride, width * stride)
    return out.reshape(samples, channels * stride**2, height // stride, width // stride)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(("n", "c", "h", "w", "stride"), SHAPES)
def test_elements_go_where_darknet_puts_them(
    n: int, c: int, h: int, w: int, stride: int, reverse: bool, ops: Ops
) -> None:
    x = RANDOM.standard_normal((n, c, h, w)).astype(np.float32)
    run = make_layer(layer(stride, reverse), [x], ops=ops)
    (top,) = run.forward()
    np.testing.assert_array_equal(top, as_darknet(x, stride, reverse))
    run.top[0].diff.write()[...] = top
    run.backward()
    np.testing.assert_array_equal(run.bottom[0].diff.read(), x)


def test_an_image_of_four_channels_by_hand() -> None:
    """darknet takes (4, 2, 2) for (1, 4, 4), and what comes of it for (16, 1, 1)."""
    x = np.arange(16.0).reshape(1, 4, 2, 2)
    (top,) = make_layer(layer(2, False), [x]).forward()
    expected = [0, 2, 8, 10, 1, 3, 9, 11, 4, 6, 12, 14, 5, 7, 13, 15]
    np.testing.assert_array_equal(top.ravel(), expected)
    (top,) = make_layer(layer(2, True), [x]).forward()
    np.testing.assert_array_equal(
        top[0, 0], [[0, 4, 1, 5], [8, 12, 9, 13], [2, 6, 3, 7], [10, 14, 11, 15]]
    )


@pytest.mark.parametrize("reverse", [False, True])
def test_gradient(reverse: bool) -> None:
    check_layer_gradient(layer(2, reverse), [RANDOM.standard_normal((2, 8, 2, 4))])


def test_places_are_traced() -> None:
    x = RANDOM.standard_normal((2, 4, 2, 4)).astype(np.float32)
    run = make_layer(layer(2, False), [x])
    (top,) = run.forward()
    places = [run.layer.origin(0, place, run.bottom) for place in range(top.size)]
    np.testing.assert_array_equal(x.ravel()[[place for _, place in places]], top.ravel())  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "shape", "kind", "message"),
    [
        ("", (1, 4, 2, 2), NetError, "reorg_param.stride: expected at least 1, got none"),
        ("stride: 0", (1, 4, 2, 2), NetError, "reorg_param.stride: expected at least 1, got 0"),
        ("stride: 2", (1, 6, 2, 2), ShapeError, "C a multiple of 4, H and W multiples of 2, got"),
        ("stride: 2", (1, 4, 2, 3), ShapeError, r"multiples of 2, got \(1, 4, 2, 3\)"),
        ("stride: 2", (4, 2, 2), ShapeError, r"expected shape \(N, C, H, W\)"),
        ("stride: 2 reverse: true", (1, 6, 3, 3), ShapeError, "C a multiple of 4, got"),
    ],
)
def test_what_does_not_fit_is_refused(
    fields: str, shape: tuple[int, ...], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make_layer(f'type: "Reorg" reorg_param {{ {fields} }}', [np.ones(shape)])

"""Axes in another order: what the ops on it share, and layouts that are not plain."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import TransposeGeometry
from caffepy.engine.ops.onednn.layout import BlockedLayout
from caffepy.engine.ops.onednn.tensors import convolution_layout
from tests.conftest import onednn_ops


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 1, 3), (1, 1, 1), (5, 1, 1, 2), (0, 2), ()])
def test_joined_axes_move_the_same_elements(shape: tuple[int, ...]) -> None:
    x = np.arange(math.prod(shape)).reshape(shape)
    for order in itertools.permutations(range(len(shape))):
        geometry = TransposeGeometry(shape, order)
        joined = geometry.joined
        moved = x.reshape(joined.shape).transpose(joined.order)
        np.testing.assert_array_equal(moved.ravel(), x.transpose(order).ravel())
        assert 1 not in joined.shape
        places = [geometry.source_of(place) for place in range(x.size)]
        np.testing.assert_array_equal(places, x.transpose(order).ravel())


@pytest.mark.parametrize(
    ("order", "axes"),
    [((0, 2, 3, 1), 3), ((0, 1, 2, 3), 1), ((3, 2, 1, 0), 4), ((2, 3, 0, 1), 2), ((1, 0, 2, 3), 3)],
)
def test_axes_that_stay_together_are_one(order: tuple[int, ...], axes: int) -> None:
    assert len(TransposeGeometry((2, 3, 4, 5), order).joined.shape) == axes


def test_onednn_reads_and_writes_the_layout_that_x_has() -> None:
    ops = onednn_ops()
    shape, order = (4, 20, 33, 35), (0, 2, 3, 1)
    layout = convolution_layout(shape)
    assert isinstance(layout, BlockedLayout)
    content = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    x, dx = Value(shape), Value(shape)
    layout.load(content, x.write(layout))
    op = ops.transpose(TransposeGeometry(shape, order))
    y = Value(op.geometry.out_shape)
    op.forward(x, out=y)
    np.testing.assert_array_equal(y.read(), content.transpose(order))
    op.backward(y, out=dx)
    assert dx.fresh_layout is layout
    np.testing.assert_array_equal(dx.read(), content)

"""The gradient of a convolution's input by phases."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.numpy.phases import Phases
from tests.conftest import onednn_ops


def results(ops: Ops, geometry: ConvolutionGeometry) -> tuple[float, float]:
    """<dx, x> and <dy, y>, which are one number: x's gradient is the convolution's transpose."""
    random = np.random.default_rng(0)
    shapes = geometry.shape, geometry.weight_shape, geometry.out_shape, geometry.out_shape
    x, w, dy, y = (Value(shape, ops.dtype) for shape in shapes)
    dx = Value(geometry.shape, ops.dtype)
    for value in (x, w, dy):
        value.write()[...] = random.standard_normal(value.shape)
    op = ops.convolution(geometry)
    op.forward(x, w, None, out=y)
    op.backward_data(dy, w, out=dx)
    return float(np.vdot(dx.read(), x.read())), float(np.vdot(dy.read(), y.read()))


@settings(max_examples=60, deadline=None)
@given(
    spatial=st.lists(st.integers(1, 14), min_size=1, max_size=2),
    kernel=st.integers(1, 11),
    stride=st.integers(4, 6),
    pad=st.integers(0, 7),
    group=st.integers(1, 2),
    samples=st.integers(0, 2),
)
def test_is_the_transpose_of_the_convolution(
    spatial: list[int], kernel: int, stride: int, pad: int, group: int, samples: int
) -> None:
    axes = len(spatial)
    geometry = ConvolutionGeometry(
        (samples, 4, *spatial), 6, (kernel,) * axes, (stride,) * axes, (pad,) * axes, (1,) * axes,
        group,
    )  # fmt: skip
    assume(min(geometry.out_spatial) > 0)
    assume(Phases.suit(geometry))
    np.testing.assert_allclose(*results(NumpyOps(np.float64), geometry), rtol=1e-9, atol=1e-9)


def test_enlarging_by_32_on_onednn() -> None:
    geometry = ConvolutionGeometry((2, 5, 128, 96), 5, (64, 64), (32, 32), (0, 0), (1, 1))
    np.testing.assert_allclose(*results(onednn_ops(), geometry), rtol=1e-3)

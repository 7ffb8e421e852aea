"""The ways in which numpy ops come to the gradients of weights."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.geometry import ConvolutionGeometry, InnerProductGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps


def value(array: np.ndarray) -> Value:
    made = Value(array.shape, array.dtype)
    made.write()[...] = array
    return made


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("size", [1, 5])
def test_pointwise_weights_get_the_sum_over_pixels_of_all_samples(group: int, size: int) -> None:
    random = np.random.default_rng(1)
    x, dy = (random.standard_normal((3, channels, size, size)) for channels in (6, 8))
    ones, none = (1, 1), (0, 0)
    geometry = ConvolutionGeometry(x.shape, 8, ones, ones, none, ones, group)
    gradient = value(np.ones(geometry.weight_shape))
    NumpyOps(np.float64).convolution(geometry).backward_params(value(dy), value(x), add_w=gradient)
    expected = 1 + np.concatenate(
        [
            np.einsum("nohw,nchw->oc", *parts)
            for parts in zip(np.split(dy, group, 1), np.split(x, group, 1), strict=True)
        ]
    )
    np.testing.assert_allclose(gradient.read()[..., 0, 0], expected, rtol=1e-12)


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("state", ["written", "cleared", "cleared while leased"])
def test_the_gradient_of_an_inner_product_is_added_to_what_is_there(
    transpose: bool, state: str
) -> None:
    random = np.random.default_rng(1)
    x, dy = random.standard_normal((4, 3)), random.standard_normal((4, 5))
    product = x.T @ dy if transpose else dy.T @ x
    gradient = value(np.full(product.shape, 2.0))
    array = gradient.lease() if "leased" in state else None
    if "cleared" in state:
        gradient.clear()
    op = NumpyOps(np.float64).inner_product(InnerProductGeometry(4, 3, 5, transpose))
    op.backward_params(value(dy), value(x), add_w=gradient)
    expected = product + (2.0 if state == "written" else 0.0)
    np.testing.assert_allclose(gradient.read(), expected, rtol=1e-12)
    if array is not None:
        np.testing.assert_array_equal(array, gradient.read())

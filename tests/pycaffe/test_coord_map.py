"""caffe.coord_map: positions of one top in another, and crops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import caffe.coord_map as cm
from caffe import layers as L
from caffepy.engine.core.errors import NetError


def data() -> Any:
    return L.Input(shape={"dim": [1, 3, 100, 100]})


def test_a_layer_of_single_pixels_is_the_identity() -> None:
    assert cm.coord_map(L.ReLU(data()).fn) == (None, 1, 0)


@pytest.mark.parametrize(
    ("layer_type", "params", "scale", "shift"),
    [
        ("Convolution", {"kernel_size": 3}, 1, -1),
        ("Convolution", {"kernel_size": 3, "pad": 1}, 1, 0),
        ("Convolution", {"kernel_size": 3, "pad": 1, "dilation": 2}, 1, -1),
        ("Convolution", {"convolution_param": {"kernel_size": 5, "stride": 2}}, 0.5, -1),
        ("Pooling", {"kernel_size": 2, "stride": 2}, 0.5, -0.25),
        ("Pooling", {"pooling_param": {"kernel_size": 2, "stride": 2}}, 0.5, -0.25),
        ("Im2col", {"kernel_size": 5, "pad": 2}, 1, 0),
        ("Deconvolution", {"kernel_size": 4, "stride": 2}, 2, 1.5),
        ("Crop", {"offset": 3}, 1, -3),
    ],
)
def test_a_window_scales_and_shifts(
    layer_type: str, params: dict[str, Any], scale: float, shift: float
) -> None:
    axis, found_scale, found_shift = cm.coord_map(getattr(L, layer_type)(data(), **params).fn)
    assert axis == 1
    assert found_scale == scale
    assert found_shift == shift


def test_each_axis_has_a_scale_of_its_own() -> None:
    top = L.Convolution(data(), kernel_size=[3, 5], stride=[1, 2])
    _, scale, shift = cm.coord_map(top.fn)
    np.testing.assert_array_equal(scale, [1, 0.5])
    np.testing.assert_array_equal(shift, [-1, -1])


def test_inverse_undoes() -> None:
    there = 2, 0.5, -3.0
    assert cm.compose(there, cm.inverse(there)) == (2, 1, 0)


def test_maps_of_different_axes_do_not_compose() -> None:
    assert cm.compose((None, 1, 0), (3, 2, 1)) == (3, 2, 1)
    with pytest.raises(cm.AxisMismatchException, match="got 1 and 2"):
        cm.compose((1, 1, 0), (2, 1, 0))


def fcn() -> tuple[Any, Any]:
    """The data and, from them, a top enlarged to their scale again."""
    image = data()
    small = L.Pooling(L.Convolution(image, kernel_size=3, pad=100), kernel_size=2, stride=2)
    return image, L.Deconvolution(
        L.ReLU(small), convolution_param={"kernel_size": 4, "stride": 2, "num_output": 2}
    )


def test_a_crop_brings_an_enlarged_top_back_to_the_image() -> None:
    image, score = fcn()
    cropped = cm.crop(score, image)
    assert cropped.fn.type_name == "Crop"
    assert cropped.fn.inputs == (score, image)
    assert cropped.fn.params == {"crop_param": {"axis": 2, "offset": [100]}}
    assert cropped.to_proto().layer[-1].crop_param.offset == [100]


def test_the_way_through_a_crop_is_its_first_bottom() -> None:
    image, score = fcn()
    _, scale, shift = cm.coord_map_from_to(cm.crop(score, image), image)
    assert (scale, shift) == (1, 0)


def test_two_tops_of_one_size_need_no_crop() -> None:
    image = data()
    cropped = cm.crop(L.ReLU(image), L.TanH(image))
    assert cropped.fn.params == {"crop_param": {"offset": [0]}}


def test_many_ways_to_a_top_are_walked_once() -> None:
    top = first = data()
    for _ in range(200):
        top = L.Eltwise(top, L.ReLU(top))
    assert cm.coord_map_from_to(top, first) == (None, 1, 0)


def test_what_has_no_map_ends_the_way() -> None:
    image = data()
    flat = L.InnerProduct(image, num_output=2)
    with pytest.raises(cm.UndefinedMapException, match="layer of type InnerProduct"):
        cm.coord_map(flat.fn)
    with pytest.raises(RuntimeError, match="Could not compute map between tops"):
        cm.coord_map_from_to(flat, image)
    with pytest.raises(RuntimeError, match="Could not compute map between tops"):
        cm.coord_map_from_to(data(), image)


@pytest.mark.parametrize(
    ("params", "told"),
    [
        ({"kernel_size": 3, "stride": 2}, "scale mismatch on crop: expected scale 1"),
        ({"kernel_size": 3}, "cannot crop negative width"),
        ({"kernel_size": 2, "pad": 1}, "cannot crop noninteger width"),
        ({"kernel_h": 3, "kernel_w": 3}, "does not support legacy _h/_w params"),
    ],
)
def test_a_crop_that_cannot_be_is_an_assertion_error_as_in_pycaffe(
    params: dict[str, Any], told: str
) -> None:
    image = data()
    with pytest.raises(AssertionError, match="coord_map") as refusal:
        cm.crop(L.Convolution(image, num_output=2, **params), image)
    assert told in str(refusal.value)
    assert isinstance(refusal.value, NetError)


def test_a_crop_of_a_crop_adds_up() -> None:
    image, score = fcn()
    before = cm.coord_map_from_to(score, image)
    axis, scale, shift = cm.coord_map_from_to(L.Crop(score, image, axis=2, offset=7), image)
    assert (axis, scale) == before[:2]
    assert shift == before[2] + 7


def test_axes_may_differ_in_a_map() -> None:
    image = data()
    top = L.Convolution(image, kernel_size=[3, 5, 3], stride=1, pad=[0, 1, 2])
    axis, scale, shift = cm.coord_map_from_to(top, image)
    assert axis == 1
    np.testing.assert_array_equal(scale, 1)
    np.testing.assert_array_equal(shift, [1, 1, -1])

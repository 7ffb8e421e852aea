"""Arithmetic of boxes: areas, overlaps, and locations relative to priors."""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffepy.engine.ops.numpy import boxes

CODE_TYPES = ["CORNER", "CENTER_SIZE", "CORNER_SIZE"]

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@each_dtype
def test_a_box_with_a_negative_size_has_no_area(dtype: type[np.floating]) -> None:
    found = boxes.area(np.array([[0.1, 0.2, 0.6, 0.6], [0.6, 0.2, 0.1, 0.6]], dtype))
    np.testing.assert_allclose(found, [0.2, 0], rtol=1e-6)
    assert found.dtype == dtype


@each_dtype
def test_overlaps_of_pairs_are_intersection_over_union(dtype: type[np.floating]) -> None:
    a = np.array([[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0.7, 0.7, 0.2, 0.9]], dtype)
    b = np.array([[0, 0, 0.5, 0.5], [0.25, 0, 0.75, 0.5]], dtype)
    found = boxes.overlaps(a, b)
    expected = np.array([[1, 1 / 3], [0, 1 / 3], [0, 0]])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert found.dtype == dtype


def test_a_point_overlaps_nothing_and_no_box_is_no_column() -> None:
    point = np.full((1, 4), 0.5)
    assert boxes.overlaps(point, point) == 0
    assert boxes.overlaps(point, np.empty((0, 4))).shape == (1, 0)


def test_locations_are_those_of_the_formulas() -> None:
    prior, variance = np.array([[0.2, 0.2, 0.4, 0.6]]), np.array([[0.1, 0.1, 0.2, 0.2]])
    box = np.array([[0.3, 0.1, 0.7, 0.5]])
    expected: dict[str, list[float]] = {
        "CORNER": [0.1, -0.1, 0.3, -0.1],
        "CORNER_SIZE": [0.1 / 0.2, -0.1 / 0.4, 0.3 / 0.2, -0.1 / 0.4],
        "CENTER_SIZE": [0.2 / 0.2, -0.1 / 0.4, math.log(2), 0],
    }
    for code_type, plain in expected.items():
        found = boxes.encode(prior, variance, box, code_type, True)
        np.testing.assert_allclose(found, np.array([plain]), atol=1e-12)
        found = boxes.encode(prior, variance, box, code_type, False)
        np.testing.assert_allclose(found, np.array([plain]) / variance, atol=1e-12)


@each_dtype
@pytest.mark.parametrize("variance_encoded_in_target", [False, True])
@pytest.mark.parametrize("code_type", CODE_TYPES)
def test_decode_gives_back_the_boxes_that_encode_was_given(
    code_type: str, variance_encoded_in_target: bool, dtype: type[np.floating]
) -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.random((3, 7, 2, 2)), axis=2).reshape(3, 7, 4).astype(dtype)
    priors, given = corners[0], corners[1:]
    variances = rng.uniform(0.1, 0.3, (7, 4)).astype(dtype)
    options = code_type, variance_encoded_in_target
    locations = boxes.encode(priors, variances, given, *options)
    found = boxes.decode(priors, variances, locations, *options)
    np.testing.assert_allclose(found, given, atol=1e-5)
    assert locations.dtype == found.dtype == dtype


def test_decode_leaves_the_locations_as_they_are() -> None:
    locations = np.ones((1, 4))
    for code_type in CODE_TYPES:
        boxes.decode(np.array([[0.0, 0, 1, 1]]), np.ones((1, 4)), locations, code_type, True)
    assert (locations == 1).all()


def test_a_wild_location_decodes_to_an_infinite_box() -> None:
    location = np.array([[0, 0, 1e4, 0]])
    found = boxes.decode(np.array([[0.0, 0, 1, 1]]), np.ones((1, 4)), location, "CENTER_SIZE", True)
    assert found[0, 2] == np.inf

"""Changes of images that Caffe does not have: size, rotation, colours, erased parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import image_changes as change
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TransformationParameter
from tests.data_cases import equal, run_annotated

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (3, 20, 24), np.uint8)
DISTORT = """distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5
    contrast_lower: 0.5 contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5
    saturation_lower: 0.5 saturation_upper: 1.5 random_order_prob: 0.5 } """
ALL = f"""{DISTORT} max_rotation_angle: 30 img_rand_resize_lower: 16 img_rand_resize_upper: 40
    erase_ratio: 0.5 crop_size: 14 mirror: true """


def transformed(
    param: str, images: Any, first: int = 0, testing: bool = False, seed: int = 1
) -> np.ndarray:
    transformer = Transformer(
        text_format.Parse(param, TransformationParameter()),
        testing=testing,
        stream=Stream(seed, "data", "transform"),
        dtype=np.dtype(np.float32),
        where="layer 'data' (Data)",
        find_file=lambda name, what: Path(name),
    )
    named = ((f"record {index}", image) for index, image in enumerate(images))
    return transformer.batch(named, first, len(images))


def many(param: str, image: np.ndarray = IMAGE, count: int = 200) -> np.ndarray:
    return transformed(param, [image] * count)


def rows_of(image: np.ndarray) -> np.ndarray:
    """(C, H, W) as (H, W, C)."""
    return np.ascontiguousarray(image.transpose(1, 2, 0))


# ---- against the SSD fork


def near(found: Any, expected: Any, what: str) -> None:
    """Versions of OpenCV may differ by one grey level."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1, err_msg=what)


@pytest.mark.parametrize(
    ("case", "compare"),
    [
        ("png_small", near),
        ("png_pad_constant", near),
        ("png_pad_replicate", near),
        ("png_warp_mean", near),
        ("png_warp_nearest_scale", equal),
    ],
)
def test_resize_param_is_that_of_ssd(case: str, compare: Any, ops: Ops) -> None:
    run_annotated(case, ops, compare)


# ---- where random numbers come from


@pytest.mark.parametrize(
    "param",
    [
        DISTORT,
        "max_rotation_angle: 30",
        "img_rand_resize_lower: 16 img_rand_resize_upper: 40 crop_size: 14",
        "erase_ratio: 0.5",
        ALL,
    ],
)
def test_choices_depend_on_the_number_of_the_sample_only(param: str) -> None:
    images = RANDOM.integers(0, 256, (12, 3, 20, 24), np.uint8)
    together = transformed(param, images, first=1000)
    apart = [transformed(param, images[i : i + 1], first=1000 + i)[0] for i in range(12)]
    np.testing.assert_array_equal(together, apart)
    assert (transformed(param, images, first=1001) != together).any()
    assert (transformed(param, images, first=1000, seed=2) != together).any()


def test_one_change_does_not_move_the_choices_of_another() -> None:
    alone = many("erase_ratio: 0.5", count=20) != IMAGE
    together = many("erase_ratio: 0.5 distort_param { }", count=20) != IMAGE
    np.testing.assert_array_equal(alone, together)


def test_nothing_is_random_at_test() -> None:
    images = [IMAGE] * 5
    param = f"{DISTORT} max_rotation_angle: 30 erase_ratio: 1"
    np.testing.assert_array_equal(transformed(param, images, testing=True), images)
    sizes = "img_rand_resize_lower: 10 img_rand_resize_upper: 20"
    assert transformed(sizes, images, testing=True).shape == (5, 3, 15, 18)
    modes = "resize_param { height: 7 width: 9 interp_mode: NEAREST interp_mode: CUBIC }"
    first = modes.replace("interp_mode: CUBIC", "")
    np.testing.assert_array_equal(
        transformed(modes, images, testing=True), transformed(first, images, testing=True)
    )


# ---- sizes


@pytest.mark.parametrize("mode", ["LINEAR", "AREA", "NEAREST", "CUBIC", "LANCZOS4"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_all_modes_scale_images_of_any_channels(mode: str, channels: int) -> None:
    image = np.full((channels, 6, 8), 9, np.uint8)
    found = many(f"resize_param {{ height: 11 width: 5 interp_mode: {mode} }}", image, 2)
    np.testing.assert_array_equal(found, np.full((2, channels, 11, 5), 9))


@pytest.mark.parametrize("pad", ["CONSTANT pad_value: 7", "MIRRORED", "REPEAT_NEAREST"])
def test_a_border_fills_what_the_proportions_leave(pad: str) -> None:
    image = np.tile(np.array([[[10, 20, 30, 40]]], np.uint8), (1, 2, 1))  # (1, 2, 4)
    param = "resize_mode: FIT_LARGE_SIZE_AND_PAD interp_mode: NEAREST height: 2 width: 8"
    (found,) = many(f"resize_param {{ {param} pad_mode: {pad} }}", image, 1)
    border = {"C": ([7, 7], [7, 7]), "M": ([30, 20], [30, 20]), "R": ([10, 10], [40, 40])}[pad[0]]
    np.testing.assert_array_equal(found[0], [[*border[0], 10, 20, 30, 40, *border[1]]] * 2)


def test_the_shorter_side_is_chosen_at_random() -> None:
    sizes = "img_rand_resize_lower: 10 img_rand_resize_upper: 13"
    shapes = {transformed(sizes, [IMAGE], first=i).shape[2:] for i in range(40)}
    assert shapes == {(10, 12), (11, 13), (12, 14), (13, 16)}
    tall = transformed(sizes, [IMAGE.transpose(0, 2, 1)]).shape[2:]
    assert tall[0] > tall[1]
    with pytest.raises(DataError, match="in the same batch"):
        many(sizes)


def test_up_and_down_have_their_interpolations() -> None:
    same = "img_rand_resize_lower: {0} img_rand_resize_upper: {0} interpolation_algo_{1}: INTER_{2}"
    nearest = many(same.format(10, "down", "NEAREST"), count=1)
    np.testing.assert_array_equal(many(same.format(10, "up", "AREA"), count=1), nearest)
    assert (many(same.format(10, "down", "AREA"), count=1) != nearest).any()
    assert (
        many(same.format(40, "up", "NEAREST"), count=1) != many(same.format(40, "up", "LINEAR"))[:1]
    ).any()


# ---- rotation


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_square_image_is_turned_about_its_middle(turns: int) -> None:
    image = rows_of(IMAGE[:, :9, :9])
    np.testing.assert_array_equal(change.rotated(image, 90 * turns), np.rot90(image, turns))


def test_rotations_go_both_ways_and_keep_the_size() -> None:
    found = many("max_rotation_angle: 1", np.full((1, 50, 60), 200, np.uint8), 60)
    assert found.shape == (60, 1, 50, 60)
    kinds = {image.tobytes() for image in found}
    assert len(kinds) == 3  # -1, 0 and 1 degrees


# ---- colours


def test_levels_are_rounded_and_stay_in_their_range() -> None:
    image = np.array([[[0, 1, 255]]], np.uint8)
    np.testing.assert_array_equal(change.levels(image, 1, 10.6), [[[11, 12, 255]]])
    np.testing.assert_array_equal(change.levels(image, 0.5, -1), [[[0, 0, 126]]])


def test_hue_and_saturation() -> None:
    blue, red = np.array([[[200, 0, 0]]], np.uint8), np.array([[[0, 0, 200]]], np.uint8)
    np.testing.assert_array_equal(change.hue_turned(red, 120), blue)
    np.testing.assert_array_equal(change.hue_turned(blue, 60), red)  # past the end of the circle
    np.testing.assert_array_equal(change.saturated(red, 0), [[[200, 200, 200]]])
    np.testing.assert_array_equal(change.saturated(red, 0.5), [[[100, 100, 200]]])


def test_brightness_differs_by_up_to_delta() -> None:
    image = np.full((1, 2, 2), 100, np.uint8)
    found = many("distort_param { brightness_prob: 0.5 brightness_delta: 20 }", image)
    assert (np.ptp(found, axis=(1, 2, 3)) == 0).all()
    changed = found[:, 0, 0, 0] - 100
    assert 80 <= changed.min() + 100 < 90
    assert 10 < changed.max() <= 20
    assert 60 < (changed == 0).sum() < 140


def test_contrast_comes_before_or_after_the_hue() -> None:
    param = """distort_param { contrast_prob: 1 contrast_lower: 2 contrast_upper: 2
        brightness_prob: 1 brightness_delta: 0 saturation_prob: 1 saturation_lower: 0.5
        saturation_upper: 0.5 }"""
    image = np.tile(np.array([[[100]], [[150]], [[200]]], np.uint8), (1, 2, 2))
    results = {tuple(one[:, 0, 0]) for one in many(param, image, 40)}
    assert len(results) == 2


def test_channels_come_in_every_order() -> None:
    image = np.arange(3, dtype=np.uint8).reshape(3, 1, 1)
    found = many("distort_param { random_order_prob: 1 }", image)
    assert len({tuple(one.ravel()) for one in found}) == 6


# ---- erased parts


def test_a_part_of_some_images_is_erased() -> None:
    image = np.full((3, 40, 60), 100, np.uint8)
    found = many(
        "erase_ratio: 0.4 scale_min: 0.1 scale_max: 0.5 aspect_min: 0.5 aspect_max: 2", image
    )
    changed = (found != 100).any(axis=1)  # (N, H, W)
    assert 50 < changed.any((1, 2)).sum() < 110
    for one in changed[changed.any((1, 2))]:
        rows, columns = np.flatnonzero(one.any(1)), np.flatnonzero(one.any(0))
        assert 5 <= np.ptp(columns) + 1 <= 30
        assert 2 <= np.ptp(rows) + 1 <= 40
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean() > 0.9
    assert (found[changed.any((1, 2))].max((1, 2, 3)) > 240).mean() > 0.9
    np.testing.assert_array_equal(image, np.full_like(image, 100))


def test_the_mean_is_that_of_the_image_after_it_was_scaled(tmp_path: Path) -> None:
    mean = RANDOM.random((3, 7, 9)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    size = "resize_param { height: 7 width: 9 }"
    plain = transformed(size, [IMAGE])
    found = transformed(f"{size} mean_file: '{tmp_path / 'mean.npy'}'", [IMAGE])
    np.testing.assert_array_equal(found, plain - mean)
    with pytest.raises(DataError, match=r"expected shape \(3, 20, 24\).*got \(3, 7, 9\)"):
        transformed(f"mean_file: '{tmp_path / 'mean.npy'}'", [IMAGE])


def test_prob_of_a_size_says_that_it_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    found = many("resize_param { height: 3 width: 5 prob: 0.1 }", count=9)
    assert found.shape == (9, 3, 3, 5)
    assert "resize_param.prob does nothing, as in the SSD fork" in caplog.text


# ---- refusals


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("resize_param { height: 3 }", "resize_param: expected height and width, got height 3, wi"),
        (
            "resize_param { height: 3 width: 3 is_pyramid_test: true }",
            "resize_param.is_pyramid_test: expected a field of the SSD fork's",
        ),
        (
            "resize_param { height: 3 width: 3 } img_rand_resize_lower: 1 img_rand_resize_upper: 2",
            "resize_param: expected it, or img_rand",
        ),
        ("img_rand_resize_lower: 3", "expected both, the first not the larger, got 3 and 0"),
        ("img_rand_resize_upper: 3", "expected both, the first not the larger, got 0 and 3"),
        ("max_rotation_angle: 181", "max_rotation_angle: expected 0 to 180 degrees, got 181"),
        ("erase_ratio: 1.5", "erase_ratio: expected a probability, 0 to 1, got 1.5"),
        ("erase_ratio: 1 scale_max: 2", r"scale_min, scale_max: expected more than 0, not .*and 2"),
        ("erase_ratio: 1 aspect_min: 0", "aspect_min, aspect_max: expected more than 0"),
        ("distort_param { hue_prob: 2 }", "distort_param.hue_prob: expected 0 to 1, got 2"),
        ("distort_param { hue_prob: 1 hue_delta: -1 }", "hue_delta: expected 0 or more, got -1"),
        (
            "distort_param { brightness_delta: inf }",
            "brightness_delta: expected 0 or more, got inf",
        ),
        (
            "distort_param { contrast_prob: 1 contrast_lower: 1 contrast_upper: inf }",
            "contrast_lower, contrast_upper: expected factors, .* got 1 and inf",
        ),
        ("distort_param { contrast_prob: 1 }", "contrast_lower, contrast_upper: expected factors"),
        ("distort_param { all_effects: true }", "distort_param.all_effects: expected a field of"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"layer 'data' \(Data\): transform_param\..*{message}"):
        many(param)


@pytest.mark.parametrize(
    ("param", "image", "message"),
    [
        (ALL, IMAGE.astype(np.float32), "expected an image of bytes .*got float32 with 3"),
        ("max_rotation_angle: 3", IMAGE[:2], "with 1, 3 or 4 channels.*got uint8 with 2"),
        (DISTORT, IMAGE[:1], "expected 3 channels for hue, saturation and order.*, got 1"),
        (
            "resize_param { height: 3 width: 3 pad_value: 1 pad_value: 2 }",
            IMAGE,
            "pad_value: expected one, or one for each of 3",
        ),
    ],
)
def test_images_that_cannot_be_changed_are_named(
    param: str, image: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=f"record 0: .*{message}"):
        many(param, image)


def test_what_a_size_leaves_nothing_of_is_refused() -> None:
    param = "img_rand_resize_lower: 1 img_rand_resize_upper: 1"
    assert many(param, np.zeros((1, 2, 300), np.uint8), 1).shape == (1, 1, 1, 150)
    fit = "resize_param { height: 1 width: 2 resize_mode: FIT_LARGE_SIZE_AND_PAD }"
    with pytest.raises(DataError, match="record 0: resizing 2 x 300 to 0 x 2: OpenCV cannot"):
        many(fit, np.zeros((1, 2, 300), np.uint8), 1)


@pytest.mark.parametrize("mode", ["WARP", "FIT_SMALL_SIZE", "FIT_LARGE_SIZE_AND_PAD"])
def test_images_of_more_bytes_than_a_record_may_have_are_refused(mode: str) -> None:
    param = f"resize_param {{ resize_mode: {mode} height: 4294967295 width: 9 }} crop_size: 2"
    with pytest.raises(DataError, match="expected at most 512"):
        many(param, count=1)

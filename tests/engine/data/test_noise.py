"""noise_param: what the SSD fork does to images between scaling and cropping them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError
from tests.engine.data.test_augmentation import IMAGE, RANDOM, many, rows_of, transformed

GRAY = IMAGE[:1]


def noised(param: str, image: np.ndarray = IMAGE, **kw: bool) -> np.ndarray:
    """(H, W, C): one image after this noise_param."""
    (found,) = transformed(f"noise_param {{ {param} }}", [image], **kw)
    return found.transpose(1, 2, 0)


@pytest.mark.parametrize("testing", [False, True])
def test_no_field_changes_nothing(testing: bool) -> None:
    np.testing.assert_array_equal(noised("", testing=testing), rows_of(IMAGE))
    np.testing.assert_array_equal(noised("jpeg: 0", testing=testing), rows_of(IMAGE))


def test_both_phases_are_treated_alike() -> None:
    param = "hist_eq: true inverse: true"
    np.testing.assert_array_equal(noised(param), noised(param, testing=True))


@pytest.mark.parametrize("image", [IMAGE, GRAY])
def test_inverse_and_posterize(image: np.ndarray) -> None:
    np.testing.assert_array_equal(noised("inverse: true", image), 255 - rows_of(image))
    levels = noised("posterize: true", image)
    np.testing.assert_array_equal(levels, rows_of(image) // 64 * 64 + 32)


def test_decolorize_leaves_three_equal_channels() -> None:
    found = noised("decolorize: true")
    blue, green, red = IMAGE.astype(float)
    expected = 0.114 * blue + 0.587 * green + 0.299 * red
    for channel in range(3):
        np.testing.assert_allclose(found[:, :, channel], expected, atol=0.6)


def test_convert_to_hsv() -> None:
    expected = cv2.cvtColor(rows_of(IMAGE), cv2.COLOR_BGR2HSV)
    np.testing.assert_array_equal(noised("convert_to_hsv: true"), expected)


@pytest.mark.parametrize("image", [IMAGE, GRAY])
def test_erode_takes_the_least_of_a_cross(image: np.ndarray) -> None:
    padded = np.pad(rows_of(image), ((1, 1), (1, 1), (0, 0)), constant_values=255)
    middle = padded[1:-1, 1:-1]
    around = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    np.testing.assert_array_equal(
        noised("erode: true", image), np.minimum.reduce([middle, *around])
    )


def test_hist_eq_spreads_what_is_close_together() -> None:
    narrow = np.tile(np.arange(100, 110, dtype=np.uint8), (1, 10, 1))
    found = noised("hist_eq: true", narrow)
    assert found.min() == 0
    assert found.max() == 255
    coloured = noised("hist_eq: true", np.repeat(narrow, 3, 0))
    np.testing.assert_array_equal(coloured, np.repeat(found, 3, 2))
    assert np.ptp(noised("clahe: true", narrow)) > np.ptp(narrow)
    assert noised("clahe: true", np.repeat(narrow, 3, 0)).shape == (10, 10, 3)


@pytest.mark.parametrize("image", [IMAGE, GRAY])
def test_jpeg_and_blur(image: np.ndarray) -> None:
    good, bad = (noised(f"jpeg: {quality}", image) for quality in (100, 5))
    distance = [np.abs(found - rows_of(image)).mean() for found in (good, bad)]
    assert distance[0] < distance[1]
    flat = np.full_like(image, 90)
    np.testing.assert_array_equal(noised("gauss_blur: true jpeg: 95", flat), rows_of(flat))
    assert noised("gauss_blur: true", image).std() < image.std()


def test_steps_come_in_the_order_of_the_fork() -> None:
    both = noised("inverse: true posterize: true")
    np.testing.assert_array_equal(both, 255 - (rows_of(IMAGE) // 64 * 64 + 32))
    pepper = "saltpepper: true saltpepper_param { fraction: 1 value: 7 }"
    found = noised(f"{pepper} inverse: true", np.zeros((1, 4, 4), np.uint8))
    assert set(found.ravel()) <= {7, 255}


PEPPER = "saltpepper: true saltpepper_param { fraction: 0.1 value: 1 value: 2 value: 3 }"


def test_salt_and_pepper_fall_where_the_number_of_the_sample_says() -> None:
    param = f"noise_param {{ {PEPPER} }}"
    image = np.full((3, 20, 30), 100, np.uint8)
    together = transformed(param, [image] * 4, first=10)
    apart = [transformed(param, [image], first=10 + i)[0] for i in range(4)]
    np.testing.assert_array_equal(together, apart)
    assert (together[0] != together[1]).any()
    assert (transformed(param, [image], first=10, seed=2)[0] != together[0]).any()
    changed = together[0] != 100
    np.testing.assert_array_equal(changed[0], changed[2])
    assert 45 <= changed[0].sum() <= 60  # 60 places, some of them twice
    assert [set(together[0][c][changed[c]]) for c in range(3)] == [{1}, {2}, {3}]
    np.testing.assert_array_equal(image, 100)
    everywhere = many(param, image, 300)
    assert ((everywhere != 100).any(0)[0]).mean() > 0.99


def test_noise_comes_after_the_size_and_before_the_crop() -> None:
    param = f"resize_param {{ height: 9 width: 7 }} noise_param {{ {PEPPER} }}"
    whole = transformed(param, [IMAGE], testing=True)
    assert whole.shape == (1, 3, 9, 7)
    cut = transformed(f"{param} crop_h: 5 crop_w: 3", [IMAGE], testing=True)
    np.testing.assert_array_equal(cut, whole[:, :, 2:7, 2:5])


def test_prob_says_that_it_does_nothing(caplog: pytest.LogCaptureFixture) -> None:
    found = noised("prob: 0.5 inverse: true")
    np.testing.assert_array_equal(found, 255 - rows_of(IMAGE))
    assert "noise_param.prob does nothing, as in the SSD fork" in caplog.text


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("convert_to_lab: true", "convert_to_lab: expected it to be left out"),
        ("jpeg: 101", "jpeg: expected a quality of 1 to 100, or 0 for none, got 101"),
        ("saltpepper: true", "saltpepper_param.value: expected the pixels' value"),
        ("saltpepper_param { fraction: 2 }", "fraction: expected 0 to 1, got 2"),
        ("saltpepper_param { value: 256 }", "value: expected 0 to 255, got 256"),
        ("gaussian_std: 1", "gaussian_std: expected a field of the SSD fork's"),
        ("all_effects: true", "all_effects: expected a field of the SSD fork's"),
    ],
)
def test_what_makes_no_sense_is_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        noised(param)


@pytest.mark.parametrize(
    ("param", "image", "message"),
    [
        ("decolorize: true", GRAY, "expected 3 channels for decolorize, got 1"),
        ("inverse: true", RANDOM.integers(0, 9, (4, 3, 3), np.uint8), "expected 3 channels for it"),
        (
            "saltpepper: true saltpepper_param { value: 1 value: 2 }",
            IMAGE,
            "value: expected one, or one for each of 3",
        ),
        ("inverse: true", IMAGE.astype(np.float32), "expected an image of bytes"),
    ],
)
def test_images_that_it_has_no_way_with_are_named(
    param: str, image: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=f"record 0: .*{message}"):
        noised(param, image)

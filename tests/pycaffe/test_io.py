"""caffe.io: messages, images and crops, against what pycaffe gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import caffe
from caffepy.engine.core.errors import DataError

# resize_image sums in float64, skimage in float32 in between
RESIZE_ATOL = 1e-6
# README of the recorded results: this image was rebuilt from its deprocessed result
REBUILT_ATOL = 1e-5


@pytest.fixture(scope="module")
def recorded(golden: Path) -> dict[str, np.ndarray]:
    with np.load(golden / "pyapi" / "pyapi.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def settings(golden: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((golden / "pyapi" / "pyapi.json").read_text())
    return found


# ---- messages


def test_a_blob_message_has_pycaffes_bytes_and_values(recorded: dict[str, np.ndarray]) -> None:
    blob = caffe.io.array_to_blobproto(recorded["blobproto_array"])
    assert blob.SerializeToString() == recorded["blobproto_bytes"].tobytes()
    back = caffe.io.blobproto_to_array(blob)
    assert back.dtype == recorded["blobproto_back"].dtype
    np.testing.assert_array_equal(back, recorded["blobproto_back"])


def test_the_diff_of_a_blob_message_is_asked_for(recorded: dict[str, np.ndarray]) -> None:
    array = recorded["blobproto_array"]
    blob = caffe.io.array_to_blobproto(array, diff=2 * array)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob, return_diff=True), 2 * array)


def test_a_blob_message_of_four_axes_in_the_old_form_is_read() -> None:
    blob = caffe.proto.caffe_pb2.BlobProto(data=range(100))
    blob.num, blob.channels, blob.height, blob.width = 1, 1, 10, 10
    assert caffe.io.blobproto_to_array(blob).shape == (1, 1, 10, 10)


def test_a_blob_message_without_a_shape_holds_one_value() -> None:
    blob = caffe.proto.caffe_pb2.BlobProto(data=[123])
    assert caffe.io.blobproto_to_array(blob) == 123
    blob.data.append(4)
    with pytest.raises(ValueError, match=r"expected as many values .* \(\) has, got 2"):
        caffe.io.blobproto_to_array(blob)


def test_blobs_of_doubles_are_read() -> None:
    blob = caffe.proto.caffe_pb2.BlobProto(double_data=[0.1, 0.2])
    blob.shape.dim.append(2)
    np.testing.assert_array_equal(caffe.io.blobproto_to_array(blob), [0.1, 0.2])


def test_lists_of_arrays_come_back() -> None:
    arrays = [np.arange(6.0).reshape(1, 2, 3), np.ones(4)]
    back = caffe.io.blobprotovector_str_to_arraylist(
        caffe.io.arraylist_to_blobprotovector_str(arrays)
    )
    for found, array in zip(back, arrays, strict=True):
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("kind", ["u8", "f"])
def test_a_datum_has_pycaffes_bytes_and_values(recorded: dict[str, np.ndarray], kind: str) -> None:
    expected = caffe.proto.caffe_pb2.Datum.FromString(recorded[f"datum_{kind}_bytes"].tobytes())
    label = expected.label if expected.HasField("label") else None
    datum = caffe.io.array_to_datum(recorded[f"datum_{kind}"], label)
    assert datum.SerializeToString() == expected.SerializeToString()
    back = caffe.io.datum_to_array(datum)
    assert back.dtype == recorded[f"datum_{kind}_back"].dtype
    np.testing.assert_array_equal(back, recorded[f"datum_{kind}_back"])
    back[...] = 0  # it is the caller's


def test_a_datum_without_a_label_has_none() -> None:
    assert not caffe.io.array_to_datum(np.ones((1, 2, 3))).HasField("label")
    assert caffe.io.array_to_datum(np.ones((1, 2, 3)), 0).HasField("label")


def test_a_datum_takes_three_axes_only() -> None:
    with pytest.raises(ValueError, match=r"Incorrect array shape.*got \(2, 3\)"):
        caffe.io.array_to_datum(np.ones((2, 3)))


def test_a_datum_whose_shape_is_another_is_refused() -> None:
    datum = caffe.io.array_to_datum(np.ones((1, 2, 3), np.uint8))
    datum.width = 4
    with pytest.raises(DataError, match="got 6 bytes of data for 1 x 2 x 4"):
        caffe.io.datum_to_array(datum)


def test_an_encoded_datum_is_decoded() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    datum = caffe.proto.caffe_pb2.Datum(
        encoded=True, data=cv2.imencode(".png", pixels)[1].tobytes()
    )
    np.testing.assert_array_equal(caffe.io.datum_to_array(datum), pixels.transpose(2, 0, 1))


# ---- images


@pytest.fixture
def color() -> np.ndarray:
    """(5, 7, 3) uint8, RGB."""
    return np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def saved(folder: Path, pixels: np.ndarray) -> Path:
    path = folder / "image.png"
    cv2.imwrite(str(path), pixels)
    return path


def test_an_image_is_rgb_from_0_to_1(tmp_path: Path, color: np.ndarray) -> None:
    path = saved(tmp_path, color[:, :, ::-1])
    image = caffe.io.load_image(str(path))
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, color / 255, rtol=1e-7)
    np.testing.assert_array_equal(image, caffe.io.load_image(path))


def test_a_color_image_is_made_gray_by_luminance(tmp_path: Path, color: np.ndarray) -> None:
    gray = caffe.io.load_image(saved(tmp_path, color[:, :, ::-1]), color=False)
    assert gray.shape == (5, 7, 1)
    expected = color / 255 @ (0.2125, 0.7154, 0.0721)
    np.testing.assert_allclose(gray[:, :, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(("asked", "channels"), [(True, 3), (False, 1)])
def test_a_gray_image_is_repeated_for_color(
    tmp_path: Path, color: np.ndarray, asked: bool, channels: int
) -> None:
    image = caffe.io.load_image(saved(tmp_path, color[:, :, 0]), color=asked)
    assert image.shape == (5, 7, channels)
    np.testing.assert_allclose(image, np.repeat(color[:, :, :1] / 255, channels, 2), rtol=1e-7)


def test_an_alpha_channel_is_dropped_for_color_and_laid_over_white_for_gray(
    tmp_path: Path, color: np.ndarray
) -> None:
    transparent = np.dstack([color[:, :, ::-1], np.zeros((5, 7), np.uint8)])
    path = saved(tmp_path, transparent)
    np.testing.assert_allclose(caffe.io.load_image(path), color / 255, rtol=1e-7)
    np.testing.assert_allclose(caffe.io.load_image(path, color=False), 1, rtol=1e-6)


def test_an_image_with_16_bits_a_channel_is_from_0_to_1(tmp_path: Path, color: np.ndarray) -> None:
    deep = color.astype(np.uint16) * 257
    image = caffe.io.load_image(saved(tmp_path, deep[:, :, ::-1]))
    np.testing.assert_allclose(image, color / 255, rtol=1e-6)


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"load_image: '.*missing.png'.*No such file"):
        caffe.io.load_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("hello")
    with pytest.raises(DataError, match=r"text.png': expected an image"):
        caffe.io.load_image(tmp_path / "text.png")


@pytest.mark.parametrize("order", [0, 1])
def test_an_image_is_resized_as_by_skimage(recorded: dict[str, np.ndarray], order: int) -> None:
    resized = caffe.io.resize_image(recorded["resize_in"], (5, 13), interp_order=order)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, recorded[f"resize_order{order}"], rtol=0, atol=RESIZE_ATOL)


def test_an_image_of_two_channels_is_resized_as_by_scipy(recorded: dict[str, np.ndarray]) -> None:
    resized = caffe.io.resize_image(recorded["resize2_in"], (12, 6))
    np.testing.assert_allclose(resized, recorded["resize2_out"], rtol=0, atol=RESIZE_ATOL)


def test_enlarging_counts_what_is_around_the_image_as_its_darkest_pixel() -> None:
    # of 2 pixels 1 and 3 to 4: the outer ones lie a quarter pixel outside
    image = np.array([1.0, 3.0], np.float32).reshape(1, 2, 1)
    resized = caffe.io.resize_image(image, (1, 4))
    np.testing.assert_allclose(resized.ravel(), [1, 1.5, 2.5, 2.5], rtol=1e-6)


def test_resizing_to_its_own_size_changes_nothing(recorded: dict[str, np.ndarray]) -> None:
    image = recorded["resize_in"]
    np.testing.assert_allclose(
        caffe.io.resize_image(image, image.shape[:2]), image, rtol=0, atol=RESIZE_ATOL
    )


def test_a_constant_image_stays_constant() -> None:
    resized = caffe.io.resize_image(np.full((3, 4, 3), 7.0), (6, 5))
    np.testing.assert_array_equal(resized, np.full((6, 5, 3), 7.0, np.float32))


def test_bytes_with_two_channels_are_rounded() -> None:
    image = np.array([[0, 0], [10, 10], [15, 15]], np.uint8).reshape(3, 1, 2)
    resized = caffe.io.resize_image(image, (4, 1))
    np.testing.assert_array_equal(resized[:, 0, 0], [0, 7, 12, 15])


@pytest.mark.parametrize(
    ("shape", "dims", "order", "told"),
    [
        ((4, 5), (2, 2), 1, "expected an image (height, width, channels)"),
        ((4, 5, 3), (), 1, "expected a height and a width"),
        ((4, 5, 3), (0, 2), 1, "expected a height and a width"),
        ((4, 5, 3), (2, 2), 3, "expected 0 (nearest) or 1 (linear), got 3"),
    ],
)
def test_what_cannot_be_resized_is_refused(
    shape: tuple[int, ...], dims: tuple[int, ...], order: int, told: str
) -> None:
    with pytest.raises(ValueError, match="resize_image") as refusal:
        caffe.io.resize_image(np.ones(shape), dims, order)
    assert told in str(refusal.value)


def test_ten_crops_are_pycaffes(recorded: dict[str, np.ndarray], settings: dict[str, Any]) -> None:
    crops = caffe.io.oversample(recorded["oversample_in"], settings["oversample"]["crop_dims"])
    np.testing.assert_array_equal(crops, recorded["oversample_out"])


def test_crops_larger_than_the_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 6 x 8, .* got \(5, 9, 3\)"):
        caffe.io.oversample([np.ones((5, 9, 3))], (6, 8))
    with pytest.raises(ValueError, match="got none"):
        caffe.io.oversample([], (6, 8))


# ---- Transformer


def transformer(recorded: dict[str, np.ndarray], name: str, setting: Any) -> caffe.io.Transformer:
    made = caffe.io.Transformer({"data": (1, 3, 10, 12)})
    for key, value in setting.items():
        given = recorded[f"{name}_mean"] if key == "mean" else value
        getattr(made, f"set_{key}")("data", given)
    return made


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("size", ["same", "resize"])
def test_a_transformer_gives_pycaffes_values(
    recorded: dict[str, np.ndarray], settings: dict[str, Any], number: int, size: str
) -> None:
    name = f"transformer_{number}_{size}"
    made = transformer(recorded, name, settings[name])
    image = recorded[f"{name}_image"].copy()
    inside = made.preprocess("data", image)
    atol = REBUILT_ATOL if name == "transformer_2_same" else RESIZE_ATOL
    expected = recorded[f"{name}_pre"]
    np.testing.assert_allclose(inside, expected, rtol=1e-6, atol=atol * abs(expected).max())
    np.testing.assert_array_equal(image, recorded[f"{name}_image"], "it wrote into the image")
    outside = made.deprocess("data", expected[np.newaxis])
    np.testing.assert_allclose(outside, recorded[f"{name}_de"], rtol=1e-6, atol=RESIZE_ATOL)


def test_deprocess_undoes_a_swap_that_is_not_its_own_inverse() -> None:
    made = caffe.io.Transformer({"data": (1, 3, 2, 4)})
    made.set_transpose("data", (2, 0, 1))
    made.set_channel_swap("data", (1, 2, 0))
    image = np.random.default_rng(0).random((2, 4, 3), np.float32)
    np.testing.assert_array_equal(made.deprocess("data", made.preprocess("data", image)), image)


def test_an_image_with_an_axis_of_1_comes_back() -> None:
    made = caffe.io.Transformer({"data": (1, 1, 2, 4)})
    made.set_transpose("data", (2, 0, 1))
    image = np.arange(8, dtype=np.float32).reshape(2, 4, 1)
    inside = made.preprocess("data", image)
    assert inside.shape == (1, 2, 4)
    np.testing.assert_array_equal(made.deprocess("data", inside[np.newaxis]), image)


def test_a_mean_of_another_size_is_resized() -> None:
    made = caffe.io.Transformer({"data": (1, 3, 4, 6)})
    mean = np.random.default_rng(0).random((3, 8, 9)) * 200
    made.set_mean("data", mean)
    expected = caffe.io.resize_image(mean.transpose(1, 2, 0), (4, 6)).transpose(2, 0, 1)
    np.testing.assert_array_equal(made.mean["data"], expected)


@pytest.mark.parametrize(
    ("method", "value", "told"),
    [
        ("set_transpose", (2, 0), "Transpose order needs to have the same number of dimensions"),
        ("set_channel_swap", (1, 0), "Channel swap needs to have the same number of dimensions"),
        ("set_mean", np.ones(2), "Mean channels incompatible with input"),
        ("set_mean", np.ones((1, 3, 4, 6)), "Mean shape invalid"),
        ("set_mean", np.ones((2, 4, 6)), "Mean channels incompatible with input"),
        ("set_mean", "mean.npy", r"expected an array, got the name 'mean\.npy'\. Load the file"),
        ("preprocess", np.ones((4, 6, 2)), "expected 3 channels first"),
    ],
)
def test_what_does_not_fit_the_input_is_refused(method: str, value: Any, told: str) -> None:
    made = caffe.io.Transformer({"data": (1, 3, 4, 6)})
    made.set_transpose("data", (2, 0, 1))
    made.set_mean("data", np.ones(3))
    with pytest.raises(ValueError, match=told):
        getattr(made, method)("data", value)


@pytest.mark.parametrize(
    "method",
    [
        "preprocess", "deprocess", "set_transpose", "set_channel_swap", "set_raw_scale",
        "set_mean", "set_input_scale",
    ],
)  # fmt: skip
def test_a_name_that_is_no_input_is_refused(method: str) -> None:
    made = caffe.io.Transformer({"data": (1, 3, 4, 6)})
    with pytest.raises(ValueError, match="'image' is not one of the net inputs"):
        getattr(made, method)("image", np.ones((4, 6, 3)))

"""caffe.Detector: what is in windows of images."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

import caffe
from caffepy.engine.core.errors import DataError, DeviceError

WINDOWS = [np.array([2, 3, 12, 17]), np.array([0, 0, 20, 30])]


@pytest.fixture
def files(golden: Path) -> tuple[Path, Path]:
    return golden / "pyapi" / "deploy.prototxt", golden / "pyapi" / "deploy.caffemodel"


@pytest.fixture
def image(tmp_path: Path) -> str:
    """The file of an image (20, 30, 3)."""
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8))
    return str(path)


def test_a_window_is_resized_and_classified(files: tuple[Path, Path], image: str) -> None:
    detector = caffe.Detector(*files, mean=np.ones(3), raw_scale=255, channel_swap=(2, 1, 0))
    found = detector.detect_windows(iter([(image, WINDOWS)]))
    assert [detection["filename"] for detection in found] == [image, image]
    classifier = caffe.Classifier(*files, mean=np.ones(3), raw_scale=255, channel_swap=(2, 1, 0))
    pixels = caffe.io.load_image(image)
    for detection, window in zip(found, WINDOWS, strict=True):
        assert detection["window"] is window
        cut = pixels[window[0] : window[2], window[1] : window[3]]
        np.testing.assert_allclose(
            detection["prediction"], classifier.predict([cut], oversample=False)[0], rtol=1e-5
        )


def test_no_windows_give_no_detections(files: tuple[Path, Path], image: str) -> None:
    assert caffe.Detector(*files).detect_windows([(image, [])]) == []


def test_padding_shows_what_is_around_a_window(files: tuple[Path, Path]) -> None:
    detector = caffe.Detector(*files, context_pad=1)
    pixels = np.random.default_rng(0).random((40, 40, 3), np.float32)
    # 8 x 8 pixels: 6 / (6 - 2) of half its size on each side of its centre, 13.25 to 27.75
    window = np.array([16, 16, 23, 23])
    crop = detector.crop(pixels, window)
    assert crop.shape == (6, 6, 3)
    expected = caffe.io.resize_image(pixels[14:26, 14:26], (6, 6))
    np.testing.assert_array_equal(crop, expected)


def test_what_is_outside_the_image_is_the_mean(files: tuple[Path, Path]) -> None:
    mean = np.array([10.0, 20.0, 30.0])
    detector = caffe.Detector(
        *files, mean=mean, raw_scale=255, channel_swap=(2, 1, 0), context_pad=2
    )
    crop = detector.crop(np.ones((8, 8, 3), np.float32), np.array([0, 0, 7, 7]))
    np.testing.assert_allclose(crop[0, 0], mean[::-1] / 255, rtol=1e-6)
    np.testing.assert_array_equal(crop[3, 3], [1, 1, 1])
    flat = caffe.Detector(*files, context_pad=2)
    assert flat.crop(np.ones((8, 8, 3), np.float32), np.array([0, 0, 7, 7]))[0, 0, 0] == 0


def test_padding_that_leaves_nothing_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(ValueError, match=r"expected less than half the width .* 6, got 3"):
        caffe.Detector(*files, context_pad=3)


@pytest.mark.parametrize("window", [(0, 0, 21, 5), (5, 5, 5, 9), (-1, 0, 5, 5), (1, 2, 3)])
def test_a_window_outside_the_image_is_refused(
    files: tuple[Path, Path], image: str, window: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match=r"image.png': window \(.*expected 0 <= ymin"):
        caffe.Detector(*files).detect_windows([(image, [window])])


def test_selective_search_is_asked_for_windows(
    files: tuple[Path, Path], image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = caffe.Detector(*files)
    with pytest.raises(DeviceError, match="selective_search_ijcv_with_python is missing"):
        detector.detect_selective_search([image])
    asked: list[Any] = []

    def get_windows(names: list[str]) -> list[Any]:
        asked.extend(names)
        return [WINDOWS]

    name = "selective_search_ijcv_with_python"
    monkeypatch.setitem(sys.modules, name, SimpleNamespace(get_windows=get_windows))
    assert len(detector.detect_selective_search([image])) == 2
    assert asked == [image]

"""Transformations of images: crop, mean, mirror, scale."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import CaffepyError, DataError, NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import transformer as module
from caffepy.engine.data.mean_file import load_mean
from caffepy.engine.data.transformer import Transformer
from caffepy.proto.caffe_pb2 import BlobProto, TransformationParameter
from caffepy.proto.weights import encode_blob
from tests.allocations import large_allocations

RANDOM = np.random.default_rng(0)


def transformer(param: str, testing: bool = False, dtype: Any = np.float32) -> Transformer:
    return Transformer(
        text_format.Parse(param, TransformationParameter()),
        testing=testing,
        stream=Stream(1, "data", "transform"),
        dtype=np.dtype(dtype),
        where="layer 'data' (Data)",
        find_file=lambda name, what: Path(name),
    )


def named(images: Any) -> Iterator[tuple[str, np.ndarray]]:
    return ((f"record {index}", image) for index, image in enumerate(images))


def transformed(param: str, images: Any, first: int = 0, **options: Any) -> np.ndarray:
    return transformer(param, **options).batch(named(images), first, len(images))


def pictures(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, np.uint8)


@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(3, 6),
    width=st.integers(3, 6),
    crop=st.integers(0, 3),
    channels=st.integers(1, 3),
    mean=st.booleans(),
    scale=st.sampled_from([1, 0.5]),
)
def test_the_middle_is_taken_at_test(
    height: int, width: int, crop: int, channels: int, mean: bool, scale: float
) -> None:
    images = pictures(4, channels, height, width)
    found = transformed(
        f"crop_size: {crop} scale: {scale} {'mean_value: 7' if mean else ''}", images, testing=True
    )
    top, left = ((height - crop) // 2, (width - crop) // 2) if crop else (0, 0)
    size = (crop, crop) if crop else (height, width)
    expected = images[:, :, top : top + size[0], left : left + size[1]].astype(np.float32)
    np.testing.assert_array_equal(found, (expected - 7 * mean) * np.float32(scale))


def test_crops_and_mirrors_depend_on_the_number_of_the_sample_only() -> None:
    images = pictures(20, 3, 9, 8)
    param = "crop_size: 5 mirror: true mean_value: 3 scale: 0.25"
    together = transformed(param, images, first=100)
    apart = [transformed(param, images[i : i + 1], first=100 + i)[0] for i in range(20)]
    np.testing.assert_array_equal(together, apart)
    assert (transformed(param, images, first=101) != together).any()


def test_every_place_and_both_directions_come_up() -> None:
    rows, columns = np.mgrid[:6, :5].astype(np.uint8)
    images = np.broadcast_to(np.stack([rows, columns]), (400, 2, 6, 5))
    found = transformed("crop_size: 3 mirror: true", images)
    mirrored = found[:, 1, 0, 0] > found[:, 1, 0, 2]
    places = {(top, left) for top, left in zip(found[:, 0].min((1, 2)), found[:, 1].min((1, 2)))}
    assert len(places) == 4 * 3
    assert 150 < mirrored.sum() < 250


def test_images_are_mirrored_at_test_too_as_in_caffe() -> None:
    images = np.broadcast_to(np.arange(3, dtype=np.uint8), (50, 1, 1, 3))
    found = transformed("mirror: true", images, testing=True)
    assert {tuple(row) for row in found.reshape(50, 3)} == {(0, 1, 2), (2, 1, 0)}


def test_the_mean_image_is_cropped_and_mirrored_with_the_image(tmp_path: Path) -> None:
    mean = RANDOM.random((2, 6, 7), np.float32)
    (tmp_path / "mean.binaryproto").write_bytes(encode_blob(mean[None]))
    param = f"crop_size: 4 mirror: true mean_file: '{tmp_path / 'mean.binaryproto'}' scale: 2"
    found = transformed(param, np.broadcast_to(mean + 5, (30, *mean.shape)))
    np.testing.assert_allclose(found, np.full((30, 2, 4, 4), 10), rtol=1e-6)


def test_images_of_several_sizes_make_a_batch_when_cropped() -> None:
    images = [pictures(3, 8, 9), pictures(3, 5, 5), pictures(3, 5, 12)]
    found = transformed("crop_size: 5", images, testing=True)
    for index, (top, left) in enumerate([(1, 2), (0, 0), (0, 3)]):
        np.testing.assert_array_equal(found[index], images[index][:, top:, left:][:, :5, :5])


def test_height_and_width_of_a_crop_may_differ() -> None:
    images = pictures(2, 1, 7, 8)
    found = transformed("crop_h: 3 crop_w: 4", images, testing=True)
    np.testing.assert_array_equal(found, images[:, :, 2:5, 2:6])


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(7, 3, 6, 6)
    param = "crop_size: 4 mirror: true mean_value: 1 mean_value: 2 mean_value: 3 scale: 0.1"
    whole = transformed(param, images)
    monkeypatch.setattr(module, "CHUNK", 2 * 3 * 4 * 4)
    np.testing.assert_array_equal(transformed(param, images), whole)


def test_floats_and_double_precision() -> None:
    images = RANDOM.random((2, 1, 3, 3))
    found = transformed("mean_value: 0.5 scale: 3", images, dtype=np.float64)
    np.testing.assert_allclose(found, (images - 0.5) * 3, rtol=1e-15)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("mean_file: 'x' mean_value: 1", "expected mean_file or mean_value, got both"),
        ("force_color: true force_gray: true", "expected force_color or force_gray, got both"),
        ("crop_h: 3", "expected crop_size, or crop_h with crop_w"),
        ("crop_h: 3 crop_w: 3 crop_size: 3", "expected crop_size, or crop_h with crop_w"),
        ("rotate: true", "transform_param.rotate: this layer does not know it"),
        ("expand_param { prob: 1 }", "expand_param: expected it in an AnnotatedData layer"),
    ],
)
def test_contradictions_are_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        transformer(param)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("crop_size: 9", r"record 0: expected at least 9 x 9 pixels to crop, got 8 x 9"),
        ("mean_value: 1 mean_value: 2", r"expected one, or one for each of the 3"),
        (
            "",
            r"record 1: expected shape \(3, 8, 9\), that of record 0 in the same batch, got \(3, 5",
        ),
    ],
)
def test_images_that_do_not_fit_are_named(param: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        transformed(param, [pictures(3, 8, 9), pictures(3, 5, 5)])


def test_a_mean_of_another_shape_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mean.npy"
    np.save(path, np.ones((3, 4, 4)))
    with pytest.raises(DataError, match=r"mean\.npy': expected shape \(3, 8, 9\).*got \(3, 4, 4\)"):
        transformed(f"mean_file: '{path}'", [pictures(3, 8, 9)])


def test_mean_files_of_every_kind_are_read(tmp_path: Path, golden: Path) -> None:
    with np.load(golden / "formats" / "means.npz") as means:
        for name in means.files:
            found = load_mean(golden / "formats" / name)
            np.testing.assert_array_equal(found, means[name].reshape(found.shape))
    np.save(tmp_path / "mean.npy", np.ones((1, 3, 4, 4)))
    assert load_mean(tmp_path / "mean.npy").shape == (3, 4, 4)
    (tmp_path / "legacy").write_bytes(
        BlobProto(channels=1, height=1, width=2, num=1, data=[1, 2]).SerializeToString()
    )
    np.testing.assert_array_equal(load_mean(tmp_path / "legacy"), [[[1, 2]]])


@pytest.mark.parametrize("name", ["none", "text", "flat.npy", "text.npy", "words.npy"])
def test_what_is_no_mean_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "text.npy").write_text("hello")
    np.save(tmp_path / "flat.npy", np.ones(3))
    np.save(tmp_path / "words.npy", np.full((1, 1, 1), "a"))
    with pytest.raises(CaffepyError, match=name):
        load_mean(tmp_path / name)


def test_blocks_of_random_words_are_the_same_in_any_company() -> None:
    stream = Stream(3, "data", "transform")
    np.testing.assert_array_equal(stream.blocks(5, 3), stream.blocks(0, 10)[5:8])
    np.testing.assert_array_equal(stream.blocks(0, 10).reshape(-1), stream.words(0, 40))
    assert stream.blocks(1 << 40, 1).shape == (1, 4)


@pytest.mark.parametrize(
    "param",
    [
        "scale: 0.5",
        "mean_value: 7 mirror: true",
        'mean_file: "mean.npy" scale: 0.5',
    ],
)
def test_a_batch_takes_the_memory_of_one_that_is_used_up(
    param: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("mean.npy", RANDOM.random((3, 50, 50)).astype(np.float32))
    images = pictures(4, 3, 50, 50)
    made = transformer(param)
    for _ in range(2):
        made.reuse(made.batch(named(images), 0, 4))
    assert not large_allocations(lambda: made.reuse(made.batch(named(images), 4, 4)))
    np.testing.assert_array_equal(made.batch(named(images), 8, 4), transformed(param, images, 8))


def test_a_batch_of_another_shape_gets_memory_of_its_own() -> None:
    made = transformer("")
    made.reuse(made.batch(named(pictures(4, 1, 5, 5)), 0, 4))
    images = pictures(4, 1, 6, 5)
    np.testing.assert_array_equal(made.batch(named(images), 0, 4), images)

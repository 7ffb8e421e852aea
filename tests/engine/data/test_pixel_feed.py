"""Batches that wait as bytes: what a net gets of them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffepy.engine.core.random import Stream
from caffepy.engine.core.value import Value
from caffepy.engine.data import datum, images
from caffepy.engine.data.db import create_db, open_db
from caffepy.engine.data.feed import Feed, Pixels
from caffepy.engine.data.pixel_feed import PixelFeed
from caffepy.engine.data.records import RecordSource
from caffepy.engine.data.transformer import Transformer
from caffepy.proto.caffe_pb2 import TransformationParameter

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (6, 3, 9, 8), np.uint8)
TRANSFORMS = (
    "", "scale: 0.3", "mean_value: 3.5 scale: 2", "mean_file: 'M'",
    "crop_size: 5 mirror: true mean_file: 'M' scale: 0.3",
    "crop_h: 9 crop_w: 3 mirror: true mean_value: 7",
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Databases, and a mean of their images."""
    np.save(tmp_path / "mean.npy", RANDOM.uniform(90, 130, PIXELS.shape[1:]).astype(np.float32))
    np.save(tmp_path / "gray.npy", RANDOM.uniform(90, 130, (1, 9, 8)).astype(np.float32))
    raw = [datum.raw(pixels, 1) for pixels in PIXELS]
    floats = [datum.raw(pixels / np.float32(3), 1) for pixels in PIXELS]
    kinds = {
        "raw": raw,
        "gray": [datum.raw(pixels[:1], 1) for pixels in PIXELS],
        "files": [
            datum.encoded(images.encode(pixels.transpose(1, 2, 0), "png"), 1) for pixels in PIXELS
        ],
        "floats": floats,
        "floats late": [*raw[:4], *floats[4:]],
    }
    for name, records in kinds.items():
        with create_db(tmp_path / name, "lmdb") as writer:
            for number, record in enumerate(records):
                writer.put(b"%d" % number, record.SerializeToString())
    return tmp_path


def made(folder: Path, kind: str, transform: str, dtype: type, whole: bool, feed: type) -> Value:
    """What a net gets of a batch of six; whole: made by one thread, image after image."""
    transformer = Transformer(
        text_format.Parse(transform, TransformationParameter()),
        testing=False,
        stream=Stream(1, "data", "transform"),
        dtype=np.dtype(dtype),
        where="layer 'data'",
        find_file=lambda name, line: folder / name,
    )
    source = RecordSource(open_db(folder / kind, "lmdb"), feed(transformer))
    batch = source.again(0, 6, None) if whole else source.batch(0, 6)
    bytes_wait = feed is PixelFeed and "floats" not in kind
    assert isinstance(batch.images, Pixels) == bytes_wait
    value = Value(batch.images.shape, np.dtype(dtype))
    source.feed.deliver(batch.images, value)
    source.close()
    return value


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("kind", "transform"),
    [
        *itertools.product(["raw", "gray", "files", "floats", "floats late"], TRANSFORMS),
        *itertools.product(["raw", "files"], ["mirror: true erase_ratio: 1"]),  # needs bytes
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_net_gets_the_floats_that_are_made_at_once(
    folder: Path, kind: str, transform: str, dtype: type, whole: bool
) -> None:
    transform = transform.replace("M", "gray.npy" if kind == "gray" else "mean.npy")
    bytes_first = made(folder, kind, transform, dtype, whole, PixelFeed)
    floats_first = made(folder, kind, transform, dtype, whole, Feed)
    np.testing.assert_array_equal(bytes_first.read(), floats_first.read())


def test_bytes_are_transformed_as_the_formula_says(folder: Path) -> None:
    mean = np.load(folder / "mean.npy")
    found = made(folder, "raw", "mean_file: 'mean.npy' scale: 0.5", np.float64, False, PixelFeed)
    np.testing.assert_allclose(found.read(), (PIXELS - mean.astype(float)) * 0.5, rtol=1e-12)

"""Batches that several threads make."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DataError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import datum, images, pipeline, prefetching_layer, records
from caffepy.engine.data.db import create_db, open_db
from caffepy.engine.data.feed import Feed, Pixels
from caffepy.engine.data.image_list import ImageList
from caffepy.engine.data.image_source import ImageSource
from caffepy.engine.data.pipeline import Batch, Part, Prefetcher
from caffepy.engine.data.pixel_feed import PixelFeed
from caffepy.engine.data.records import RecordSource
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import Datum, TransformationParameter
from caffepy.tools import cli
from caffepy.tools.common import open_net

WAIT = 10.0  # seconds until a test that hangs is given up
RECORDS = 11
RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (RECORDS, 3, 9, 8), np.uint8)
TRANSFORM = "crop_size: 7 mirror: true mean_value: 3 scale: 0.5"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Databases of raw, encoded and mixed records, and the same images as files."""
    place = tmp_path_factory.mktemp("threads")
    raw = [datum.raw(pixels, 100 + number) for number, pixels in enumerate(PIXELS)]
    files = [images.encode(pixels.transpose(1, 2, 0), "png") for pixels in PIXELS]
    encoded = [datum.encoded(file, 100 + number) for number, file in enumerate(files)]
    write(place / "raw", raw)
    write(place / "encoded", encoded)
    write(place / "mixed", [encoded[i] if i % 3 else raw[i] for i in range(RECORDS)])
    for number, file in enumerate(files):
        (place / f"{number}.png").write_bytes(file)
    lines = [f"{number}.png {100 + number}\n" for number in range(RECORDS)]
    (place / "list").write_text("".join(lines))
    return place


def write(path: Path, made: list[Datum]) -> None:
    with create_db(path, "lmdb") as writer:
        for number, record in enumerate(made):
            writer.put(b"%04d" % number, record.SerializeToString())


def feed(transform: str = TRANSFORM) -> Feed:
    param = text_format.Parse(transform, TransformationParameter())
    return PixelFeed(
        Transformer(
            param,
            testing=False,
            stream=Stream(1, "data", "transform"),
            dtype=np.dtype(np.float32),
            where="layer 'data'",
            find_file=lambda name, line: Path(name),
        )
    )


def content(batch: Batch) -> np.ndarray:
    """The bytes of its images, with what becomes of each."""
    assert isinstance(batch.images, Pixels)
    assert batch.images.data is not None
    rows = batch.images.data.reshape(len(batch.labels), -1)
    return np.hstack([batch.images.choices, rows])


def record_source(path: Path, skip: int = 0, transform: str = TRANSFORM) -> RecordSource:
    return RecordSource(open_db(path, "lmdb"), feed(transform), skip)


def image_source(folder: Path, skip: int = 0) -> ImageSource:
    order = Stream(1, "data", "shuffle")
    return ImageSource(
        ImageList(folder / "list"), feed(), lambda name, line: folder / name, skip=skip, order=order
    )


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["raw", "encoded", "mixed", "list"]),
    threads=st.integers(1, 5),
    depth=st.integers(1, 4),
    size=st.integers(1, 13),
    part_bytes=st.sampled_from([1, 400, 1 << 18]),
    skip=st.integers(0, 12),
    seeks=st.lists(st.integers(0, 40), max_size=3),
)
def test_batches_do_not_depend_on_the_number_of_threads(
    folder: Path,
    kind: str,
    threads: int,
    depth: int,
    size: int,
    part_bytes: int,
    skip: int,
    seeks: list[int],
) -> None:
    def source() -> RecordSource | ImageSource:
        return image_source(folder, skip) if kind == "list" else record_source(folder / kind, skip)

    alone = source()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(records, "PART_BYTES", part_bytes)
        prefetcher = Prefetcher(source(), size, depth, threads)
        for place in [0, *seeks]:
            prefetcher.seek(place)
            for first in (place, place + size, place + 2 * size):
                found, expected = prefetcher.next(), alone.batch(first, size)
                np.testing.assert_array_equal(content(found), content(expected))
                np.testing.assert_array_equal(found.labels, expected.labels)
                assert list(found.names) == list(expected.names)
        prefetcher.close()
    alone.close()


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({2: b"no datum", 5: b"neither"}, "record '0002'.*expected a Datum message"),
        (
            {6: datum.raw(PIXELS[0, :1], 0).SerializeToString()},
            "record '0006'.*that of record '0004",
        ),
        (
            {4: datum.raw(PIXELS[0, :1], 0).SerializeToString()},
            "record '0005'.*that of record '0004",
        ),
        (
            {7: datum.encoded(b"no image", 0).SerializeToString()},
            "record '0007'.*OpenCV can decode",
        ),
    ],
)
def test_the_first_record_that_does_not_fit_is_named(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    threads: int,
    wrong: dict[int, bytes],
    message: str,
) -> None:
    monkeypatch.setattr(records, "PART_BYTES", 1)
    with create_db(tmp_path / "db", "lmdb") as writer:
        for number, pixels in enumerate(PIXELS):
            right = datum.raw(pixels, number).SerializeToString()
            writer.put(b"%04d" % number, wrong.get(number, right))
    prefetcher = Prefetcher(record_source(tmp_path / "db", transform=""), 4, 3, threads)
    for _ in range(min(wrong) // 4):
        prefetcher.next()
    for _ in range(2):
        with pytest.raises(DataError, match=message):
            prefetcher.next()
    prefetcher.seek(RECORDS - 3)
    assert prefetcher.next().labels.tolist() == [8, 9, 10, 0]
    prefetcher.close()


class Numbers:
    """A source whose batches are the numbers of their samples, each a part of its own."""

    def __init__(self, hook: Callable[[int], None] = lambda number: None) -> None:
        self.hook = hook
        self.closed = threading.Event()

    def begin(self, first: int, count: int) -> NumbersWork:
        assert not self.closed.is_set()
        return NumbersWork(self, first, count)

    def batch(self, first: int, count: int) -> list[int]:
        return pipeline.done(self.begin(first, count))

    def close(self) -> None:
        assert not self.closed.is_set()
        self.closed.set()


class NumbersWork:
    def __init__(self, source: Numbers, first: int, count: int) -> None:
        self.source = source
        self.wanted = list(range(first, first + count))
        self.made = [-1] * count
        self.taken = 0

    def read(self) -> Part | None:
        if self.taken == len(self.wanted):
            return None
        place, self.taken = self.taken, self.taken + 1
        return lambda: self.make(place)

    def make(self, place: int) -> None:
        self.source.hook(self.wanted[place])
        self.made[place] = self.wanted[place]

    def finish(self) -> list[int]:
        return self.made

    def again(self) -> list[int]:
        for place in range(len(self.wanted)):
            self.make(place)
        return self.made


def fail_at(*wrong: int) -> Callable[[int], None]:
    def hook(number: int) -> None:
        if number in wrong:
            raise KeyError(f"sample {number}")

    return hook


@pytest.mark.parametrize("threads", [1, 3])
def test_the_exception_is_that_of_the_first_sample_that_raises(threads: int) -> None:
    prefetcher = Prefetcher(Numbers(fail_at(6, 9)), 5, 3, threads)
    assert prefetcher.next() == [0, 1, 2, 3, 4]
    with pytest.raises(KeyError, match="sample 6"):
        prefetcher.next()
    prefetcher.seek(10)
    assert prefetcher.next() == [10, 11, 12, 13, 14]
    prefetcher.close()


def test_parts_of_a_batch_are_made_at_once() -> None:
    together = threading.Barrier(3, timeout=WAIT)
    prefetcher = Prefetcher(Numbers(lambda number: void(together.wait())), 3, 1, 3)
    assert prefetcher.next() == [0, 1, 2]
    together.abort()
    prefetcher.close()


def void(value: object) -> None:
    """For hooks."""


def test_no_more_than_the_ring_holds_is_made_ahead() -> None:
    most, full = [0], threading.Event()

    def hook(number: int) -> None:
        most[0] = max(most[0], number)
        if most[0] == 7:
            full.set()

    source = Numbers(hook)
    prefetcher = Prefetcher(source, 2, 3, 4)
    assert prefetcher.next() == [0, 1]
    assert full.wait(WAIT)
    prefetcher.close()
    assert source.closed.wait(WAIT)
    assert most[0] == 7


@pytest.mark.parametrize("wrong", [(), (2,), (3,)])
def test_all_threads_end_with_close_and_the_last_closes_the_source(wrong: tuple[int, ...]) -> None:
    before = threading.active_count()
    source = Numbers(fail_at(*wrong))
    prefetcher = Prefetcher(source, 2, 2, 4)
    prefetcher.next()
    prefetcher.close()
    assert source.closed.is_set()
    assert threading.active_count() == before
    with pytest.raises(RuntimeError, match="closed"):
        prefetcher.next()


def test_a_batch_that_seek_gave_up_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()

    def hook(number: int) -> None:
        if number == 3:
            begun.set()
            assert release.wait(WAIT)

    prefetcher = Prefetcher(Numbers(hook), 2, 2, 2)
    assert prefetcher.next() == [0, 1]
    assert begun.wait(WAIT)
    prefetcher.seek(20)
    assert prefetcher.next() == [20, 21], "by the other thread"
    release.set()
    assert prefetcher.next() == [22, 23]
    prefetcher.close()


@pytest.mark.parametrize("asked", [1, 3, None])
def test_a_net_says_how_many_threads_make_its_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    monkeypatch.setattr(prefetching_layer, "allowed_cpus", lambda: 8)
    (folder / "net.prototxt").write_text(
        """layer { name: "data" type: "Data" top: "data" top: "label"
            data_param { source: "raw" batch_size: 2 backend: LMDB } }"""
    )
    before = threading.active_count()
    net = open_net(str(folder / "net.prototxt"), "TEST", 0, "", "", NumpyOps(), data_threads=asked)
    net.forward()
    assert threading.active_count() - before == (asked or 2), "one for every 4 CPUs"
    net.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("command", ["train", "test", "time"])
def test_commands_take_the_number_of_data_threads(command: str) -> None:
    found = CliRunner().invoke(cli.caffepy, [command, "--data-threads", "0"])
    assert found.exit_code == 2
    assert "--data-threads" in found.output

"""python -m benchmarks.input_pipeline: what one data thread makes of the records of an LMDB, in
images per second, in each way that batches take into a net:

floats  transformed here, for an engine of the CPU
bytes   cropped here, for a GPU that does the rest
kept    numbers of records that a GPU keeps (--cache device)

The ways run in turns in one process, from the system's file cache. No GPU takes part: copies to it
run beside. GoogLeNet (128) in 25 ms takes 5120 images/s.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.rounds import Step, measure
from caffepy.engine.core.layout import PLAIN, Buffer
from caffepy.engine.core.random import Stream
from caffepy.engine.core.value import Value
from caffepy.engine.data import datum
from caffepy.engine.data.db import create_db, open_db
from caffepy.engine.data.device_feed import DeviceFeed
from caffepy.engine.data.kept_records import KeptRecords
from caffepy.engine.data.pixel_feed import PixelFeed
from caffepy.engine.data.records import RecordSource
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import TransformationParameter


class NoDevice:
    """Takes all copies, and makes none of them. Done are those that it says are."""

    layout = PLAIN

    def memory(self) -> tuple[int, int]:
        return 1 << 40, 1 << 40

    def pinned(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        return np.empty(shape, dtype)

    def upload(self, source: np.ndarray, buffer: Buffer) -> None:
        """Nothing."""

    def upload_ahead(self, source: np.ndarray, buffer: Buffer) -> NoDevice:
        return self

    def wait_for(self, event: Any) -> None:
        """Nothing."""

    def milliseconds_since(self, earlier: Any) -> float:
        return 0.0


def main() -> None:
    """Prints a line for each way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=256, help="height and width of a record")
    parser.add_argument("--records", type=int, default=512)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--transform", default="crop_size: 224 mirror: true mean_file: 'mean.npy'")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="per way and round")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, shape = Path(name), (3, given.size, given.size)
        _write(folder, shape, given.records)
        with _ways(folder, given.transform, given.batch) as ways:
            measured = measure(ways, given.rounds, given.seconds)
    print(f"{shape} {given.transform}, batches of {given.batch}")
    print(f"{'way':<8}{'ms a batch':>11}{'fastest':>9}{'images/s':>10}")
    for way, ms in measured.medians().items():
        fastest = min(measured.ms[way])
        print(f"{way:<8}{ms:11.3f}{fastest:9.3f}{1000 * given.batch / ms:10.0f}")


def _write(folder: Path, shape: tuple[int, ...], records: int) -> None:
    """An LMDB of random images, and a mean."""
    random = np.random.default_rng(1)
    with create_db(folder / "lmdb", "lmdb") as writer:
        for number in range(records):
            record = datum.raw(random.integers(256, size=shape, dtype=np.uint8), number % 1000)
            writer.put(f"{number:08}".encode(), record.SerializeToString())
    np.save(folder / "mean.npy", np.full(shape, 127.5, np.float32))


@contextmanager
def _ways(folder: Path, transform: str, batch: int) -> Iterator[dict[str, Step]]:
    """The making of one batch, in each way."""
    ops, device = NumpyOps(), NoDevice()
    transformer = Transformer(
        text.parse(transform, TransformationParameter),
        testing=False,
        stream=Stream(1, "data", "transform"),
        dtype=ops.dtype,
        where="benchmark",
        find_file=lambda name, where: folder / name,
    )
    kept_feed, bytes_feed = (DeviceFeed(transformer, ops, device) for _ in range(2))
    sources = {
        "floats": RecordSource(open_db(folder / "lmdb", "lmdb"), PixelFeed(transformer)),
        "bytes": RecordSource(open_db(folder / "lmdb", "lmdb"), bytes_feed),
        "kept": KeptRecords(open_db(folder / "lmdb", "lmdb"), kept_feed),
    }
    steps = {way: _step(source, batch) for way, source in sources.items()}
    top = Value((batch, *sources["floats"].first_record()[1]), ops.dtype)
    yield {**steps, "floats": _delivered(sources["floats"], top)}
    for source in sources.values():
        source.close()


def _delivered(source: RecordSource, top: Value) -> Step:
    """Makes the next batch, and the floats of it that a net gets."""
    numbers = itertools.count(step=top.shape[0])

    def make() -> None:
        source.feed.deliver(source.batch(next(numbers), top.shape[0]).images, top)

    return make


def _step(source: RecordSource, count: int) -> Step:
    """Makes the next batch, whose memory the one after it takes."""
    numbers = itertools.count(step=count)

    def make() -> None:
        source.feed.reuse(source.batch(next(numbers), count).images)

    return make


if __name__ == "__main__":
    main()

"""The tools that make databases and read them whole: for `benchmarks.data`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import data_alone
from caffepy.engine.data.db import open_db
from caffepy.engine.data.mean import compute_mean
from caffepy.tools import convert_imageset
from caffepy.tools.convert_imageset import ImageOptions

SIZE = 224  # that images are resized to


@dataclass(frozen=True)
class Side:
    """A tool, and what is done `alone` to compare it with. bare, ours: give their seconds."""

    name: str
    alone: str
    bare: Callable[[], float]
    ours: Callable[[], float]


def sides(folder: Path, files: Sequence[bytes], count: int, threads: int) -> Iterator[Side]:
    """The comparisons. files: contents of JPEG files; `count` are made of them in `folder`."""
    (folder / "images").mkdir()
    paths = [folder / "images" / f"{number:06}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_bytes(files[number % len(files)])
    (folder / "list").write_text("".join(f"{path.name} {i}\n" for i, path in enumerate(paths)))

    def convert(options: ImageOptions) -> float:
        target = folder / "converted"
        shutil.rmtree(target, ignore_errors=True)
        started = time.perf_counter()
        convert_imageset.run(
            str(folder / "images"), str(folder / "list"), str(target), options, threads=threads
        )
        return time.perf_counter() - started

    def mean() -> float:
        database = open_db(folder / "converted", "lmdb")
        started = time.perf_counter()
        compute_mean(database, threads)
        elapsed = time.perf_counter() - started
        database.close()
        return elapsed

    def decode(size: int = 0) -> float:
        return data_alone.decode_files(paths, size, threads)

    resized = ImageOptions(width=SIZE, height=SIZE)
    yield Side("convert resized", "decoding", lambda: decode(SIZE), lambda: convert(resized))
    stored = ImageOptions(encoded=True)
    yield Side("convert files", "decoding", decode, lambda: convert(stored))
    yield Side("mean of files", "decoding", decode, mean)
    yield Side("convert pixels", "decoding", decode, lambda: convert(ImageOptions()))
    yield Side("mean of pixels", "cursor", lambda: data_alone.loop(folder / "converted"), mean)

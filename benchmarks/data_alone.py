"""What the data pipeline and the tools cannot do without, alone: for `benchmarks.data`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from caffepy.engine.data import images
from caffepy.engine.data.db import open_db


def decode(files: Sequence[bytes], count: int, threads: int) -> float:
    """Seconds to decode `count` images."""
    cv2 = images.opencv()
    arrays = [np.frombuffer(file, np.uint8) for file in files]
    return _shared(
        count,
        threads,
        lambda number: cv2.imdecode(arrays[number % len(arrays)], cv2.IMREAD_UNCHANGED),
    )


def decode_files(paths: Sequence[Path], size: int, threads: int) -> float:
    """Seconds to read and decode image files. size: that they are resized to; 0: they are not."""
    cv2 = images.opencv()

    def work(number: int) -> None:
        data = np.frombuffer(paths[number].read_bytes(), np.uint8)
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        if size:
            cv2.resize(image, (size, size))

    return _shared(len(paths), threads, work)


def loop(path: Path) -> float:
    """Seconds to look at all records of an LMDB."""
    database = open_db(path, "lmdb")
    started = time.perf_counter()
    for _ in database.records():
        pass
    elapsed = time.perf_counter() - started
    database.close()
    return elapsed


def _shared(count: int, threads: int, work: Callable[[int], object]) -> float:
    """Seconds of threads that do work number 0 to `count - 1`."""

    def share(numbers: range) -> None:
        for number in numbers:
            work(number)

    workers = [
        threading.Thread(target=share, args=(range(first, count, threads),))
        for first in range(threads)
    ]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return time.perf_counter() - started

"""python -m benchmarks.data: the data pipeline and the tools against what they cannot do without.

jpeg    batches of JPEG images of 256 x 256, cropped to 227, mirrored, less a mean image, against
        cv2.imdecode of the same images in as many threads
ssd     batches of JPEG images of 300 x 300 with two boxes, changed as for SSD300, against the same
raw     batches of raw images of 28 x 28, scaled, against a bare loop over the database's cursor
convert convert_imageset of the JPEG files: stored as they are (files), as pixels, resized to 224 x
        224; against reading, decoding and resizing them in as many threads
mean    compute_image_mean of the JPEG records, against decoding, and of pixels, against the cursor
memory  one pass over a database of raw images (2 GB by default), and the memory that it takes

Both sides run in turns, in one process, from the system's file cache; rounds that other programs
disturb are taken again. Batches are counted when their floats are in the net's memory.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks import data_alone, data_tools
from benchmarks.rounds import Rounds
from caffepy.engine.core.random import Stream
from caffepy.engine.core.value import Value
from caffepy.engine.data import datum, images
from caffepy.engine.data.annotated import AnnotatedSource
from caffepy.engine.data.box_changes import BoxChanges
from caffepy.engine.data.db import create_db, open_db
from caffepy.engine.data.device_feed import make_feed
from caffepy.engine.data.pipeline import Prefetcher
from caffepy.engine.data.records import RecordSource
from caffepy.engine.data.transformer import Transformer
from caffepy.engine.machine import allowed_cpus
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import (
    AnnotatedDataParameter,
    AnnotatedDatum,
    Datum,
    TransformationParameter,
)

JPEG = "crop_size: 227 mirror: true mean_file: 'mean.npy'"
SSD = """mirror: true mean_value: 104 mean_value: 117 mean_value: 123
    resize_param { height: 300 width: 300 interp_mode: LINEAR interp_mode: AREA interp_mode: NEAREST
      interp_mode: CUBIC interp_mode: LANCZOS4 }
    emit_constraint { emit_type: CENTER } expand_param { prob: 0.5 max_expand_ratio: 4 }
    distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5
      contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5
      saturation_upper: 1.5 }"""
SAMPLERS = "batch_sampler { max_sample: 1 max_trials: 1 }" + "".join(
    f"""batch_sampler {{ sampler {{ min_scale: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }}
    sample_constraint {{ {constraint} }} max_sample: 1 max_trials: 50 }}"""
    for constraint in (
        *(f"min_jaccard_overlap: {overlap}" for overlap in (0.1, 0.3, 0.5, 0.7, 0.9)),
        "max_jaccard_overlap: 1",
    )
)
RAW = "scale: 0.00390625"
DEPTH = 4  # batches in the ring
WARM_UP = DEPTH + 2  # that do not count: more than the ring holds, so that it is as empty as later
AIM = {"raw": "100,000 images/s", "ssd": "0.15"}  # of the others 0.85 of what is done alone


def main() -> None:
    """Prints a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=allowed_cpus())
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=16, help="of JPEG images, per round")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--files", type=int, default=1500, help="that are converted")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of the memory's database")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sizes = given.batch, given.batches, given.rounds, given.files, given.gigabytes
        for line in run(Path(name), given.threads, *sizes):
            print(line, flush=True)


def run(
    folder: Path,
    threads: int,
    batch: int,
    batches: int,
    rounds: int,
    converted: int,
    gigabytes: float,
) -> Iterator[str]:
    """The lines. batches: of JPEG images; of raw ones there are 50 times as many."""
    random = np.random.default_rng(1)
    files = [_photograph(random) for _ in range(min(64, batch))]
    repeated = itertools.islice(itertools.cycle(files), batch * batches)
    _write(folder / "jpeg", (datum.encoded(file, 1) for file in repeated))
    np.save(folder / "mean.npy", random.uniform(90, 130, (3, 256, 256)).astype(np.float32))
    small = random.integers(256, size=(batch * batches * 50, 1, 28, 28), dtype=np.uint8)
    _write(folder / "raw", (datum.raw(pixels, i % 1000) for i, pixels in enumerate(small)))
    yield f"{threads} threads, batches of {batch}; JPEG of {np.mean([*map(len, files)]):.0f} bytes"
    yield _compared(
        "jpeg", "decoding", rounds, batch * batches,
        lambda: data_alone.decode(files, batch * batches, threads),
        lambda: _pass(folder, "jpeg", JPEG, threads, batch, batches),
    )  # fmt: skip
    pictures = [_photograph(random, 300) for _ in range(min(64, batch))]
    repeated = itertools.islice(itertools.cycle(pictures), batch * batches)
    _write(folder / "ssd", (_boxed(file) for file in repeated))
    yield _compared(
        "ssd", "decoding", rounds, batch * batches,
        lambda: data_alone.decode(pictures, batch * batches, threads),
        lambda: _pass(folder, "ssd", SSD, threads, batch, batches, SAMPLERS),
    )  # fmt: skip
    yield _compared(
        "raw", "cursor", rounds, len(small),
        lambda: data_alone.loop(folder / "raw"),
        lambda: _pass(folder, "raw", RAW, threads, batch, len(small) // batch),
    )  # fmt: skip
    for tool in data_tools.sides(folder, files, converted, threads):
        yield _compared(tool.name, tool.alone, rounds, converted, tool.bare, tool.ours)
    big = random.integers(256, size=(3, 256, 256), dtype=np.uint8)
    count = max(batch, round(gigabytes * 1e9 / big.nbytes)) // batch * batch
    _write(folder / "big", (datum.raw(big, i % 1000) for i in range(count)))
    seen = [_memory()]
    seconds = _pass(
        folder, "big", "crop_size: 227 mirror: true", threads, batch, count // batch,
        look=lambda: seen.append(_memory()),
    )  # fmt: skip
    ring = (DEPTH + 1 + 4) * batch * 3 * 227 * 227  # of bytes; the net's are floats
    yield (
        f"memory  {count * big.nbytes / 1e9:.2f} GB of records in {seconds:.1f} s: "
        f"{(max(seen) - seen[0]) / 1e6:.0f} MB more at most, the ring and the net's batch are "
        f"{ring / 1e6:.0f} MB"
    )


def _compared(
    name: str,
    alone: str,
    wanted: int,
    count: int,
    bare: Callable[[], float],
    ours: Callable[[], float],
) -> str:
    """Times both sides, which give their seconds for `count` images, in turns."""
    bare(), ours()
    rounds = Rounds(wanted)
    while not rounds.enough:
        rounds.start()
        if rounds.taken % 2:
            ms = {"ours": 1e3 * ours(), "bare": 1e3 * bare()}
        else:
            ms = {"bare": 1e3 * bare(), "ours": 1e3 * ours()}
        rounds.end(ms)
    found = rounds.result()
    ratios = [b / o for b, o in zip(found.ms["bare"], found.ms["ours"], strict=True)]
    speed = {side: 1e3 * count / ms for side, ms in found.medians().items()}
    return (
        f"{name:<16}{speed['ours']:9.0f} images/s, {alone} alone {speed['bare']:9.0f}: "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}); to reach: "
        f"{AIM.get(name, '0.85')}; {found}"
    )


def _photograph(random: np.random.Generator, side: int = 256) -> bytes:
    """A JPEG file with soft edges and noise, of the quality that OpenCV writes by default."""
    cv2 = images.opencv()
    coarse = random.integers(256, size=(32, 32, 3), dtype=np.uint8)
    soft = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return images.encode(
        np.clip(soft + random.normal(0, 8, soft.shape), 0, 255).astype(np.uint8), "jpg"
    )


def _boxed(file: bytes) -> AnnotatedDatum:
    """The record of an image with two boxes."""
    record = AnnotatedDatum(type=AnnotatedDatum.BBOX, datum=datum.encoded(file, -1))
    for label, (left, top) in enumerate([(0.1, 0.2), (0.5, 0.4)], start=1):
        box = record.annotation_group.add(group_label=label).annotation.add().bbox
        box.xmin, box.ymin, box.xmax, box.ymax = left, top, left + 0.3, top + 0.4
    return record


def _write(path: Path, records: Iterator[Datum | AnnotatedDatum]) -> None:
    with create_db(path, "lmdb") as writer:
        for number, record in enumerate(records):
            writer.put(b"%08d" % number, record.SerializeToString())


def _pass(
    folder: Path,
    name: str,
    transform: str,
    threads: int,
    batch: int,
    batches: int,
    samplers: str = "",
    look: Callable[[], None] = lambda: None,
) -> float:
    """Seconds for `batches`, after some that do not count: the ring's memory is new to the first
    ones. samplers: of an AnnotatedData layer.  look: called after each."""
    ops = NumpyOps()
    param = text.parse(transform, TransformationParameter)
    changes = BoxChanges(
        param,
        text.parse(samplers, AnnotatedDataParameter).batch_sampler,
        testing=False,
        stream=lambda purpose: Stream(1, "data", purpose),
        where="benchmark",
    )
    transformer = Transformer(
        changes.rest if samplers else param,
        testing=False,
        stream=Stream(1, "data", "transform"),
        dtype=ops.dtype,
        where="benchmark",
        find_file=lambda mean, where: folder / mean,
    )
    database, feed = open_db(folder / name, "lmdb"), make_feed(transformer, ops)
    source = RecordSource(database, feed)
    if samplers:
        source = AnnotatedSource(database, feed, changes)
    top = Value((batch, *source.first_record()[1]), ops.dtype)
    prefetcher = Prefetcher(source, batch, DEPTH, threads)
    started = 0.0
    for number in range(-WARM_UP, batches):
        source.feed.deliver(prefetcher.next().images, top)
        look()
        if number < 0:
            started = time.perf_counter()
    elapsed = time.perf_counter() - started
    prefetcher.close()
    return elapsed


def _memory() -> int:
    """The bytes of this process that are no mapped file; 0 where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) << 10
    return 0


if __name__ == "__main__":
    main()

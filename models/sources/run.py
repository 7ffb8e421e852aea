"""Trains one small net from each kind of data source in turn, and says how well it does."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import numpy as np

import caffepy
from caffepy.models.job import Job
from caffepy.models.sources.data import SCALE, labelled, write_all

SOURCES = (
    "lmdb", "leveldb", "encoded", "annotated", "images", "hdf5", "windows", "memory", "dummy"
)  # fmt: skip
WANTED_ACCURACY = 0.85
FILES = ("net.prototxt", "solver.prototxt", *(f"{source}.prototxt" for source in SOURCES))
WRITTEN = ("*_leveldb", "*.h5", "*.txt", "digits", "*_net.prototxt", "*_solver.prototxt")


def main(folder: Path) -> int:
    """Writes the digits in all forms to `folder`, trains there from each, and shows the results.

    Returns the exit status: 0 where each net gets more than WANTED_ACCURACY right.
    """
    job = Job(folder, "caffepy.models.sources", FILES, WRITTEN)
    job.begin()
    print(f"Writing the handwritten digits in all forms to {folder}", flush=True)
    write_all(folder)
    results = {source: trained(job, source) for source in SOURCES}
    print(f"\n{'source':<10}{'accuracy':>10}{'seconds':>10}")
    for source, (accuracy, seconds) in results.items():
        print(f"{source:<10}{accuracy:>10.4f}{seconds:>10.1f}")
    return 0 if min(results.values())[0] > WANTED_ACCURACY else 1


def trained(job: Job, source: str) -> tuple[float, float]:
    """Accuracy on the test digits after training from a source, and how long that took."""
    write_net(job.folder, source)
    start = time.perf_counter()
    if source == "memory":
        accuracy = train_from_memory(job.folder)
    else:
        log = job.caffepy(f"train --solver {source}_solver.prototxt")
        accuracy = float(re.findall(r"#\d+: accuracy = (\S+)", log)[-1])
    return accuracy, time.perf_counter() - start


def write_net(folder: Path, source: str) -> None:
    """Writes SOURCE_net.prototxt and SOURCE_solver.prototxt."""
    layers = [(folder / name).read_text() for name in (f"{source}.prototxt", "net.prototxt")]
    (folder / f"{source}_net.prototxt").write_text("".join(layers))
    solver = (folder / "solver.prototxt").read_text()
    prefix = json.dumps((folder / source).as_posix(), ensure_ascii=False)  # quoted
    solver += f'net: "{source}_net.prototxt"\nsnapshot_prefix: {prefix}\n'
    (folder / f"{source}_solver.prototxt").write_text(solver)


def train_from_memory(folder: Path) -> float:
    """Trains from arrays, as a Python program does. Returns: the accuracy."""
    print("\nTraining from arrays in Python", flush=True)
    with caffepy.Solver(folder / "memory_solver.prototxt") as solver:
        test_net = solver.test_nets[0]
        for net, (pixels, labels) in zip((solver.net, test_net), labelled().values(), strict=True):
            count = len(pixels) - len(pixels) % len(net.blobs["data"].data)  # whole batches
            data = pixels[:count, None] * np.float32(SCALE)
            net.set_input_arrays(data, labels[:count].astype(np.float32))
        solver.step(solver.param.max_iter)
        test_net.share_with(solver.net)
        scores = [float(test_net.forward()["accuracy"]) for _ in range(solver.param.test_iter[0])]
    return sum(scores) / len(scores)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/sources").resolve()))

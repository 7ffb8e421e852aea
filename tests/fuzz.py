"""python -m tests.fuzz: files damaged at random, given to readers in processes of their own.

For every reader a line: how many inputs were read, how many refused as files are, in how many
the library ended the process, and the most memory that one took. What is no refusal, a traceback
or a hang, is told with the number by which `--only` makes the input again. The readers are those of
tests/integration/test_fuzzed_files.py, and the databases.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from caffepy.engine import weights_file
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.data import datum, raw_records
from caffepy.engine.data.db import create_db, open_db
from caffepy.engine.data.hdf5 import read_rows
from caffepy.engine.snapshot import read_snapshot
from tests.integration.test_fuzzed_files import JUNK, READERS, damaged

GOLDEN = Path(__file__).parent / "golden"
HANG_SECONDS = 20  # of computing: others may use the machine too
TOLD = 20  # inputs of a reader that are neither read nor refused

Files = dict[str, bytes]  # the content of a folder, by name
Read = Callable[[Path], object]  # what is done with that folder


def one_file(data: bytes, read: Read, name: str = "file") -> tuple[Files, Read]:
    """A reader of one file."""
    return {name: data}, lambda folder: read(folder / name)


def records(backend: str) -> Read:
    """Reads all of a database, its records one by one and together."""

    def read(folder: Path) -> None:
        database = open_db(folder, backend)
        try:
            content = [value for _, value in database.records()]
            assert database.count >= 0
            assert len(list(database.keys())) >= 0
        finally:
            database.close()
        raw_records.read(content)
        for value in content:
            datum.array(datum.parse(value, "record"), "record")

    return read


def database(backend: str, folder: Path) -> Files:
    """A database of many small records, so that most of its bytes are not pixels, and one big."""
    pixels = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    with create_db(folder, backend) as writer:
        for number in range(120):
            writer.put(b"%08d_a name" % number, datum.serialized_pixels(pixels, number))
        writer.put(b"big", datum.serialized_pixels(np.zeros((50, 100), np.uint8), 1))
    return contents(folder)


def contents(folder: Path) -> Files:
    """The files of a folder."""
    names = sorted(path.name for path in folder.iterdir())
    return {name: (folder / name).read_bytes() for name in names if not name.startswith("LO")}


def packed_rows(folder: Path) -> bytes:
    """An HDF5 file of datasets in compressed pieces."""
    with h5py.File(folder / "packed", "w") as file:
        values = np.arange(600).reshape(60, 10)
        file.create_dataset("data", data=values, chunks=(7, 10), compression="gzip", shuffle=True)
        file.create_dataset("label", data=values[:, 0], chunks=(7,), fletcher32=True)
    return (folder / "packed").read_bytes()


def make_targets(folder: Path) -> dict[str, tuple[Files, Read]]:
    """All readers, with what they read. folder: to make databases in."""
    formats, made = GOLDEN / "formats", dict[str, tuple[Files, Read]]()
    for name, (source, read, _) in READERS.items():
        good = source if isinstance(source, bytes) else (formats / source).read_bytes()
        made[name] = one_file(good, read, "mean.npy" if name == "mean.npy" else "file")
    state = GOLDEN / "solvers" / "resume_adam_hdf5" / "snap_iter_6.solverstate.h5"
    weights = state.with_name("snap_iter_6.caffemodel.h5")
    made["HDF5 solverstate"] = one_file(state.read_bytes(), read_snapshot)
    made["HDF5 weights of a solver"] = one_file(weights.read_bytes(), weights_file.read_layers)
    made["packed HDF5"] = one_file(
        packed_rows(folder), lambda path: read_rows(path, ["data", "label"], np.dtype("f4"))
    )
    for backend in ("lmdb", "leveldb"):
        made[backend] = database(backend, folder / backend), records(backend)
    made["lmdb of Caffe"] = contents(formats / "db" / "gray_lmdb"), records("lmdb")
    made["leveldb of Caffe"] = contents(formats / "db" / "gray_leveldb"), records("leveldb")
    log_only = contents(formats / "db" / "gray_leveldb_logonly")
    made["leveldb, log only"] = log_only, records("leveldb")
    return made


def spoilt(files: Files, draw: random.Random) -> Files:
    """The files with damage in one of them: in half of the cases its length stays the same, which
    a reader finds out last."""
    name = draw.choice(sorted(files))
    data = bytearray(files[name])
    if draw.random() < 0.5 or not data:
        return {**files, name: damaged(files[name], draw)}
    for _ in range(draw.choice((1, 1, 2, 4))):
        place = draw.randrange(len(data))
        if draw.random() < 0.5:
            data[place] ^= 1 << draw.randrange(8)
        else:
            junk = draw.choice(JUNK)[: len(data) - place][:8]
            data[place : place + len(junk)] = junk
    return {**files, name: bytes(data)}


class Counts:
    """What became of the inputs of one reader, in memory that processes share."""

    NAMES = ("next", "read", "refused", "traceback", "crash", "hang", "kilobytes")

    def __init__(self) -> None:
        self._memory = np.frombuffer(mmap.mmap(-1, 8 * len(self.NAMES)), np.int64)

    def __getitem__(self, name: str) -> int:
        return int(self._memory[self.NAMES.index(name)])

    def __setitem__(self, name: str, count: int) -> None:
        self._memory[self.NAMES.index(name)] = count

    def told(self) -> str:
        crashes = self["crash"]
        return (
            f"{self['next']} inputs: {self['read']} read, {self['refused']} refused, "
            f"{crashes} crashes ({crashes / max(1, self['next']):.2%}), {self['hang']} hangs, "
            f"{self['traceback']} tracebacks; {self['kilobytes'] / 1024:.0f} MB more at most"
        )


def feed(name: str, files: Files, read: Read, counts: Counts, until: int, folder: Path) -> None:
    """Gives a reader its inputs, from the next one on."""
    before = 0
    for number in range(counts["next"], until):
        counts["next"] = number + 1
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for file, data in spoilt(files, random.Random(f"{name} {number}")).items():
            (folder / file).write_bytes(data)
        signal.setitimer(signal.ITIMER_PROF, HANG_SECONDS)
        try:
            read(folder)
            outcome = "read"
        except CaffepyError:
            outcome = "refused"
        except Exception:
            outcome = "traceback"
            if counts[outcome] < TOLD:
                print(f"{name} {number}:\n{traceback.format_exc()}", flush=True)
        counts[outcome] += 1
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        before = before or peak  # after the first input: what libraries take is not its own
        if peak - before > counts["kilobytes"]:
            if peak - before > counts["kilobytes"] + (16 << 10):
                print(f"{name} {number}: {(peak - before) >> 10} MB", flush=True)
            counts["kilobytes"] = peak - before
    signal.setitimer(signal.ITIMER_PROF, 0)


def fuzz(name: str, files: Files, read: Read, inputs: range, folder: Path) -> Counts:
    """Gives a reader its inputs of these numbers, in processes that may end."""
    counts = Counts()
    counts["next"] = inputs.start
    while counts["next"] < inputs.stop:
        child = os.fork()
        if not child:
            status = 1
            try:
                feed(name, files, read, counts, inputs.stop, folder)
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            hung = os.WTERMSIG(status) == signal.SIGPROF
            outcome = "hang" if hung else "crash"
            counts[outcome] += 1
            if hung or counts[outcome] <= TOLD:
                what = signal.Signals(os.WTERMSIG(status)).name
                print(f"{name} {counts['next'] - 1}: {what}", flush=True)
        elif status:
            raise SystemExit(f"{name} {counts['next'] - 1}: the process ended")
    return counts


def main() -> int:
    """Runs it; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", nargs="*", help="by name [default: all]")
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--only", type=int, help="the number of one input")
    given = parser.parse_args()
    shared = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shared) as name:
        targets, failures = make_targets(Path(name)), 0
        first = 0 if given.only is None else given.only
        span = range(first, given.inputs if given.only is None else first + 1)
        for reader in given.readers or targets:
            files, read = targets[reader]
            counts = fuzz(reader, files, read, span, Path(name) / "input")
            print(f"{reader:<26}{counts.told()}", flush=True)
            failures += counts["traceback"] + counts["hang"]
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

"""kill -9 at any moment: a training that is started again until it is done ends as an unbroken one.

Real processes of the command are killed after a random log line and a random further moment, so
that the place does not depend on how fast the machine is.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffepy.engine.snapshot import read_snapshot
from tests.integration.refusals import make_lmdb, record

ROOT = Path(__file__).resolve().parents[2]
MAX_LINES = 60  # of a process's log from when it begins to train until it is killed
MAX_DELAY = 0.004  # seconds after that line
TIMEOUT = 300

NET = """
name: "killed"
layer { name: "images" type: "Data" top: "image" top: "label"
  transform_param { mirror: true scale: 0.02 }
  data_param { source: "lmdb" batch_size: 6 backend: LMDB rand_skip: 9 } }
layer { name: "rows" type: "HDF5Data" top: "row"
  hdf5_data_param { source: "h5.txt" batch_size: 6 shuffle: true } }
layer { name: "flat" type: "Flatten" bottom: "image" top: "flat" }
layer { name: "concat" type: "Concat" bottom: "flat" bottom: "row" top: "all" }
layer { name: "ip1" type: "InnerProduct" bottom: "all" top: "ip1"
  inner_product_param { num_output: 20 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "drop" type: "Dropout" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "accuracy" type: "Accuracy" bottom: "ip2" bottom: "label" top: "accuracy"
  include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.02 momentum: 0.9 weight_decay: 0.001 lr_policy: "multistep"
gamma: 0.5 stepvalue: 40 stepvalue: 90 iter_size: 2 average_loss: 5 display: 1 test_iter: 3
test_interval: 4 random_seed: 7 snapshot_prefix: "s"
"""


@dataclass
class Tally:
    """What happened to the processes of one training.

    amid_writes: kills that left a temporary file.  passed_over: snapshots.
    """

    kills: int = 0
    amid_writes: int = 0
    passed_over: int = 0


def lay_out(folder: Path, solver: str) -> None:
    """The net, its solver and its data."""
    folder.mkdir(parents=True)
    randoms = np.random.default_rng(0)
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER + solver)
    make_lmdb(folder / "lmdb", {f"{at:03}".encode(): record(label=at % 5) for at in range(23)})
    for name, count in (("a", 11), ("b", 14)):
        with h5py.File(folder / f"{name}.h5", "w") as file:
            file["row"] = randoms.standard_normal((count, 8)).astype(np.float32)
    (folder / "h5.txt").write_text("a.h5\nb.h5\n")


def begin(folder: Path, engine: str) -> subprocess.Popen[str]:
    options = ["--snapshot", "auto", "--keep", "3", "--keep-best", "accuracy", "--threads", "1"]
    command = ["-m", "caffepy", "train", "--solver", "solver.prototxt", "--engine", engine]
    return subprocess.Popen(
        [sys.executable, *command, *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(folder: Path, engine: str) -> str:
    """Trains to the end; the log."""
    process = begin(folder, engine)
    _, log = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0, log
    return log


def run_and_kill(folder: Path, engine: str, chance: random.Random) -> tuple[str, bool]:
    """Starts the training and kills it at a random moment. The log, and whether it was done
    before."""
    process = begin(folder, engine)
    assert process.stderr is not None
    log, begun, wanted = "", False, chance.randrange(MAX_LINES)
    for line in process.stderr:
        log += line
        begun = begun or "Starting Optimization" in line
        if begun and wanted == 0:
            break
        wanted -= begun
    until = time.perf_counter() + chance.uniform(0, MAX_DELAY)
    while time.perf_counter() < until:
        pass
    process.kill()
    log += process.stderr.read()
    process.stderr.close()
    status = process.wait()
    assert status in (0, -signal.SIGKILL), log
    return log, status == 0


def numbers(folder: Path) -> dict[str, Any]:
    """Everything in the snapshots of a folder, by file."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("s_iter_*")):
        if path.suffix != ".h5":
            found[path.name] = path.read_bytes()
        elif "solverstate" in path.name:  # HDF5 files hold the time of their making
            state = read_snapshot(path)
            del state.extra["weights_sha256"]
            found[path.name] = vars(state)
        else:
            with h5py.File(path) as file:
                found[path.name] = {
                    f"{layer}/{index}": blob[()]
                    for layer, blobs in file["data"].items()
                    for index, blob in blobs.items()
                }
    return found


def assert_equal(killed: Path, whole: Path) -> None:
    """The same snapshots and best result, and no file more or less."""
    found, expected = numbers(killed), numbers(whole)
    assert found.keys() == expected.keys()
    np.testing.assert_equal(found, expected)
    files, wanted = (sorted(one.name for one in folder.iterdir()) for folder in (killed, whole))
    assert files == wanted
    assert (killed / "s_best.json").read_text() == (whole / "s_best.json").read_text()


def train_amid_kills(folder: Path, solver: str, engine: str, kills: int, seed: int = 0) -> Tally:
    """Kills a training so many times, starting it again each time, and lets it end. Should it end
    sooner, another one begins. Each must end as one that was never killed."""
    killed, whole = folder / "killed", folder / "whole"
    lay_out(killed, solver)
    lay_out(whole, solver)
    finish(whole, engine)
    chance, tally = random.Random(seed), Tally()
    while tally.kills < kills:
        log, done = run_and_kill(killed, engine, chance)
        tally.passed_over += log.count("Passing over")
        if done:
            assert_equal(killed, whole)
            for path in killed.glob("s_*"):
                path.unlink()
        else:
            tally.kills += 1
            tally.amid_writes += any(killed.glob("s_iter_*.part"))
    tally.passed_over += finish(killed, engine).count("Passing over")
    assert_equal(killed, whole)
    return tally


KINDS = [
    ("max_iter: {} snapshot: 1", "auto"),
    ("max_iter: {} snapshot: 3 snapshot_format: HDF5", "numpy"),
]
needs_sigkill = pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")


@needs_sigkill
def test_a_killed_training_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    def train(number: int) -> Tally:
        solver, engine = KINDS[number]
        return train_amid_kills(tmp_path / engine, solver.format((60, 120)[number]), engine, 11)

    with ThreadPoolExecutor() as pool:
        assert [tally.kills for tally in pool.map(train, range(2))] == [11, 11]


@needs_sigkill
@pytest.mark.slow
@pytest.mark.parametrize(("solver", "engine"), KINDS)
def test_a_training_survives_150_kills(solver: str, engine: str, tmp_path: Path) -> None:
    began = time.perf_counter()
    tally = train_amid_kills(tmp_path, solver.format(300), engine, 150, seed=1)
    print(f"\n{engine}: {tally}, {time.perf_counter() - began:.0f} s")
    assert tally.kills == 150

"""LeNet on MNIST, as Caffe trained it."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import lmdb
import numpy as np
import pytest

from caffepy.proto.caffe_pb2 import Datum
from tests.engine.solver.running import Settings, run_solver

ITERATIONS = 100
# How far two runs of Caffe with different BLAS kernels are apart (golden README).
APART = {20: 3.6e-7, 50: 7.8e-5, 100: 2.6e-3}
LAST_BITS = 1e-6


@pytest.mark.slow
def test_lenet_learns_mnist_as_in_caffe(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = shared / "golden" / "solvers" / "lenet_mnist_500"
    for name in ("net.prototxt", "solver.prototxt", "init.caffemodel"):
        shutil.copyfile(case / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    write_databases(shared / "mnist")
    settings = Settings.read("solver.prototxt")
    settings.param.weights.append("init.caffemodel")
    settings.param.max_iter = ITERATIONS
    history = run_solver(settings).history
    expected = json.loads((case / "losses.json").read_text())
    apart = np.abs(
        np.array(list(history.losses.values())) - np.array(expected["loss"][:ITERATIONS])
    )
    for iterations, allowed in APART.items():
        assert apart[:iterations].max() <= allowed + LAST_BITS
    for test, recorded in zip(history.tests, expected["tests"]):  # after 0 and 100 iterations
        assert test.iteration == recorded["iter"]
        assert test.outputs[0].value == pytest.approx(recorded["outputs"][0]["value"], abs=0.002)


def write_databases(folder: Path) -> None:
    """The two databases that the net reads, as the golden README describes them."""

    def content(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8)[header:]

    images = content("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    labels = content("t10k-labels-idx1-ubyte.gz", 8)
    for name, rows in (("train", range(8000)), ("test", range(8000, 10000))):
        database = lmdb.open(f"mnist_{name}_lmdb", map_size=1 << 28)
        with database.begin(write=True) as transaction:
            for key, row in enumerate(rows):
                datum = Datum(channels=1, height=28, width=28, label=int(labels[row]))
                datum.data = images[row].tobytes()
                transaction.put(b"%08d" % key, datum.SerializeToString())
        database.close()

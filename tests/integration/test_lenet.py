"""LeNet: on MNIST as Caffe trained it, and equal on every engine."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.select import make_ops
from caffepy.models.digits.data import write_lmdbs
from caffepy.tools import compute_image_mean, convert_mnist
from tests.engine.solver.running import Run, Settings, run_solver
from tests.padded_ops import PaddedOps

MODELS = Path(__file__).resolve().parents[2] / "models"
# How far from Caffe's losses, over how many iterations. A second run of Caffe with another BLAS was
# 3.6e-7, 7.8e-5, 2.6e-3 and 8.5e-3 away over 20, 50, 100 and 500 (golden README).
LOSS_TOLERANCE = {20: 1e-5, 50: 5e-4, 500: 0.02}
ACCURACY_TOLERANCE = 0.005
ENGINE_TOLERANCE = 1e-5  # between engines, over 20 iterations


def engine(name: str) -> Ops:
    try:
        return make_ops(name)
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.fixture
def mnist(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recorded case; the working directory has its files and databases."""
    case = shared / "golden" / "solvers" / "lenet_mnist_500"
    for name in ("net.prototxt", "solver.prototxt", "init.caffemodel"):
        shutil.copyfile(case / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    images, labels = sorted(str(path) for path in (shared / "mnist").glob("*.gz"))
    convert_mnist.run(images, labels, "mnist_train_lmdb", count=8000)
    convert_mnist.run(images, labels, "mnist_test_lmdb", start=8000)
    return case


def train_on_mnist(ops: Ops, iterations: int) -> Run:
    settings = Settings.read("solver.prototxt")
    settings.param.weights.append("init.caffemodel")
    settings.param.max_iter = iterations
    settings.param.test_initialization = iterations > 20
    return run_solver(settings, ops=ops)


def largest_deviation(run: Run, case: Path, iterations: int) -> float:
    expected = json.loads((case / "losses.json").read_text())["loss"][:iterations]
    found = [run.history.losses[iteration] for iteration in range(iterations)]
    return float(np.abs(np.subtract(found, expected)).max())


@pytest.mark.parametrize("name", ["numpy", "onednn"])
def test_the_first_losses_on_mnist_are_caffes(name: str, mnist: Path) -> None:
    run = train_on_mnist(engine(name), 20)
    assert largest_deviation(run, mnist, 20) <= LOSS_TOLERANCE[20]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["numpy", "onednn"])
def test_500_iterations_on_mnist_are_caffes(name: str, mnist: Path) -> None:
    run = train_on_mnist(engine(name), 500)
    found = {count: largest_deviation(run, mnist, count) for count in LOSS_TOLERANCE}
    accuracy = run.history.tests[-1].outputs[0].value
    print(f"\n{name}: largest deviations {found}, accuracy {accuracy}")
    assert all(found[count] <= allowed for count, allowed in LOSS_TOLERANCE.items())
    expected = json.loads((mnist / "losses.json").read_text())["tests"][-1]["outputs"][0]["value"]
    assert accuracy == pytest.approx(expected, abs=ACCURACY_TOLERANCE)


def test_every_engine_trains_to_the_same_losses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("train_val.prototxt", "solver.prototxt"):
        shutil.copyfile(MODELS / "digits" / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    write_lmdbs(tmp_path)
    compute_image_mean.run("train_lmdb", "mean.binaryproto")
    losses = {}
    for ops in (NumpyOps(), PaddedOps(), engine("onednn")):
        settings = Settings.read("solver.prototxt")
        settings.param.max_iter = 20
        settings.param.test_initialization = False
        history = run_solver(settings, ops=ops).history
        losses[ops.name] = np.array(list(history.losses.values()))
    assert losses["numpy"][-1] < 0.8 * losses["numpy"][0]
    for name, found in losses.items():
        np.testing.assert_allclose(
            found, losses["numpy"], rtol=0, atol=ENGINE_TOLERANCE, err_msg=name
        )

"""The siamese net on pairs of the embedded digits."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.data import idx
from caffepy.engine.data.db import open_db
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.models.digits import data
from caffepy.models.mnist_siamese import run
from caffepy.models.mnist_siamese.embedding import draw, features
from caffepy.tools import convert_mnist
from caffepy.tools.convert_mnist import Pairs

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's files, the digits in MNIST's format, and databases of pairs."""
    path = tmp_path_factory.mktemp("siamese")
    for name in run.FILES:
        source = resources.files("caffepy.models.mnist_siamese").joinpath(name)
        (path / name).write_bytes(source.read_bytes())
    small = (path / "train_val.prototxt").read_text().replace("batch_size: 64", "batch_size: 16")
    (path / "train_val.prototxt").write_text(small)
    data.write_idx(path)
    for part, pairs in (("train", 3000), ("test", 300)):
        names = [str(path / f"{part}{end}") for end in ("-images.idx3", "-labels.idx1", "_lmdb")]
        convert_mnist.run(*names, pairs=Pairs(pairs, 0.5))
    return path


def test_no_digit_of_the_test_pairs_is_one_of_training(folder: Path) -> None:
    sizes = []
    seen: list[set[bytes]] = []
    for part in ("train", "test"):
        images = idx.read(folder / f"{part}-images.idx3", idx.IMAGE_MAGIC)
        labels = idx.read(folder / f"{part}-labels.idx1", idx.LABEL_MAGIC)
        np.testing.assert_array_equal(images, data.split()[part][0])
        np.testing.assert_array_equal(labels, data.split()[part][1])
        sizes.append(images.shape)
        seen.append({image.tobytes() for image in images})
    assert sizes == [(1437, 28, 28), (360, 28, 28)]
    assert not seen[0] & seen[1]
    database = open_db(folder / "test_lmdb", "lmdb")
    assert database.count == 300
    database.close()


def test_the_towers_have_one_set_of_weights_and_learn(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the deploy net takes the first tower's weights."""
    monkeypatch.chdir(folder)
    settings = Settings.read("solver.prototxt")
    settings.param.max_iter = 30
    settings.param.test_initialization = False
    settings.param.test_iter[0] = 1
    settings.param.snapshot_prefix = str(tmp_path / "siamese")
    solver = Solver(settings, ops=NumpyOps(), registry=LAYERS)
    net = solver.net
    assert len(net.parameters.learnable) == 8
    solver.solve()
    layers = {layer.name: layer for layer in net.layers}
    for name in ("conv1", "conv2", "ip1", "feat"):
        for one, other in zip(layers[name].blobs, layers[f"{name}_p"].blobs, strict=True):
            np.testing.assert_array_equal(one.data.read(), other.data.read())
    test = solver.test_nets[0]
    test.forward()
    assert float(test.blobs["loss"].data.read()) < 0.6, "it was 0.9"
    images = data.split()["test"][0][:7]
    points = features(folder / "deploy.prototxt", tmp_path / "siamese_iter_30.caffemodel", images)
    assert points.shape == (7, 2)
    pairs = test.blobs["data"].data.read()
    again = features(
        folder / "deploy.prototxt", tmp_path / "siamese_iter_30.caffemodel", pairs[:, 0] * 256
    )
    np.testing.assert_allclose(again, test.blobs["feat"].data.read(), rtol=1e-3, atol=1e-5)
    for each in (net, test):
        each.close()


def test_the_picture_of_points_is_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    points = np.random.default_rng(0).random((20, 2))
    draw(points, np.arange(20) % 10, tmp_path / "points.png")
    assert (tmp_path / "points.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_job_reaches_its_accuracy_and_runs_again(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    command = [sys.executable, "-m", "caffepy.models.mnist_siamese.run", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    assert "Test accuracy: 0.9" in done.stdout
    for name in ("curves.png", "points.png", "siamese_iter_3000.caffemodel"):
        assert (tmp_path / "out" / name).stat().st_size
    run.job(tmp_path / "out").begin()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(run.FILES)

"""The embedded digits and their net."""

from __future__ import annotations

from collections import Counter
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.data import datum
from caffepy.engine.data.db import open_db
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.models.digits import data, run
from caffepy.tools import compute_image_mean


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The databases."""
    path = tmp_path_factory.mktemp("digits")
    data.write_lmdbs(path)
    return path


def test_there_are_1797_digits() -> None:
    images, labels = data.load()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == labels.dtype == np.uint8
    assert images.max() == 16
    assert list(labels[:10]) == list(range(10))
    assert np.bincount(labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert images[0].tolist()[0] == [0, 0, 5, 13, 9, 1, 0, 0]


def test_the_databases_hold_every_digit_once(folder: Path) -> None:
    labels: dict[str, list[int]] = {}
    for name in ("train_lmdb", "test_lmdb"):
        database = open_db(folder / name, "lmdb")
        records = [datum.parse(value, name) for _, value in database.records()]
        images = np.stack([datum.array(record, name) for record in records])
        assert images.shape == (database.count, 1, 28, 28)
        assert images.max() == 255
        labels[name] = [record.label for record in records]
        database.close()
    assert [len(part) for part in labels.values()] == [1437, 360]
    assert Counter(labels["train_lmdb"] + labels["test_lmdb"]) == Counter(data.load()[1].tolist())
    assert min(Counter(labels["test_lmdb"]).values()) >= 25


def test_the_net_learns_in_a_few_iterations(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("train_val.prototxt", "solver.prototxt"):
        source = resources.files("caffepy.models.digits").joinpath(name)
        (folder / name).write_bytes(source.read_bytes())
    monkeypatch.chdir(folder)
    compute_image_mean.run("train_lmdb", "mean.binaryproto")
    settings = Settings.read("solver.prototxt")
    settings.param.max_iter = 60
    settings.param.test_initialization = False
    settings.param.snapshot_after_train = False
    solver = Solver(settings, ops=NumpyOps(), registry=LAYERS)
    solver.solve()
    net = solver.test_nets[0]
    accuracy = 0.0
    for _ in range(4):
        net.forward()
        accuracy += float(net.blobs["accuracy"].data.read()) / 4
    for each in (solver.net, net):
        for layer in each.layers:
            layer.close()
    assert accuracy > 0.9


def test_a_run_replaces_what_an_earlier_one_left_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Begun(Exception):
        """The old folder is gone."""

    def begin(folder: Path) -> None:
        raise Begun

    monkeypatch.setattr(run, "write_lmdbs", begin)
    project = tmp_path / "project"
    project.mkdir()
    (project / "train_val.prototxt").write_text('name: "mine"')
    with pytest.raises(SystemExit, match="holds other things than a run leaves"):
        run.main(project)
    digits = tmp_path / "digits"
    with pytest.raises(Begun):
        run.main(digits)
    for name in ("digits_iter_1.caffemodel", "digits_resolved_train.prototxt", "metrics.jsonl"):
        (digits / name).touch()
    with pytest.raises(Begun):
        run.main(digits)
    assert sorted(path.name for path in digits.iterdir()) == sorted(run.FILES)
    (digits / "notes.txt").touch()
    with pytest.raises(SystemExit, match="holds other things than a run leaves"):
        run.main(digits)
    assert (digits / "notes.txt").exists()
    assert (project / "train_val.prototxt").exists()

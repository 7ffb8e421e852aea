"""convert_cifar: CIFAR's binary files into databases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import DataError
from caffepy.engine.data import datum
from caffepy.engine.data.db import open_db
from caffepy.tools.convert_cifar import command, run

PER_FILE = 7


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    """CIFAR-10's and CIFAR-100's files, of 7 images each."""
    rng = np.random.default_rng(0)
    for name in (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"):
        rows = rng.integers(0, 256, (PER_FILE, 3073), np.uint8)
        rows[:, 0] %= 10
        rows.tofile(tmp_path / f"{name}.bin")
    for name in ("train", "test"):
        rng.integers(0, 256, (PER_FILE, 3074), np.uint8).tofile(tmp_path / f"{name}.bin")
    return tmp_path


def records(path: Path, backend: str = "lmdb") -> dict[str, bytes]:
    database = open_db(path, backend)
    found = {key.decode(): value for key, value in database.records()}
    database.close()
    return found


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_keys_pixels_labels_and_lines_are_caffes(
    cifar: Path, backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="caffepy")
    done = CliRunner().invoke(command, [str(cifar), str(cifar), backend], catch_exceptions=False)
    assert done.exit_code == 0
    train = cifar / f"cifar10_train_{backend}"
    assert caplog.messages == [
        f"Opened {backend} {train}",
        "Writing Training data",
        *(f"Training Batch {number}" for number in range(1, 6)),
        "Writing Testing data",
        f"Opened {backend} {cifar / f'cifar10_test_{backend}'}",
    ]
    found = records(train, backend)
    assert list(found) == [f"{number:05d}" for number in range(5 * PER_FILE)]
    row = np.fromfile(cifar / "data_batch_2.bin", np.uint8).reshape(PER_FILE, -1)[3]
    record = datum.parse(found[f"{PER_FILE + 3:05d}"], "test")
    fields = [field.name for field, _ in record.ListFields()]
    assert fields == ["channels", "height", "width", "data", "label"]
    assert (record.label, record.data) == (row[0], row[1:].tobytes())
    assert len(records(cifar / f"cifar10_test_{backend}", backend)) == PER_FILE


@pytest.mark.parametrize(("which", "name", "label"), [("fine", "", 1), ("coarse", "_coarse", 0)])
def test_cifar_100_has_two_labels(cifar: Path, which: str, name: str, label: int) -> None:
    assert run(str(cifar), str(cifar), data_set=f"100-{which}") == (PER_FILE, PER_FILE)
    row = np.fromfile(cifar / "test.bin", np.uint8).reshape(PER_FILE, -1)[0]
    record = datum.parse(records(cifar / f"cifar100{name}_test_lmdb")["00000"], "test")
    assert (record.label, record.data) == (row[label], row[2:].tobytes())


def test_what_is_no_cifar_is_refused_before_anything_is_written(cifar: Path) -> None:
    (cifar / "test_batch.bin").rename(cifar / "test_batch")
    with pytest.raises(DataError, match=r"test_batch\.bin: .*got the Python version"):
        run(str(cifar), str(cifar))
    (cifar / "test_batch").unlink()
    with pytest.raises(DataError, match=r"test_batch\.bin: .*got no such file"):
        run(str(cifar), str(cifar))
    (cifar / "test_batch.bin").write_bytes(bytes(5000))
    with pytest.raises(DataError, match="expected records of 3073 bytes each, got 5000 bytes"):
        run(str(cifar), str(cifar))
    (cifar / "train.bin").write_bytes(bytes(10))
    with pytest.raises(DataError, match="expected records of 3074 bytes"):
        run(str(cifar), str(cifar), data_set="100-fine")
    assert not list(cifar.glob("cifar10*"))

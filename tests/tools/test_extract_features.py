"""extract_features, against what Caffe's tool wrote and logged."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from caffepy.engine.data import datum
from caffepy.engine.data.db import open_db
from caffepy.tools import cli

RTOL = 1e-5  # sums in another order


@pytest.fixture
def case(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The recorded net with its data, in a folder of its own, which is the working directory."""
    formats = golden / "formats"
    (tmp_path / "features").mkdir()
    for name in ("net.caffemodel", "net.prototxt", "features.npz", "features.json"):
        shutil.copy(formats / "features" / name, tmp_path / "features" / name)
    shutil.copytree(formats / "db" / "gray_lmdb", tmp_path / "db" / "gray_lmdb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def extract(*arguments: str, blobs: str = "fc,prob,pool") -> int:
    files = "features/net.caffemodel", "features/net.prototxt"
    return cli._run(["extract_features", *files, blobs, *arguments], debug=False)


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_databases_and_lines_are_caffes(
    case: Path, backend: str, capsys: pytest.CaptureFixture[str], log_as_before: None
) -> None:
    listed = json.loads(Path("features/features.json").read_text())
    arguments = [backend if word == "lmdb" else word for word in listed["command"]]
    assert cli._run(arguments, debug=False) == 0
    log = capsys.readouterr().err
    with np.load("features/features.npz") as wanted:
        for name, records in listed["databases"].items():
            database = open_db(f"features/{name}_lmdb", backend)
            found = {key.decode(): datum.parse(value, "") for key, value in database.records()}
            database.close()
            assert list(found) == [record["key"] for record in records]
            for record, expected in zip(found.values(), records, strict=True):
                shape = record.channels, record.height, record.width
                assert shape == tuple(expected[part] for part in ("channels", "height", "width"))
                assert [field.name for field, _ in record.ListFields()] == expected["has_fields"]
            rows = np.stack([datum.array(record, "") for record in found.values()])
            np.testing.assert_allclose(rows.reshape(wanted[name].shape), wanted[name], RTOL, 1e-6)
    mine, theirs = (
        [
            (line[0], line.split("] ", 1)[1])
            for line in log.splitlines()
            if re.match(r"[IE]\d", line)
        ]
        for log in (log, listed["stderr"].replace("lmdb f", f"{backend} f"))
    )
    tail = theirs[theirs.index(("I", "Opening dataset features/fc_lmdb")) :]
    assert mine[-len(tail) :] == tail
    assert ("E", "Using CPU") in mine


@pytest.mark.parametrize(("kind", "places"), [("hdf5", "f.h5"), ("npz", "f.npz")])
def test_one_file_holds_all_blobs(case: Path, kind: str, places: str, log_as_before: None) -> None:
    assert extract(places, "3", kind, "CPU") == 0
    with np.load("features/features.npz") as wanted:
        file = h5py.File(places) if kind == "hdf5" else np.load(places)
        with file:
            assert sorted(file) == ["fc", "pool", "prob"]
            for name in file:
                np.testing.assert_allclose(file[name][()], wanted[name], RTOL, 1e-6)


def test_every_blob_may_have_its_own_file(case: Path, log_as_before: None) -> None:
    assert extract("a.npz,b.npz", "2", "npz", blobs="label,fc") == 0
    with np.load("a.npz") as labels, np.load("b.npz") as features:
        assert list(labels) == ["label"]
        assert labels["label"].shape == (10,)
        assert features["fc"].shape == (10, 6)


@pytest.mark.parametrize(
    ("arguments", "blobs", "message"),
    [
        (("a,b", "1", "lmdb"), "fc,prb", "blob 'prb': expected one of net .* Did you mean 'prob'"),
        (("a,b", "1", "lmdb"), "fc,zz", "It has data, label, conv, pool, fc, prob"),
        (("a", "1", "lmdb"), "fc,prob", "expected 2, one for each blob, got 1"),
        (("a,a", "1", "lmdb"), "fc,prob", "expected names that differ, got 'a,a'"),
        (("a", "1", "parquet"), "fc", "expected one of lmdb, leveldb, hdf5, npz, got 'parquet'"),
        (("db/gray_lmdb", "1", "lmdb"), "fc", "got one that exists"),
        (("none/f.h5", "1", "hdf5"), "fc", "none/f.h5: cannot be written"),
        ((".", "1", "hdf5"), "fc", "expected a file, got a folder"),
        (("none/f.npz", "1", "npz"), "fc", "none/f.npz: cannot be written"),
        (("f", "1", "lmdb", "GPU", "0"), "fc", "--gpu 0|GPU"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    case: Path,
    arguments: tuple[str, ...],
    blobs: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    log_as_before: None,
) -> None:
    assert extract(*arguments, blobs=blobs) == 1
    assert re.search(message, capsys.readouterr().err)
    assert sorted(path.name for path in case.iterdir()) == ["db", "features"]


@pytest.mark.parametrize("arguments", [("a", "0", "lmdb"), ("a", "x", "lmdb"), ("a", "1")])
def test_a_wrong_command_line_ends_with_status_2(
    case: Path, arguments: tuple[str, ...], log_as_before: None
) -> None:
    assert extract(*arguments, blobs="fc") == 2

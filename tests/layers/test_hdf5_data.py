"""HDF5Data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.ops.base import Ops
from tests.data_cases import run_batches
from tests.harness import LayerRun, make_layer

CASES = ("hdf5_all", "hdf5_big_batch", "hdf5_two_tops")


def write_files(folder: Path, *files: dict[str, Any]) -> None:
    """0.h5, 1.h5, ... with the given datasets, and list.txt."""
    for index, datasets in enumerate(files):
        with h5py.File(folder / f"{index}.h5", "w") as file:
            for name, array in datasets.items():
                file[name] = array
    (folder / "list.txt").write_text("\n".join(f"{i}.h5" for i in range(len(files))) + "\n\n")


def rows(*counts: int, dtype: Any = np.float32) -> list[dict[str, Any]]:
    """Files whose dataset 'x' numbers all rows from 0 on."""
    ends = np.cumsum(counts)
    return [
        {"x": np.arange(end - n, end, dtype=dtype)} for n, end in zip(counts, ends, strict=True)
    ]


def layer(
    folder: Path, options: str = "batch_size: 2", tops: str = 'top: "x"', **kw: Any
) -> LayerRun:
    param = f'type: "HDF5Data" {tops} hdf5_data_param {{ source: "list.txt" {options} }}'
    return make_layer(param, [], folders=(folder,), **kw)


def batches(run: LayerRun, count: int) -> list[float]:
    return [float(x) for _ in range(count) for x in run.forward()[0].reshape(-1)]


@pytest.mark.parametrize("case", CASES)
def test_equals_caffe(case: str, ops: Ops, golden: Path) -> None:
    run_batches(golden / "formats", case, ops)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8, ">i8"])
def test_every_numeric_type_is_read(tmp_path: Path, dtype: Any) -> None:
    write_files(tmp_path, *rows(3, dtype=dtype))
    assert batches(layer(tmp_path), 2) == [0, 1, 2, 0]


def test_a_dataset_in_a_group_and_of_many_axes(tmp_path: Path) -> None:
    array = np.random.default_rng(0).random((3, 1, 2, 1, 2, 1))
    write_files(tmp_path, {"group/x": array})
    run = layer(tmp_path, tops='top: "group/x"')
    np.testing.assert_array_equal(run.forward()[0], array[:2].astype(np.float32))


def test_shuffling_takes_every_row_once_an_epoch_in_changing_order(tmp_path: Path) -> None:
    write_files(tmp_path, *rows(5, 3, 4))
    run = layer(tmp_path, "batch_size: 4 shuffle: true")
    epochs = [batches(run, 3) for _ in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    file_orders = {tuple(dict.fromkeys(np.digitize(epoch, [5, 8]))) for epoch in epochs}
    assert len(file_orders) > 1
    assert all(len(order) == 3 for order in file_orders), "files are not mixed"
    again = layer(tmp_path, "batch_size: 4 shuffle: true")
    assert [batches(again, 3) for _ in range(4)] == epochs
    other = layer(tmp_path, "batch_size: 4 shuffle: true", seed=2)
    assert [batches(other, 3) for _ in range(4)] != epochs


@pytest.mark.parametrize("shuffle", ["false", "true"])
def test_resume_goes_on_where_it_was(tmp_path: Path, shuffle: str) -> None:
    write_files(tmp_path, *rows(5, 3, 4))
    options = f"batch_size: 5 shuffle: {shuffle}"
    straight, first, second = (layer(tmp_path, options) for _ in range(3))
    for passes in range(6):
        second.layer.restore(first.layer.state())
        assert batches(second, 1) == batches(straight, 1) == batches(first, 1), passes
    assert first.layer.state()["sample"] == 30


def test_a_snapshot_that_does_not_fit_the_files_is_refused(tmp_path: Path) -> None:
    write_files(tmp_path, *rows(3))
    run = layer(tmp_path)
    for state in ({"file": 1, "row": 0}, {"file": 0, "row": 4}):
        with pytest.raises(DataError, match="Resume with the files"):
            run.layer.restore({"sample": 0, "epoch": 0, **state})


def test_paths_are_looked_for_in_the_working_directory_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, start in (("here", 0), ("there", 10)):
        (tmp_path / name).mkdir()
        write_files(tmp_path / name, {"x": np.arange(start, start + 2.0)})
    monkeypatch.chdir(tmp_path / "here")
    param = 'type: "HDF5Data" top: "x" hdf5_data_param { source: "list.txt" batch_size: 2 }'
    folders = (Path(), tmp_path / "there")
    assert batches(make_layer(param, [], folders=folders), 1) == [0, 1]
    (tmp_path / "here" / "list.txt").unlink()
    assert batches(make_layer(param, [], folders=folders), 1) == [0, 1]
    (tmp_path / "here" / "0.h5").unlink()
    assert batches(make_layer(param, [], folders=folders), 1) == [10, 11]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([{"y": np.ones(2)}], r"0\.h5: expected a dataset 'x', got 'y'\. Name"),
        ([{"x/y": np.ones(2)}], r"0\.h5: expected a dataset 'x', got 'x'"),
        (
            [{"x": np.ones(0)}],
            r"dataset 'x': expected at least one axis.*got shape \(0,\)",
        ),
        ([{"x": 1.0}], r"got shape \(\)"),
        ([{"x": [b"a", b"b"]}], r"dataset 'x': expected floats or integers, got object"),
        ([{"x": h5py.Empty("f")}], r"got shape None"),
        ([], "expected at least one HDF5 file in"),
    ],
)
def test_unfit_files_are_named(tmp_path: Path, files: list[dict[str, Any]], message: str) -> None:
    write_files(tmp_path, *files)
    with pytest.raises(DataError, match=message):
        layer(tmp_path)


def test_datasets_of_different_lengths_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, {"x": np.ones(3), "y": np.ones(2)})
    with pytest.raises(DataError, match=r"0\.h5: dataset 'y': expected 3 rows, as 'x' has, got 2"):
        layer(tmp_path, tops='top: "x" top: "y"')


def test_a_later_file_of_another_shape_is_named(tmp_path: Path) -> None:
    write_files(tmp_path, {"x": np.ones((2, 3))}, {"x": np.ones((2, 4))})
    run = layer(tmp_path)
    run.forward()
    with pytest.raises(DataError, match=r"1\.h5', dataset 'x': expected rows of shape \(3,\)"):
        run.layer.forward(run.bottom, run.top)


def test_a_file_that_went_away_is_asked_for_again_in_each_pass(tmp_path: Path) -> None:
    write_files(tmp_path, *rows(2, 2))
    run = layer(tmp_path)
    assert batches(run, 1) == [0, 1]
    (tmp_path / "1.h5").rename(tmp_path / "away.h5")
    for _ in range(2):
        with pytest.raises(DataError, match=r"line 2: expected an existing file.*'1\.h5'"):
            run.layer.forward(run.bottom, run.top)
    (tmp_path / "away.h5").rename(tmp_path / "1.h5")
    assert batches(run, 2) == [2, 3, 0, 1]


def test_missing_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"hdf5_data_param.source: expected an existing file.*list\.txt"
    ):
        layer(tmp_path)
    (tmp_path / "list.txt").write_text("\nnone.h5\n")
    with pytest.raises(
        DataError, match=r"list\.txt', line 2: expected an existing file.*'none\.h5'"
    ):
        layer(tmp_path)
    (tmp_path / "none.h5").write_text("not HDF5")
    with pytest.raises(DataError, match=r"none\.h5: expected an HDF5 file"):
        layer(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="expected a text file with one path a line"):
        layer(tmp_path)
    (tmp_path / "list.txt").write_bytes(b"a" * 5000 + b".h5\r\n")
    with pytest.raises(DataError, match=r"list\.txt', line 1: expected an existing file"):
        layer(tmp_path)


def test_names_need_be_no_utf8(tmp_path: Path) -> None:
    write_files(tmp_path, *rows(3))
    name = os.fsdecode(b"caf\xe9.h5")
    try:
        (tmp_path / "0.h5").rename(tmp_path / name)
    except OSError as error:
        pytest.skip(f"the file system takes no such names: {error}")
    (tmp_path / "list.txt").write_bytes(b"\r\ncaf\xe9.h5 \r\n")
    assert batches(layer(tmp_path), 1) == [0, 1]


def test_parameters_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    write_files(tmp_path, *rows(3))
    with pytest.raises(NetError, match="batch_size: expected at least 1, got 0"):
        layer(tmp_path, "")
    with pytest.raises(NetError, match="HDF5Data does not transform"):
        layer(tmp_path, tops='top: "x" transform_param { scale: 2 }')

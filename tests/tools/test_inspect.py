"""inspect: what is inside files and databases."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.data import datum
from caffepy.engine.data.db import create_db
from caffepy.engine.snapshot import Snapshot, write_snapshot
from caffepy.proto.caffe_pb2 import AnnotatedDatum, BlobProto, BlobShape
from caffepy.proto.wire import header
from caffepy.tools.array_statistics import ASCII_BARS, BINS, measure
from caffepy.tools.inspect_file import command


def told(*arguments: str | Path) -> Any:
    """What `inspect --json` prints."""
    words = [*map(str, arguments), "--json"]
    done = CliRunner().invoke(command, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def shown(*arguments: str | Path) -> str:
    return CliRunner().invoke(command, [*map(str, arguments)], catch_exceptions=False).stdout


def by_name(content: Any) -> dict[str, Any]:
    return {array["name"]: array for array in content["arrays"]}


@pytest.mark.parametrize("threshold", [1 << 20, 7])
def test_the_numbers_are_numpys(threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffepy.tools.array_statistics.BLOCK", threshold)
    arrays = [*np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)]
    arrays[1][0, :2] = 0
    found = measure(lambda: arrays)
    whole = np.stack(arrays).astype(float)
    assert (found.count, found.zeros, found.not_finite) == (60, 2, 0)
    assert (found.minimum, found.maximum) == (whole.min(), whole.max())
    assert (found.mean, found.std) == pytest.approx((whole.mean(), whole.std()))
    assert found.histogram == np.histogram(whole, BINS)[0].tolist()
    assert len(found.bars(ASCII_BARS)) == BINS


def test_the_largest_and_the_smallest_numbers_have_a_histogram() -> None:
    largest = np.finfo(np.float64).max
    found = measure(lambda: [np.array([-largest, 0, largest])])
    assert found.histogram == [1, *[0] * (BINS // 2 - 1), 1, *[0] * (BINS // 2 - 2), 1]
    found = measure(lambda: [np.array([0, 5e-324])])
    assert sum(found.histogram) == 2


def test_nan_and_inf_are_counted_apart() -> None:
    found = measure(lambda: [np.array([1.0, math.nan, math.inf, 3.0])])
    assert (found.not_finite, found.minimum, found.maximum, found.mean) == (2, 1, 3, 2)
    nothing = measure(lambda: [np.full(3, math.nan)])
    assert nothing.plain()["mean"] is None
    assert nothing.bars() == " " * BINS
    assert measure(lambda: [np.ones(5)]).histogram[0] == 5


@pytest.mark.parametrize("name", ["net.caffemodel", "net.caffemodel.h5"])
def test_weights(golden: Path, name: str) -> None:
    folder = golden / "formats" / "models"
    content = told(folder / name)
    assert content["layers"] == 8
    with np.load(folder / "net_expected.npz") as wanted:
        for array in content["arrays"]:
            layer, index = array["name"][:-1].split("[")
            expected = wanted[f"param_{layer}_{index}"].astype(float)
            assert tuple(array["shape"]) == expected.shape
            assert array["dtype"] == "float32"
            assert array["statistics"]["mean"] == pytest.approx(expected.mean(), abs=1e-7)
    if name == "net.caffemodel":
        assert by_name(content)["conv[0]"]["kind"] == "Convolution"
        assert content["parameters"] == sum(
            array["statistics"]["count"] for array in content["arrays"]
        )


@pytest.mark.parametrize(
    ("case", "name"),
    [("formats/cli", "snap_iter_3.solverstate"), ("solvers/resume_adam_hdf5", "*.solverstate.h5")],
)
def test_solver_states(shared: Path, case: str, name: str) -> None:
    path = next((shared / "golden" / case).glob(name))
    content = told(path)
    assert content["kind"] == "solver state"
    assert content["iteration"] > 0
    assert content["learned_net"].startswith("snap")
    assert content["arrays"][0]["name"] == "history[0]"


def test_our_own_solver_states_and_means_of_the_new_form(tmp_path: Path) -> None:
    history = [np.ones((2, 3), np.float32)]
    state = Snapshot(1000, "net.caffemodel", 0, history, extra={"seed": 1})
    for name, hdf5 in (("s.solverstate", False), ("s.solverstate.h5", True)):
        write_snapshot(state, tmp_path / name, hdf5=hdf5)
        content = told(tmp_path / name)
        assert (content["kind"], content["iteration"]) == ("solver state", 1000)
        assert content["caffepy's notes for exact resume"] == "yes"
    blob = BlobProto(data=[1, 2, 3], shape=BlobShape(dim=[1, 3]))
    (tmp_path / "blob").write_bytes(blob.SerializeToString())
    assert told(tmp_path / "blob")["arrays"][0]["shape"] == [1, 3]


def test_means(golden: Path) -> None:
    formats = golden / "formats"
    content = told(formats / "mean_gray_lmdb.binaryproto")
    assert content["kind"] == "mean or blob (BlobProto)"
    (array,) = content["arrays"]
    with np.load(formats / "means.npz") as means:
        expected = means["mean_gray_lmdb.binaryproto"].astype(float)
    assert array["statistics"]["mean"] == pytest.approx(expected.mean())
    assert array["shape"] == [1, 1, 28, 28]


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_databases(golden: Path, tmp_path: Path, backend: str) -> None:
    source = golden / "formats" / "db" / f"gray_{backend}"
    content = told(shutil.copytree(source, tmp_path / "db"))
    assert content["kind"] == f"database ({backend})"
    assert (content["records"], content["looked at"]) == (20, 20)
    assert (content["first key"], content["last key"]) == (
        "00000000_digit_00.png",
        "00000019_digit_19.png",
    )
    assert content["Datum"] == {"raw": 20}
    assert content["shapes"] == {"1 x 28 x 28": 20}
    assert sum(content["labels"].values()) == 20
    assert content["arrays"][0]["statistics"]["mean"] == pytest.approx(30.3897, abs=1e-3)
    some = told(tmp_path / "db", "--records", "3")
    assert (some["records"], some["looked at"], some["Datum"]) == (20, 3, {"raw": 3})


def test_databases_of_image_files_and_of_floats(golden: Path, tmp_path: Path) -> None:
    formats = golden / "formats"
    assert told(formats / "db" / "encoded_auto_lmdb")["Datum"] == {"image file": 20}
    with create_db(tmp_path / "db", "lmdb") as writer:
        for width in (2, 3):
            record = datum.raw(np.zeros((1, 1, width)), width)
            writer.put(b"%d" % width, record.SerializeToString())
    content = told(tmp_path / "db")
    assert content["Datum"] == {"floats": 2}
    assert content["shapes"] == {"1 x 1 x 2": 1, "1 x 1 x 3": 1}
    assert content["labels"] == {"2": 1, "3": 1}


def test_annotated_images_and_other_records(tmp_path: Path) -> None:
    inner = datum.raw(np.ones((3, 2, 2), np.uint8), 0)
    annotated = AnnotatedDatum(datum=inner).SerializeToString()
    for name, value in (("annotated", annotated), ("other", b"\xff no message")):
        with create_db(tmp_path / name, "lmdb") as writer:
            writer.put(b"0", value)
    assert told(tmp_path / "annotated")["Datum"] == {"annotated image": 1}
    assert "expected a Datum message" in told(tmp_path / "other")["no Datum"]


def test_boxes_of_annotated_images_are_counted(tmp_path: Path) -> None:
    inner = datum.raw(np.ones((3, 2, 2), np.uint8), -1)
    bare = AnnotatedDatum(datum=inner, type=AnnotatedDatum.BBOX)
    full = AnnotatedDatum(datum=inner, type=AnnotatedDatum.BBOX)
    for label, boxes in ((1, 2), (3, 1)):
        group = full.annotation_group.add(group_label=label)
        for number in range(boxes):
            group.annotation.add().bbox.difficult = number > 0
    with create_db(tmp_path / "db", "lmdb") as writer:
        for key, record in enumerate((bare, full, full)):
            writer.put(b"%d" % key, record.SerializeToString())
    content = told(tmp_path / "db")
    assert content["boxes"] == 6
    assert content["labels of boxes"] == {"1": 4, "3": 2}
    assert content["difficult boxes"] == 2
    assert content["images without boxes"] == 1


def test_hdf5_data(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("caffepy.tools.file_content._SLICE_BYTES", 100)
    path = golden / "formats" / "hdf5" / "part0.h5"
    arrays = by_name(told(path))
    with h5py.File(path) as file:
        assert sorted(arrays) == sorted(file)
        for name, array in arrays.items():
            values = file[name][()].astype(float)
            assert array["shape"] == list(values.shape)
            assert array["statistics"]["mean"] == pytest.approx(values.mean())
            assert array["statistics"]["histogram"] == np.histogram(values, BINS)[0].tolist()
    with h5py.File(tmp_path / "mixed.h5", "w") as file:
        file["deep/scalar"] = 2.5
        file["deep/text"] = "words"
        file["empty"] = np.zeros((0, 3))
    mixed = by_name(told(tmp_path / "mixed.h5"))
    assert mixed["deep/scalar"]["statistics"]["mean"] == 2.5
    assert mixed["deep/text"]["statistics"] is None
    assert mixed["empty"]["shape"] == [0, 3]


def test_numpy_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(4), y=np.zeros(2))
    np.save(tmp_path / "a.npy", np.ones((2, 3), np.float16))
    assert sorted(by_name(told(tmp_path / "a.npz"))) == ["x", "y"]
    assert told(tmp_path / "a.npy")["arrays"][0]["dtype"] == "float16"


def test_the_text_has_facts_a_table_and_a_warning_of_nan(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", bad=np.array([1.0, math.nan]), flat=np.zeros((2, 3)))
    lines = shown(tmp_path / "a.npz").splitlines()
    assert lines[0] == f"{tmp_path / 'a.npz'}: arrays (numpy)"
    assert lines[1].split() == [
        "name", "kind", "shape", "dtype", "min", "max", "mean", "std", "zeros", "histogram",
    ]  # fmt: skip
    assert lines[3].startswith("  flat  array  2 x 3  float64  0    0    0     0    100.0%  |█")
    assert lines[-1] == "  bad: 1 values are nan or inf"


def test_blocks_of_forks_are_told_by_the_type_of_their_layer(tmp_path: Path) -> None:
    def block(number: int, content: bytes) -> bytes:
        return header(number, len(content)) + content

    crop = block(2, b"CropCenter") + block(149, b"\x10\x03") + block(555, b"?")
    upsample = block(2, b"Upsample") + block(149, b"\x08\x02")
    path = tmp_path / "forks.caffemodel"
    path.write_bytes(block(1, b"net") + block(100, crop) + block(100, upsample))
    content = told(path, "--net")
    assert content["fork's blocks"] == {
        "crop_center_param in CropCenter": 149,
        "upsample_param in Upsample": 149,
    }
    assert content["unknown"] == {"number 555 in CropCenter": 1}
    assert "crop_center_param {\n    crop_size: 3" in content["net"]
    assert "upsample_param {\n    scale: 2" in shown(path, "--net")
    assert "net" not in told(path)
    assert "  unknown: number 555 in CropCenter (1)\n" in shown(path)


def test_weights_whose_settings_are_damaged_are_told_all_the_same(tmp_path: Path) -> None:
    layer = header(6, 1) + b"\xff"  # no ParamSpec
    path = tmp_path / "net.caffemodel"
    path.write_bytes(header(100, len(layer)) + layer)
    assert "protobuf cannot read" in told(path)["settings"]


def test_only_weights_have_a_net(golden: Path) -> None:
    with pytest.raises(CaffepyError, match=r"--net: expected a \.caffemodel, got weights \(HDF5\)"):
        shown(golden / "formats" / "models" / "net.caffemodel.h5", "--net")


def test_several_files_at_once(golden: Path) -> None:
    models = golden / "formats" / "models"
    paths = [models / "net.caffemodel", models / "v1.caffemodel"]
    assert [content["file"] for content in told(*paths)] == [str(path) for path in paths]
    assert shown(*paths).count(": weights (.caffemodel)") == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        (b"", "got an empty file"),
        (b'name: "net"\nlayer { }\n', "a text file"),
        (b"\x89HDF\r\n\x1a\n damaged", "cannot be read as HDF5"),
        (b"\x93NUMPY damaged", "numpy cannot read"),
        (b"PK\x03\x04 damaged", "numpy cannot read"),
        (b"\x08\x01\x10\x01\x18", "file"),
        (b"\x08\x03\x12\x7fname", "file"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "expected weights, a solver state, .* got another file"),
        (b"\xff" * 100, "file"),
        (bytes(100), "file"),
    ],
)
def test_what_is_no_such_file_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(CaffepyError, match=message):
        shown(tmp_path / "file")


def test_files_that_are_cut_off_are_refused(golden: Path, tmp_path: Path) -> None:
    formats = golden / "formats"
    for name in (
        "models/net.caffemodel",
        "cli/snap_iter_3.solverstate",
        "models/net.caffemodel.h5",
    ):
        data = (formats / name).read_bytes()
        for part in (0.3, 0.6, 0.9):
            (tmp_path / "file").write_bytes(data[: int(len(data) * part)])
            with pytest.raises(CaffepyError, match="file"):
                shown(tmp_path / "file")


def test_a_pickle_in_a_numpy_file_is_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "file", np.array([{}], object), allow_pickle=True)
    with pytest.raises(CaffepyError, match="expected arrays of numbers"):
        shown(tmp_path / "file.npy")


def test_a_folder_without_a_database_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaffepyError, match=r"got a folder without data\.mdb"):
        shown(tmp_path)

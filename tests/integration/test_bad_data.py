"""Bad databases, lists, images and means, end to end: refused with place, reason and remedy."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from tests.integration.refusals import Run, assert_refused, make_lmdb, record


def make_source(source: Path, kind: str) -> None:
    """A database, or what is taken for one."""
    if kind == "file":
        source.write_text("hello")
    elif kind in ("folder", "garbage", "leveldb", "zero bytes"):
        source.mkdir()
        marks = {"garbage": "data.mdb", "leveldb": "CURRENT", "zero bytes": "data.mdb"}
        if kind in marks:
            (source / marks[kind]).write_bytes(b"garbage" * 5000 * (kind != "zero bytes"))
    elif kind != "missing":
        contents = {
            "empty": {},
            "mixed": {b"a": record(), b"b": record(5)},
            "no datum": {b"a": b"\xff\xff"},
            "good": {b"a": record()},
            "cut off": {b"%d" % number: record() for number in range(9)},
        }
        make_lmdb(source, contents[kind])
        if kind == "cut off":
            data = (source / "data.mdb").read_bytes()
            (source / "data.mdb").write_bytes(data[:8192])


def data_net(body: str) -> str:
    return f'layer {{ name: "d" type: "Data" top: "data" data_param {{ source: "db" {body} }} }}'


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("missing", "layer 'd' (Data): data_param.source: expected an existing file or folder"),
        ("empty", "db: expected a database with records, got an empty one"),
        ("file", "got a file without a data.mdb"),
        ("folder", "got a folder without a data.mdb"),
        ("garbage", "db: cannot be opened as an lmdb database"),
        ("zero bytes", "db: data.mdb: expected an lmdb database, got an empty file. Copy or make"),
        ("cut off", "data.mdb: expected 12288 bytes, got 8192: the file is cut off"),
        ("leveldb", "got one of leveldb. Set `backend: LEVELDB`"),
        ("no datum", "record 'a' of 'db': expected a Datum message"),
        ("mixed", "record 'b' of 'db': expected shape (1, 4, 4), that of record 'a'"),
    ],
)
def test_a_bad_database_is_refused(tmp_path: Path, run: Run, kind: str, wanted: str) -> None:
    make_source(tmp_path / "db", kind)
    (tmp_path / "net.prototxt").write_text(data_net("backend: LMDB batch_size: 2"))
    if kind != "file":  # an existing lock file makes readers use it, and change nothing
        (tmp_path / "db" / "lock.mdb").unlink(missing_ok=True)
    assert_refused(run, wanted, "time", "-model=net.prototxt", "-iterations=1")


def test_an_lmdb_named_as_leveldb_is_refused(tmp_path: Path, run: Run) -> None:
    make_source(tmp_path / "db", "good")
    (tmp_path / "net.prototxt").write_text(data_net("batch_size: 1"))  # LEVELDB by default
    assert_refused(run, "Set `backend: LMDB`", "time", "-model=net.prototxt")


def test_batch_size_1_takes_records_of_any_size(tmp_path: Path, run: Run) -> None:
    make_source(tmp_path / "db", "mixed")
    (tmp_path / "net.prototxt").write_text(
        data_net("backend: LMDB batch_size: 1")
        + 'layer { name: "x" type: "ReLU" bottom: "data" top: "y" }'
    )
    status, message = run("time", "-model=net.prototxt", "-iterations=3")
    assert status == 0, message


# ---- LevelDB


@pytest.mark.parametrize(
    ("spoilt", "wanted"),
    [
        ("*.ldb", "db: the leveldb database is damaged: "),
        (
            "CURRENT",
            "db: cannot be opened as a leveldb database: Corruption: CURRENT",
        ),
        ("MANIFEST*", "db: cannot be opened as a leveldb database: Corruption: "),
    ],
)
def test_a_damaged_leveldb_is_refused(
    golden: Path, tmp_path: Path, run: Run, spoilt: str, wanted: str
) -> None:
    shutil.copytree(golden / "formats" / "db" / "gray_leveldb", tmp_path / "db")
    for file in (tmp_path / "db").glob(spoilt):
        content = file.read_bytes()
        file.write_bytes(bytes(byte ^ 0x55 for byte in content[: len(content) // 2]) + content[-8:])
    (tmp_path / "net.prototxt").write_text(data_net("batch_size: 2"))
    status, message = run("time", "-model=net.prototxt", "-iterations=1")
    assert status == 1
    assert message.startswith("caffepy: net.prototxt:1: layer 'd' (Data): ")
    assert wanted in message
    assert message.endswith(".")


# ---- means


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("none", "transform_param.mean_file: expected an existing file or folder, got 'none'"),
        ("net.prototxt", "mean_file: net.prototxt: expected a blob, got a text file: give the bin"),
        ("garbage", "mean_file: garbage: byte 0: expected a field, got wire type 7. The file is"),
        ("db", "transform_param.mean_file: db: the mean cannot be read: Is a directory. Make it w"),
    ],
)
def test_a_mean_that_cannot_be_read_is_refused(
    tmp_path: Path, run: Run, name: str, wanted: str
) -> None:
    make_source(tmp_path / "db", "good")
    (tmp_path / "garbage").write_bytes(b"\x7fELF" + bytes(99))
    mean = f'transform_param {{ mean_file: "{name}" }} }}'
    net = data_net("backend: LMDB batch_size: 2").removesuffix("}") + mean
    (tmp_path / "net.prototxt").write_text(net)
    assert_refused(run, "net.prototxt:1: layer 'd' (Data): ", "time", "-model=net.prototxt")
    assert_refused(run, wanted, "time", "-model=net.prototxt")


# ---- HDF5

HDF5_NET = """layer { name: "d" type: "HDF5Data" top: "data" top: "label"
  hdf5_data_param { source: "list.txt" batch_size: 2 } }"""


@pytest.mark.parametrize(
    ("contents", "wanted"),
    [
        (
            {"data": np.zeros((4, 3))},
            "a.h5: expected a dataset 'label', got 'data'. Name the layer",
        ),
        (
            {"data": np.zeros((4, 3)), "label": np.zeros(3)},
            "'label': expected 4 rows, as 'data' has",
        ),
        (
            {"data": np.float32(1), "label": np.zeros(3)},
            "'data': expected at least one axis and one",
        ),
        (
            {"data": np.zeros((0, 3)), "label": np.zeros(0)},
            "one row, got shape (0, 3). Put samples",
        ),
        (
            {"data": np.array([b"x"]), "label": np.zeros(1)},
            "expected floats or integers, got |S1. W",
        ),
    ],
)
def test_a_bad_hdf5_file_is_refused(
    tmp_path: Path, run: Run, contents: dict[str, np.ndarray], wanted: str
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, array in contents.items():
            file[name] = array
    (tmp_path / "list.txt").write_text("a.h5\n")
    (tmp_path / "net.prototxt").write_text(HDF5_NET)
    assert_refused(
        run, "net.prototxt:1: layer 'd' (HDF5Data): 'list.txt', line 1: a.h5: ", "time",
        "-model=net.prototxt",
    )  # fmt: skip
    assert_refused(run, wanted, "time", "-model=net.prototxt")


def test_a_file_that_is_missing_late_in_a_list_is_noticed_at_once(tmp_path: Path, run: Run) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"], file["label"] = np.zeros((4, 3)), np.zeros(4)
    (tmp_path / "list.txt").write_text("a.h5\na.h5\n\nb.h5\n")
    (tmp_path / "net.prototxt").write_text(HDF5_NET)
    wanted = "'list.txt', line 4: expected an existing file or folder, got 'b.h5'"
    assert_refused(run, wanted, "time", "-model=net.prototxt", "-iterations=1")


# ---- images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A good image, and some that are none; a list in which line 3 is to be filled in."""
    cv2.imwrite(str(tmp_path / "good.png"), np.full((8, 8), 100, np.uint8))
    content = (tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[:40])
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "net.prototxt").write_text(
        """layer { name: "d" type: "ImageData" top: "data" top: "label"
        image_data_param { source: "list.txt" batch_size: 2 } }"""
    )
    return tmp_path


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("cut.png", "'cut.png': expected an image that OpenCV can decode, got 40 bytes that it"),
        ("text.png", "'text.png': expected an image that OpenCV can decode, got 8 bytes that it"),
        ("empty.png", "'empty.png': expected an image, got an empty file. Fetch it again"),
        ("folder.png", "'folder.png': cannot be read: Is a directory. Fix the name"),
        ("none.png", "expected an existing file or folder, got 'none.png'"),
    ],
)
def test_an_image_that_cannot_be_decoded_is_named_with_its_line(
    images: Path, run: Run, name: str, wanted: str
) -> None:
    (images / "list.txt").write_text(f"good.png 0\n\n{name} 1\n")
    wanted = f"net.prototxt:1: layer 'd' (ImageData): line 3 of 'list.txt': {wanted}"
    assert_refused(run, wanted, "time", "-model=net.prototxt", "-iterations=1")


def test_convert_imageset_names_the_line_of_what_it_leaves_out(images: Path, run: Run) -> None:
    (images / "list.txt").write_text("good.png 0\n\ntext.png 1\n")
    status, text = run("convert_imageset", "./", "list.txt", "new")
    assert status == 0, "as Caffe's"
    assert "list.txt:3: could not open or find file text.png: expected an image that Open" in text
    assert "1 of 2 images could not be read and are not in new: text.png (line 3)" in text
    (images / "list.txt").write_text("text.png 1\n")
    wanted = "list.txt: none of the 1 images could be read, the first being text.png (line 1)."
    assert_refused(run, wanted, "convert_imageset", "./", "list.txt", "newer")

"""convert_annoset."""

from __future__ import annotations

import contextlib
import hashlib
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from caffepy.engine.core.errors import CaffepyError, DataError
from caffepy.engine.data import annotations, boxes, datum, images
from caffepy.engine.data.db import open_db
from caffepy.proto.caffe_pb2 import AnnotatedDatum
from caffepy.proto.errors import PrototxtError
from caffepy.tools import convert_annoset
from caffepy.tools.arguments import normalise, option_table
from caffepy.tools.convert_annoset import AnnotationOptions
from caffepy.tools.stored_image import ImageOptions, stored_image
from tests.tools.invocation import invoke

RESIZED = {"anno_raw_lmdb", "anno_json_lmdb", "class_lmdb"}


def records(path: Path, backend: str = "lmdb") -> dict[str, AnnotatedDatum]:
    database = open_db(path, backend)
    found = {
        key.decode(): datum.parse_annotated(value, "test") for key, value in database.records()
    }
    database.close()
    return found


def boxes_of(record: AnnotatedDatum) -> list[Any]:
    """As databases.json tells of them."""
    return [
        {
            "group_label": group.group_label,
            "annotation": [
                {
                    "instance_id": one.instance_id,
                    "bbox": [one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax],
                    "difficult": one.bbox.difficult,
                }
                for one in group.annotation
            ],
        }
        for group in record.annotation_group
    ]


@pytest.mark.parametrize(
    "name", ["anno_png_lmdb", "anno_raw_lmdb", "anno_json_lmdb", "anno_txt_leveldb", "class_lmdb"]
)
def test_writes_what_the_ssd_fork_writes(
    golden: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(golden / "fork_formats")
    listed = json.loads(Path("databases.json").read_text())[name]
    invoke(convert_annoset.command, *listed["command"][1:-1], str(tmp_path / name))
    assert caplog.messages == [warning.split("] ")[1] for warning in listed["warnings"]]
    found = records(tmp_path / name, listed["backend"])
    theirs = records(shutil.copytree(Path("db", name), tmp_path / "theirs"), listed["backend"])
    assert list(found) == [record["key"] for record in listed["records"]]
    for record, expected in zip(found.values(), listed["records"], strict=True):
        assert boxes_of(record) == expected["annotation_group"]
        if name in RESIZED:  # versions of OpenCV may differ by a grey level, and pack otherwise
            ours, same = record.datum, theirs[expected["key"]].datum
            np.testing.assert_allclose(
                datum.array(ours, "test").astype(int), datum.array(same, "test"), rtol=0, atol=1
            )
            if ours.encoded:
                ours.ClearField("data")
                same.ClearField("data")
            else:
                ours.data = same.data
            assert record == theirs[expected["key"]]
        else:
            value = record.SerializeToString()
            assert hashlib.sha1(value).hexdigest() == expected["value_sha1"], expected["key"]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """a.png, color, 4 x 6, and list.txt with its annotation a.xml, which a test writes."""
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    (tmp_path / "a.png").write_bytes(images.encode(pixels, "png"))
    (tmp_path / "list.txt").write_text("a.png a.xml\n")
    items = "".join(f'item {{ name: "{name}" label: {n} }}' for n, name in enumerate("abca", 1))
    (tmp_path / "map.prototxt").write_text(items)
    return tmp_path


def convert(folder: Path, kind: str = "xml", **more: Any) -> dict[str, AnnotatedDatum]:
    shutil.rmtree(folder / "db", ignore_errors=True)
    convert_annoset.run(
        f"{folder}/",
        str(folder / "list.txt"),
        str(folder / "db"),
        more.pop("options", ImageOptions()),
        AnnotationOptions(True, kind, str(folder / "map.prototxt"), more.pop("check", False)),
        **more,
    )
    return records(folder / "db")


def xml(*objects: str, size: str = "") -> str:
    return f"<annotation>{size}{''.join(f'<object>{one}</object>' for one in objects)}</annotation>"


def box(*sides: object) -> str:
    names = ("xmin", "ymin", "xmax", "ymax")
    inside = "".join(f"<{name}>{side}</{name}>" for name, side in zip(names, sides, strict=True))
    return f"<bndbox>{inside}</bndbox>"


def test_boxes_are_shares_of_the_size_that_is_stated(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    size = "<size><width>12</width><height>8</height></size>"
    (pictures / "a.xml").write_text(xml(f"<name>b</name>{box(3, 2, 6.0, 8)}", size=size))
    options = ImageOptions(width=3, height=2)
    (record,) = convert(pictures, options=options).values()
    assert boxes_of(record) == [
        {
            "group_label": 2,
            "annotation": [{"instance_id": 0, "bbox": [0.25, 0.25, 0.5, 1], "difficult": False}],
        }
    ]
    assert (record.datum.height, record.datum.width) == (2, 3)
    name = f"{pictures}/a.xml"
    assert caplog.messages == [
        f"{name} inconsistent image height.",
        f"{name} inconsistent image width.",
    ]


def test_boxes_that_are_odd_are_told_of(pictures: Path, caplog: pytest.LogCaptureFixture) -> None:
    (pictures / "a.xml").write_text(xml(f"<name> c </name>{box(5, 1, 2, 9)}"))
    (record,) = convert(pictures).values()
    assert boxes_of(record)[0]["group_label"] == 3
    assert caplog.messages == [
        f"When parsing {pictures}/a.xml: No such node (annotation.size.height)",
        f"{pictures}/a.xml bounding box exceeds image boundary.",
        f"{pictures}/a.xml bounding box irregular.",
    ]


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("xml", xml("<name>a</name>"), "an object has no <bndbox>: its box is 0, as in the fork."),
        ("txt", "2 0 0 3 4\n9 1 1 2 2", "label 9 in line 2 is not in the label map."),
        ("txt", "2 0.1 0 0.5 1", "no side is above 1: expected pixels, these look like shares of"),
    ],
)
def test_what_the_fork_is_silent_about_is_told(
    pictures: Path, kind: str, content: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    (pictures / "a.xml").write_text(content)
    (pictures / "b.xml").write_text({"xml": xml(), "txt": "2 0 0 1 1"}[kind])
    (pictures / "list.txt").write_text("a.png a.xml\na.png b.xml\n")
    assert len(convert(pictures, kind)) == 2
    (told,) = [one for one in caplog.messages if "No such node" not in one]
    assert told.startswith(f"{pictures}/a.xml {message}")


def test_where_all_annotations_are_of_another_kind_the_option_is_told(pictures: Path) -> None:
    (pictures / "a.xml").write_text("1 0 0 3 4")
    with pytest.raises(DataError, match=r"none of the 1 images with .*a\.png.* and --label_type\."):
        convert(pictures)


@pytest.mark.parametrize("encoding", ["gb2312", "GBK", "shift_jis", "latin-1", "utf-16", "utf-8"])
def test_xml_may_be_in_any_encoding(pictures: Path, encoding: str) -> None:
    name = "é" if encoding == "latin-1" else "日"
    (pictures / "map.prototxt").write_text(f'item {{ name: "{name}" label: 9 }}', "utf-8")
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    content = head + xml(f"<name>{name}</name>{box(1, 1, 2, 2)}")
    (pictures / "a.xml").write_bytes(content.encode(encoding))
    (record,) = convert(pictures).values()
    assert boxes_of(record)[0]["group_label"] == 9


def test_names_that_no_file_can_have_are_names_of_no_file(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = f"a.png {'x' * 300}", "a.png a\0.xml", "a\0.png a.xml", f"{'y' * 300} a.xml"
    (pictures / "list.txt").write_text("\n".join(lines))
    assert len(convert(pictures)) == 2
    assert "2 of 4 images with their boxes could not be read" in caplog.text


def test_a_size_beyond_all_numbers_is_told_of(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    huge = f'{{"image": {{"height": 1{"0" * 400}, "width": 1}}, "annotation": []}}'
    (pictures / "a.xml").write_text(huge)
    assert len(convert(pictures, "json")) == 1
    assert "to a whole number failed" in caplog.text


def test_images_without_annotation_have_no_boxes_and_are_told_of(
    pictures: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (record,) = convert(pictures).values()
    assert record.HasField("type")
    assert not record.annotation_group
    assert "1 images have no boxes in" in caplog.text
    assert f"do not exist: {pictures}/a.xml" in caplog.text


def test_names_with_blanks_are_separated_by_tabs(pictures: Path) -> None:
    (pictures / "a.png").rename(pictures / "a b.png")
    (pictures / "a b.txt").write_text("7 0 0 3 4\n\n  7 1 1 2 2\n")
    (pictures / "list.txt").write_bytes(b"\xef\xbb\xbfa b.png\ta b.txt\r\n\r\n")
    (record,) = convert(pictures, "txt").values()
    (group,) = boxes_of(record)
    assert group["group_label"] == 7
    assert [one["instance_id"] for one in group["annotation"]] == [0, 1]


def test_text_annotations_need_no_label_map(pictures: Path) -> None:
    (pictures / "a.xml").write_text("1 0 0 3 4")
    arguments = f"--anno_type=detection --label_type=txt {pictures}/ {pictures}/list.txt"
    invoke(convert_annoset.command, *shlex.split(arguments), str(pictures / "db"))
    assert len(records(pictures / "db")) == 1


BOMB = """<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "aa"><!ENTITY b "&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("xml", "<annotation>", "expected XML, got other text"),
        ("xml", "", "expected XML, got other text"),
        ("xml", "<voc/>", "expected an <annotation>, got <voc>"),
        ("xml", BOMB, "expected XML without <!DOCTYPE>"),
        ("xml", xml(box(1, 1, 2, 2)), "expected a <name> before <bndbox>, got none"),
        ("xml", xml("<name>a</name><bndbox/>"), "expected a number as xmin, got none"),
        ("xml", xml(f"<name>a</name>{box(1, 'nan', 2, 2)}"), "a number as ymin, got 'nan'"),
        ("xml", xml(size="<size><width>0</width><height>3</height></size>"), "a width of at least"),
        ("xml", '<?xml version="1.0" encoding="klingon"?><annotation/>', "encoding that is known"),
        ("json", "{", "expected JSON, got other text"),
        ("json", "[" * 100_000, "expected JSON, got other text"),
        ("json", "[]", 'expected an object with a list "annotation", got none'),
        ("json", '{"annotations": []}', "those of a whole set (write a file for each image)"),
        ("json", '{"annotation": [{"bbox": [1, 2, 3, 4]}]}', '"category_id" and a "bbox" of 4'),
        ("json", '{"annotation": [{"category_id": "a", "bbox": [1, 2, 3]}]}', 'a "bbox" of 4 num'),
        ("json", '{"annotation": [{"category_id": "a", "bbox": [1, 2, 3, null]}]}', "as bbox, got"),
        ("json", '{"annotation": [{"category_id": "a", "bbox": [3e38, 2, 3e38, 1]}]}', "'3e+38'"),
        ("txt", "1 2 3 4", "expected label xmin ymin xmax ymax, got '1 2 3 4' in line 1"),
        ("txt", "1.5 2 3 4 5", "got '1.5 2 3 4 5' in line 1."),
        ("txt", "1 2 3 4 inf", "expected a number as ymax, got 'inf'"),
        ("txt", "99999999999 2 3 4 5", "expected label xmin"),
    ],
)
def test_bad_annotations_are_listed_and_left_out(
    pictures: Path, kind: str, content: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    (pictures / "a.xml").write_text(content)
    (pictures / "good").write_text({"xml": xml(), "json": '{"annotation": []}', "txt": ""}[kind])
    (pictures / "list.txt").write_text("a.png a.xml\na.png good\n")
    assert list(convert(pictures, kind)) == ["00000001_a.png"]
    told, *_ = caplog.messages
    assert told.startswith(f"{pictures}/list.txt:1: failed to read {pictures}/a.xml: expected ")
    assert message in told
    assert "1 of 2 images with their boxes could not be read" in caplog.text


@pytest.mark.parametrize("kind", ["xml", "json", "txt"])
def test_damaged_annotations_are_read_or_refused(golden: Path, tmp_path: Path, kind: str) -> None:
    random = np.random.default_rng(0)
    labels = {f"{color}_box": number for number, color in enumerate(("red", "green", "blue"))}
    files = sorted((golden / "fork_formats" / f"anno_{kind}").iterdir())
    damaged = tmp_path / "damaged"
    for number in range(300):
        data = bytearray(files[number % len(files)].read_bytes())
        for place in random.integers(0, max(1, len(data)), 1 + number % 4).tolist():
            data[place : place + int(random.integers(3))] = random.bytes(int(random.integers(3)))
        damaged.write_bytes(data)
        with contextlib.suppress(DataError, PrototxtError):
            found = annotations.read(damaged, "it", kind, (30, 40), labels)
            record = AnnotatedDatum(annotation_group=found.groups)
            boxes.read(AnnotatedDatum.FromString(record.SerializeToString()), "it")


def test_a_class_that_the_map_lacks_ends_the_conversion(pictures: Path) -> None:
    (pictures / "a.xml").write_text(xml("<name>A</name>"))
    with pytest.raises(PrototxtError, match=r"a\.xml: Unknown name: 'A': expected one of.*a, b, c"):
        convert(pictures)
    assert not (pictures / "db").exists()


def test_names_that_the_map_has_twice(pictures: Path) -> None:
    (pictures / "a.xml").write_text(xml("<name>a</name>"))
    (record,) = convert(pictures).values()
    assert record.annotation_group[0].group_label == 4
    with pytest.raises(PrototxtError, match="There are many duplicates of name: 'a'"):
        convert(pictures, check=True)


@pytest.mark.parametrize("backend", ["lmdb", "leveldb"])
def test_threads_order_and_going_on_are_those_of_convert_imageset(
    pictures: Path, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(30):
        (pictures / f"{number}.txt").write_text(f"{number} 0 0 1 1")
    lines = [f"a.png {number}.txt\n" for number in range(30)]
    (pictures / "list.txt").write_text("".join(lines))
    convert_records = [
        list(convert_with(pictures, name, backend=backend, threads=threads, shuffle=True).values())
        for name, threads in (("one", 1), ("four", 4))
    ]
    assert convert_records[0] == convert_records[1]
    labels = [record.annotation_group[0].group_label for record in convert_records[0]]
    assert sorted(labels) == list(range(30)) != labels
    with monkeypatch.context() as patch:
        patch.setattr("caffepy.engine.data.db.COMMIT_RECORDS", 10)
        wrapped, seen = convert_annoset.stored_image, []

        def stored(*arguments: Any) -> Any:
            seen.append(arguments)
            if len(seen) == 25:
                raise KeyboardInterrupt
            return wrapped(*arguments)

        patch.setattr(convert_annoset, "stored_image", stored)
        with pytest.raises(KeyboardInterrupt):
            convert_with(pictures, "again", backend=backend, shuffle=True)
    found = convert_with(pictures, "again", backend=backend, shuffle=True)
    assert list(found.values()) == convert_records[0]


def convert_with(folder: Path, name: str, **more: Any) -> dict[str, AnnotatedDatum]:
    """list.txt with text annotations."""
    convert_annoset.run(
        f"{folder}/",
        str(folder / "list.txt"),
        str(folder / name),
        ImageOptions(),
        AnnotationOptions(True, "txt"),
        **more,
    )
    return records(folder / name, more["backend"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--anno_type=detection {0} {0}/list.txt {0}/db", "--label_map_file: expected a label map"),
        (
            "--anno_type=detection --label_map_file={0}/none {0} {0}/list.txt {0}/db",
            "none: there is no such file",
        ),
        ("{0} {0}/list.txt {0}/db", "list.txt:1: expected a file name"),
        (
            "--anno_type=detection --label_type=txt {0} {0}/three.txt {0}/db",
            "three.txt:1: expected an image file, a blank and an annotation file",
        ),
        (
            "--anno_type=detection --label_type=txt {0} {0}/empty.txt {0}/db",
            "expected lines of an image file and an annotation file, got none",
        ),
        ("{0} {0}/list.txt {0}/db", "For files of boxes give --anno_type detection."),
        ("--min_dim=9 --max_dim=5 {0} {0}/list.txt {0}/db", "--min_dim 9, --max_dim 5: expected"),
    ],
)
def test_wrong_arguments_are_named(pictures: Path, arguments: str, message: str) -> None:
    (pictures / "three.txt").write_text("a.png b c\n")
    (pictures / "empty.txt").touch()
    given = normalise(
        shlex.split(arguments.format(pictures)), option_table(convert_annoset.command)
    )
    with pytest.raises(CaffepyError, match=message):
        CliRunner().invoke(convert_annoset.command, given, catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (ImageOptions(min_dim=8), (8, 12)),
        (ImageOptions(min_dim=3), (4, 6)),
        (ImageOptions(max_dim=3), (2, 3)),
        (ImageOptions(max_dim=9), (4, 6)),
        (ImageOptions(min_dim=8, max_dim=9), (6, 9)),
        (ImageOptions(min_dim=8, width=3, height=3), (8, 12)),
        (ImageOptions(width=3, height=5), (5, 3)),
    ],
)
def test_sides_are_enlarged_and_shrunk_together(
    pictures: Path, options: ImageOptions, size: tuple[int, int]
) -> None:
    stored = stored_image(pictures / "a.png", options)
    assert stored.size == (*size, 3)
    assert stored.own_size == (4, 6)

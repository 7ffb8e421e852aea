"""Files of detections, as DetectionOutput layers write them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from caffepy.engine.core.errors import DataError, NetError
from tests.layers.test_detection_output import single

SAVE = """nms_param { nms_threshold: 1 } save_output_param {
  output_directory: "deep/results" output_name_prefix: "a_" output_format: "%s"
  label_map_file: "map.txt" name_size_file: "sizes.txt" %s }"""


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files are written."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def lists(working_folder: None) -> None:
    """A label map, and sizes of three images."""
    Path("map.txt").write_text('item { name: "bg" label: 0 } item { name: "cat" label: 1 }')
    Path("sizes.txt").write_text("007 100 200\n42 10 20\n\nlast 100 100\n")


@pytest.mark.usefixtures("lists")
def test_files_are_written_when_all_images_are_there_and_then_anew() -> None:
    run = single([0.75, 0.5, 0.25], SAVE % ("VOC", "num_test_image: 2"))
    path = Path("deep/results/a_cat.txt")
    run.forward()
    assert not path.exists()
    run.forward()
    assert path.read_text().splitlines() == [
        "007 0.75 0 0 100 50", "007 0.5 100 0 200 50", "007 0.25 50 0 150 50",
        "42 0.75 0 0 10 5", "42 0.5 10 0 20 5", "42 0.25 5 0 15 5",
    ]  # fmt: skip
    Path("deep/results/other.txt").write_text("of the user")
    for scores in ([0, 0, 1], [0, 1, 0]):
        run.bottom[1].data.modify().reshape(3, 2)[:, 1] = scores
        run.forward()
    assert len(path.read_text().splitlines()) == 6
    assert Path("deep/results/other.txt").exists()


@pytest.mark.usefixtures("lists")
def test_coco_files_are_json_whatever_the_names() -> None:
    run = single([0.75, -1, -1], SAVE % ("COCO", "") + "confidence_threshold: 0")
    for _ in range(3):
        run.forward()
    found = json.loads(Path("deep/results/a_.json").read_text())
    assert [each["image_id"] for each in found] == ["007", 42, "last"]
    assert found[0] == {
        "image_id": "007", "category_id": "cat", "bbox": [0, 0, 100, 50], "score": 0.75,
    }  # fmt: skip
    run.bottom[1].data.write()[...] = -1
    for _ in range(3):
        run.forward()
    assert json.loads(Path("deep/results/a_.json").read_text()) == []


@pytest.mark.usefixtures("lists")
def test_a_resumed_run_goes_on_with_the_images(caplog: pytest.LogCaptureFixture) -> None:
    whole = single([0.75, 0.5, 0.25], SAVE % ("ILSVRC", ""))
    for _ in range(3):
        whole.forward()
    path = Path("deep/results/a_.txt")
    expected = path.read_text()
    assert expected.startswith("007 1 0.75 0 0 100 50\n")
    path.unlink()
    first = single([0.75, 0.5, 0.25], SAVE % ("ILSVRC", ""))
    first.forward()
    state = first.layer.state()
    first.forward()
    first.layer.close()
    assert "the detections of 2 images were not saved: expected 3" in caplog.text
    second = single([0.75, 0.5, 0.25], SAVE % ("ILSVRC", ""))
    second.layer.restore(state)
    for _ in range(2):
        second.forward()
    assert path.read_text() == expected


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("VOC", "voc", r"output_format: expected one of VOC, ILSVRC, COCO, got 'voc'\. Did you me"),
        ('"map.txt"', '"no.txt"', "label_map_file: expected an existing file"),
        ("map.txt", "short.txt", "expected a name .* for label 1, got ''"),
        ('"sizes.txt"', '"no.txt"', "name_size_file: expected an existing file"),
        ("output_name", "num_test_image: 4 output_name", "expected 1 to 3, the number of images"),
        ('"deep/results"', '"map.txt/x"', "output_directory: 'map.txt/x' cannot be made"),
        (
            "output_name",
            "resize_param { width: 9 } output_name",
            "resize_param: expected height an",
        ),
    ],
)
def test_what_keeps_files_from_being_written_is_told_at_once(
    old: str, new: str, message: str
) -> None:
    Path("short.txt").write_text('item { name: "bg" label: 0 }')
    with pytest.raises((NetError, DataError), match=message):
        single([1, 1, 1], (SAVE % ("VOC", "")).replace(old, new))


@pytest.mark.usefixtures("lists")
def test_without_a_map_or_sizes_nothing_is_saved_and_that_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    single([1, 1, 1], (SAVE % ("VOC", "")).replace('label_map_file: "map.txt"', "")).forward()
    assert "label_map_file: expected one with output_directory, got none" in caplog.text
    assert not Path("deep").exists()


def test_bad_label_maps_and_names_are_refused() -> None:
    Path("sizes.txt").write_text("one 1 1\n")
    one = 'item { name: "a" label: 1 }'
    for content, message in (
        (one + 'item { name: "b" label: 1 }', "map.txt:1.*label 1: expected once in a label map"),
        (one + 'item { name: "a" label: 2 }', "name 'a': expected once in a label map"),
        ('item { name: "a/b" label: 1 }', "expected a name that a file can have"),
    ):
        Path("map.txt").write_text(content)
        with pytest.raises((NetError, DataError), match=message):
            single([1, 1, 1], SAVE % ("VOC", ""))


@pytest.mark.usefixtures("lists")
@pytest.mark.parametrize("form", ["VOC", "ILSVRC", "COCO"])
def test_a_box_that_is_nan_is_refused(form: str) -> None:
    run = single([0.75, 0.5, 0.25], SAVE % (form, ""))
    run.forward()
    run.bottom[0].data.modify()[0, 5] = math.nan
    with pytest.raises(DataError, match=r"image 2 of the files: expected boxes of .*nan"):
        run.forward()


@pytest.mark.usefixtures("lists")
def test_names_that_no_file_can_have_are_refused() -> None:
    with pytest.raises(DataError, match=r"output_directory: .* cannot be made"):
        single([1, 1, 1], (SAVE % ("VOC", "")).replace("deep/results", "a\\000b"))
    text = Path("map.txt").read_text()
    Path("map.txt").write_text(text.replace("cat", "c" * 300))
    run = single([1, 1, 1], SAVE % ("VOC", "num_test_image: 1"))
    with pytest.raises(DataError, match="cannot be written: File name too long"):
        run.forward()

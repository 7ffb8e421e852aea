"""The small SSD and the shapes that it finds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.data import images
from caffepy.models.ssd_shapes import data, run

ROOT = Path(__file__).resolve().parents[2]


def test_a_scene_is_the_same_each_time_and_its_boxes_are_tight() -> None:
    kinds = set()
    for number in range(40):
        pixels, shapes = data.scene("train", number)
        again, same = data.scene("train", number)
        np.testing.assert_array_equal(pixels, again)
        assert shapes == same
        assert 1 <= len(shapes) <= 3
        drawn = ((pixels < 80) | (pixels > 165)).any(axis=2)  # noise is 80 to 165
        for shape in shapes:
            left, top, right, bottom = shape.box
            part = drawn[top:bottom, left:right]
            assert part[[0, -1]].any(axis=1).all()
            assert part[:, [0, -1]].any(axis=0).all()
            drawn[top:bottom, left:right] = False
            kinds.add(shape.kind)
        assert not drawn.any()
    assert kinds == set(data.KINDS)


def test_no_image_of_the_test_set_is_one_of_training() -> None:
    train = {data.scene("train", number)[0].tobytes() for number in range(50)}
    test = {data.scene("test", number)[0].tobytes() for number in range(50)}
    assert len(train) == len(test) == 50
    assert not train & test


def test_the_set_lists_images_with_annotations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "COUNTS", {"train": 3, "test": 2})
    data.write(tmp_path)
    lines = (tmp_path / "train.txt").read_text().splitlines()
    assert lines[1] == "images/train_0001.png annotations/train_0001.xml"
    assert len(lines) == 3
    pixels = images.decode((tmp_path / "images/test_0001.png").read_bytes(), "test_0001.png")
    np.testing.assert_array_equal(pixels, data.scene("test", 1)[0])
    annotation = (tmp_path / "annotations/test_0001.xml").read_text()
    assert annotation.count("<object>") == len(data.scene("test", 1)[1])
    assert (
        tmp_path / "names.txt"
    ).read_text() == "circle 1 circle\nsquare 2 square\ntriangle 3 triangle\n"


@pytest.mark.slow
def test_the_whole_job(tmp_path: Path) -> None:
    folder = tmp_path / "ssd_shapes"
    command = [sys.executable, "-m", "caffepy.models.ssd_shapes.run", str(folder)]
    subprocess.run(command, check=True, cwd=ROOT)
    assert (folder / "detections.png").stat().st_size > 10_000
    run.job(folder).begin()  # what a run leaves may be replaced

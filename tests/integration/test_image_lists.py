"""Training on lists of images, through the real command."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.integration.refusals import Run, assert_refused

NET = """layer { name: "data" type: "ImageData" top: "data" top: "label"
  transform_param { scale: 0.0039 mirror: true crop_size: 24 }
  image_data_param {
    source: "list.txt" root_folder: "images/" batch_size: 8 shuffle: true rand_skip: 9
    is_color: false
  } }
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip"
  inner_product_param { num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" momentum: 0.9
max_iter: 8 display: 1 random_seed: 3 snapshot_prefix: "net"
"""


@pytest.fixture(autouse=True)
def files(golden: Path, tmp_path: Path) -> None:
    """Twenty digits, their list, and a net that learns them."""
    (tmp_path / "images").mkdir()
    for image in (golden / "formats" / "images").glob("digit_*.png"):
        shutil.copy(image, tmp_path / "images")
    shutil.copy(golden / "formats" / "list_digits.txt", tmp_path / "list.txt")
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER + "snapshot: 3")


def test_a_resumed_run_equals_an_unbroken_one(run: Run, tmp_path: Path) -> None:
    """Resumed in the middle of an epoch."""
    assert run("train", "--solver", "solver.prototxt")[0] == 0
    weights = (tmp_path / "net_iter_8.caffemodel").read_bytes()
    status, message = run(
        "train", "--solver", "solver.prototxt", "--snapshot", "net_iter_3.solverstate"
    )
    assert status == 0, message
    assert (tmp_path / "net_iter_8.caffemodel").read_bytes() == weights


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("images/digit_07.png", None, "expected an existing file or folder, got 'images/digit_07"),
        ("images/digit_07.png", b"", "'images/digit_07.png': expected an image, got an empty file"),
        ("images/digit_07.png", b"GIF", "digit_07.png': expected an image that OpenCV can decode"),
        ("list.txt", b"digit_07.png", "list.txt:1: expected a file name, a blank and a whole num"),
        ("list.txt", b"digit_07.png 10", "('images/digit_07.png', line 1 of 'list.txt'): expected"),
    ],
)
def test_bad_lists_and_images_are_named(
    run: Run, tmp_path: Path, name: str, content: bytes | None, wanted: str
) -> None:
    """By file and line."""
    (tmp_path / "net.prototxt").write_text(NET.replace("rand_skip: 9", ""))
    (tmp_path / "solver.prototxt").write_text(SOLVER + "snapshot_after_train: false")
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    line = "line 8 of 'list.txt'" if "digit" in name else "list.txt"
    assert_refused(run, wanted, "train", "--solver", "solver.prototxt")
    _, message = run("train", "--solver", "solver.prototxt")
    assert message.startswith("caffepy: net.prototxt:")
    assert line in message

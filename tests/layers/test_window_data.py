"""WindowData."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.data import images
from caffepy.engine.data.window_list import WindowList
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.tools.common import open_net
from tests.data_cases import run_batches
from tests.devices import DEVICES, device
from tests.harness import LayerRun, make_layer

CASES = ("window_square", "window_square_pad", "window_warp", "window_warp_pad")
RANDOM = np.random.default_rng(0)
HEAD = "# 0\na.png\n3\n10\n12\n"


@pytest.fixture(params=["numpy", *DEVICES])
def layer(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Makes a WindowData layer on tmp_path/windows.txt; it is closed at the end of the test."""
    runs: list[LayerRun] = []
    ops: Ops | None = None
    if request.param != "numpy":
        ops = CudaOps(device(request))

    def make(
        options: str = "batch_size: 4", transform: str = "crop_size: 5", **kw: Any
    ) -> LayerRun:
        param = f"""type: "WindowData" top: "data" top: "label" transform_param {{ {transform} }}
            window_data_param {{ source: "windows.txt" {options} }}"""
        runs.append(make_layer(param, [], folders=(tmp_path,), ops=ops, **kw))
        return runs[-1]

    yield make
    for run in runs:
        run.layer.close()


def write(folder: Path, *windows: str, text: str = "") -> np.ndarray:
    """An image of 10 x 12 pixels, which it returns, and a window file."""
    image = RANDOM.integers(0, 256, (10, 12, 3), np.uint8)
    (folder / "a.png").write_bytes(images.encode(image, "png"))
    text = text or f"{HEAD}{len(windows)}\n" + "".join(f"{line}\n" for line in windows)
    (folder / "windows.txt").write_text(text)
    return image


@pytest.mark.parametrize("case", CASES)
def test_equals_caffe(case: str, ops: Ops, golden: Path) -> None:
    run_batches(golden / "formats", case, ops)


def test_windows_of_the_background_come_first(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, "7 0.6 0 0 4 4", "8 0.5 1 1 5 5", "9 0.4 0 0 3 3", "9 0.1 2 2 9 9")
    run = layer("batch_size: 5 fg_fraction: 0.5 bg_threshold: 0.4")
    labels = [run.forward()[1] for _ in range(20)]
    assert all((batch[:3] == 0).all() for batch in labels)
    assert set(np.array(labels)[:, 3:].ravel()) == {7, 8}
    assert "line 10 of" in run.layer.describe_sample(1, 0)  # of four the only background
    assert "'a.png', line" in run.layer.describe_sample(1, 4)


def test_windows_and_mirrors_depend_on_the_number_of_the_sample_only(
    layer: Any, tmp_path: Path
) -> None:
    write(tmp_path, *(f"{1 + i % 3} 0.6 {i} {i} 9 9" for i in range(6)), "0 0 0 0 9 9")
    options = "batch_size: 3 fg_fraction: 1 cache_images: "
    straight = layer(options + "false", "crop_size: 5 mirror: true")
    other = layer(options + "true", "crop_size: 5 mirror: true")
    for _ in range(3):
        straight.forward()
        other.layer.restore(straight.layer.state())
        for found, wanted in zip(other.forward(), straight.forward(), strict=True):
            np.testing.assert_array_equal(found, wanted)
    assert straight.layer.state() == {"sample": 18}


def test_a_mirrored_window_is_mirrored_with_what_lies_outside(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, "1 1 0 2 4 6")  # at the left edge
    options = "batch_size: 20 fg_fraction: 1 context_pad: 2"
    plain = layer(options, "crop_size: 9").forward()[0][0]
    assert not plain[:, :, :2].any()
    assert plain[:, :, -1].any()
    both = {array.tobytes() for array in layer(options, "crop_size: 9 mirror: true").forward()[0]}
    assert both == {plain.tobytes(), plain[:, :, ::-1].tobytes()}


def test_of_a_larger_mean_the_middle_is_subtracted(layer: Any, tmp_path: Path) -> None:
    image = write(tmp_path, "1 1 3 2 7 6")
    mean = RANDOM.random((3, 8, 8)).astype(np.float32)
    np.save(tmp_path / "mean.npy", mean)
    transform = "crop_size: 5 mean_file: 'mean.npy'"
    found = layer("batch_size: 1 fg_fraction: 1 scale: 0.5", transform).forward()[0][0]
    expected = image[2:7, 3:8].transpose(2, 0, 1) - mean[:, 1:6, 1:6]
    np.testing.assert_array_equal(found, expected * np.float32(0.5))
    np.save(tmp_path / "mean.npy", mean[:, :4])
    with pytest.raises(DataError, match=r"at least 5 x 5 pixels, the crop_size, got \(3, 4, 8\)"):
        layer("batch_size: 1 fg_fraction: 1", transform)


def test_several_images_blank_lines_and_numbers_on_one_line(layer: Any, tmp_path: Path) -> None:
    image = write(
        tmp_path, text=f"{HEAD}1\r\n\n2 1 0 0 4 4\n\n# 1\nb c.png\n3 10 12 1\n3 1 1 1 5 5"
    )
    (tmp_path / "b c.png").write_bytes((tmp_path / "a.png").read_bytes())
    data, label = layer("batch_size: 30 fg_fraction: 1").forward()
    assert set(label) == {2, 3}
    for sample, corner in zip(data, label - 2):
        place = slice(int(corner), int(corner) + 5)
        np.testing.assert_array_equal(sample, image[place, place].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected foreground windows, of which each batch has 1, got none"),
        ("# 1\n", r"windows\.txt:1: expected '# 0', the image's number, got '# 1'"),
        ("a.png\n", r"windows\.txt:1: expected '# 0'.* got 'a\.png'"),
        ("# 0\n", r"windows\.txt:1: expected an image file, got 'the end of the file'"),
        ("# 0\na.png\n1\n5\n5\n0\n", r"windows\.txt:6: expected 3 channels.* got '1'"),
        ("# 0\na.png\n3\n5\n-5\n0\n", r"windows\.txt:5: expected channels, height, width .*'-5'"),
        (HEAD + "2\n1 1 0 0 4 4\n", r":7: expected 2 lines of windows, got 'the end"),
        (HEAD + "2\n1 1 0 0 4 4\n1 1 0 x 4 4\n", r":8: expected six numbers.* got '1 1 0 x 4 4'"),
        (HEAD + "1\n1 1 0 0 4\n", r":7: expected six numbers.* got '1 1 0 0 4'"),
        (HEAD + "1\n1 1 0 0.5 4 4\n", r":7: expected six numbers, whole but for the second"),
        (HEAD + "1\n1 nan 0 0 4 4\n", r":7: expected six numbers"),
        (HEAD + "1\n1 1 0 0 9999999999 4\n", r":7: expected six numbers"),
        (HEAD + "1\n0 1 0 0 4 4\n", r":7: expected a label of at least 1 for a foreground"),
    ],
)
def test_a_window_file_that_is_none_is_refused(
    text: str, message: str, layer: Any, tmp_path: Path
) -> None:
    write(tmp_path, text=text or "\n")
    with pytest.raises(DataError, match=message):
        layer()


@settings(max_examples=200, deadline=None)
@given(changes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 9), st.binary(max_size=4))))
def test_a_damaged_window_file_is_read_or_refused(
    changes: list[tuple[int, int, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = HEAD.encode() + b"2\n1 1 0 0 4 4\n2 0.1 3 3 9 9\n# 1\nb.png\n3\n10\n12\n0\n"
    for place, count, new in changes:
        text = text[:place] + new + text[place + count :]
    path = tmp_path_factory.mktemp("fuzz") / "windows.txt"
    path.write_bytes(text)
    with contextlib.suppress(DataError):
        listed = WindowList(path, 0.5, 0.5)
        assert len(listed.foreground) + len(listed.background) <= len(text)


@pytest.mark.parametrize("window", ["-1 0 4 4", "5 5 4 9", "5 5 12 9", "5 5 9 10"])
def test_a_window_that_is_not_in_its_image_is_named(
    window: str, layer: Any, tmp_path: Path
) -> None:
    write(tmp_path, f"1 1 {window}")
    run = layer("batch_size: 1 fg_fraction: 1")
    with pytest.raises(DataError, match=r"'a\.png', line 7 of .*image of 12 x 10 pixels, got x1"):
        run.forward()


def test_an_image_that_is_missing_is_named(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, "1 1 0 0 4 4")
    run = layer("batch_size: 1 fg_fraction: 1 root_folder: 'b/'")
    with pytest.raises(DataError, match=r"image 0 of .*windows\.txt': expected an existing .*b/a"):
        run.forward()
    with pytest.raises(DataError, match="image 0 of"):
        layer("batch_size: 1 fg_fraction: 1 root_folder: 'b/' cache_images: true")


@pytest.mark.parametrize(
    ("options", "transform", "message"),
    [
        ("", "crop_size: 5", "batch_size: expected at least 1, got 0"),
        ("batch_size: 1", "", "crop_size: expected the height and width of the results, got 0"),
        ("batch_size: 1 crop_size: 3", "", "Write it as transform_param.crop_size"),
        ("batch_size: 1 crop_mode: 'round'", "crop_size: 5", "expected warp or square, got 'roun"),
        ("batch_size: 1 context_pad: 3", "crop_size: 6", "less than half of crop_size 6, got 3"),
        ("batch_size: 1 fg_fraction: 1.5", "crop_size: 6", "expected 0 to 1, got 1.5"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    options: str, transform: str, message: str, layer: Any, tmp_path: Path
) -> None:
    write(tmp_path, "1 1 0 0 4 4")
    with pytest.raises(NetError, match=message):
        layer(options, transform)


def test_what_does_nothing_is_told_of(
    layer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, "1 1 0 0 4 4")
    layer("batch_size: 1 fg_fraction: 1", "crop_size: 5 scale: 0.5")
    assert "transform_param.scale does nothing here. Use window_data_param.scale." in caplog.text


def batches_of(folder: Path, threads: int, context_pad: int) -> list[np.ndarray]:
    """What a net gets whose batches several threads make: images and labels in turn."""
    (folder / "net.prototxt").write_text(
        f"""layer {{ name: "data" type: "WindowData" top: "data" top: "label"
            transform_param {{ crop_size: 5 mirror: true mean_value: 9 }} window_data_param {{
                source: "windows.txt" batch_size: 11 context_pad: {context_pad} }} }}"""
    )
    path = str(folder / "net.prototxt")
    net = open_net(path, "TRAIN", 0, "", "", NumpyOps(), data_threads=threads)
    found = []
    try:
        for _ in range(5):
            net.forward()
            found += [net.blobs[name].data.read().copy() for name in ("data", "label")]
    finally:
        net.close()
    return found


def test_batches_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    write(tmp_path, "7 0.6 0 0 4 4", "8 0.5 1 1 5 5", "9 0.4 0 0 3 3", "9 0.1 2 2 9 9")
    for one, several in zip(batches_of(tmp_path, 1, 1), batches_of(tmp_path, 4, 1), strict=True):
        np.testing.assert_array_equal(one, several)


def test_the_first_window_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    write(tmp_path, *(f"{label} 0.6 0 0 4 {label}" for label in range(1, 90)), "9 0.1 2 2 9 9")
    wrong = tmp_path / "windows.txt"
    wrong.write_text(wrong.read_text().replace("a.png", "b.png"))
    (tmp_path / "b.png").write_bytes(images.encode(np.zeros((20, 12, 3), np.uint8), "png"))
    messages = set()
    for threads in (1, 4):
        with pytest.raises(DataError, match=r"got x1, y1, x2, y2 = 0, 0, 4, \d+") as raised:
            batches_of(tmp_path, threads, 0)
        messages.add(str(raised.value))
    assert len(messages) == 1

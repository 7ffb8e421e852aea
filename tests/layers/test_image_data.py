"""ImageData."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.data import images
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from tests.data_cases import run_batches
from tests.devices import DEVICES, device
from tests.harness import LayerRun, make_layer

EXACT = ("image_color_png", "image_crop", "image_digits_as_color", "image_gray")


@pytest.fixture
def open_layers() -> Iterator[list[LayerRun]]:
    """Layers that are closed at the end of the test."""
    runs: list[LayerRun] = []
    yield runs
    for run in runs:
        run.layer.close()


@pytest.fixture(params=["numpy", *DEVICES])
def layer(open_layers: list[LayerRun], tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Makes an ImageData layer on tmp_path/list.txt, whose batches go either way into a net."""
    ops: Ops | None = None
    if request.param != "numpy":
        ops = CudaOps(device(request))

    def make(options: str = "batch_size: 2", transform: str = "", **kw: Any) -> LayerRun:
        param = f"""type: "ImageData" top: "data" top: "label" transform_param {{ {transform} }}
            image_data_param {{ source: "list.txt" {options} }}"""
        run = make_layer(param, [], folders=(tmp_path,), ops=ops, **kw)
        open_layers.append(run)
        return run

    return make


def write_image(path: Path, *shape: int, value: int = 0) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(images.encode(np.full(shape, value, np.uint8), path.suffix[1:]))


def write_list(folder: Path, lines: Sequence[str]) -> None:
    (folder / "list.txt").write_text("".join(f"{line}\n" for line in lines))


def numbered(folder: Path, count: int) -> None:
    """Gray images of 4 x 4 pixels that all have the image's number, which is also the label."""
    for number in range(count):
        write_image(folder / f"{number}.png", 4, 4, value=number)
    write_list(folder, [f"{number}.png {number}" for number in range(count)])


def labels(run: LayerRun, batches: int) -> list[int]:
    found = []
    for _ in range(batches):
        data, label = run.forward()
        np.testing.assert_array_equal(data[:, 0, 0, 0], label)
        found += [int(value) for value in label]
    return found


@pytest.mark.parametrize("case", EXACT)
def test_equals_caffe(case: str, ops: Ops, golden: Path) -> None:
    run_batches(golden / "formats", case, ops)


def test_resized_equals_caffe_to_a_grey_level(ops: Ops, golden: Path) -> None:
    """Versions of OpenCV may differ by one."""

    def near(found: Any, expected: Any, what: str) -> None:
        np.testing.assert_allclose(found, expected, rtol=0, atol=1, err_msg=what)

    run_batches(golden / "formats", "image_resized", ops, near)


def test_goes_round_and_round_over_the_ends_of_epochs(layer: Any, tmp_path: Path) -> None:
    numbered(tmp_path, 5)
    run = layer("batch_size: 2 is_color: false")
    assert run.top[0].shape == (2, 1, 4, 4)
    assert run.top[1].shape == (2,)
    assert labels(run, 6) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]
    assert labels(layer("batch_size: 7"), 2) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3]


def test_batch_size_1_is_the_default_and_every_image_may_have_its_size(
    layer: Any, tmp_path: Path
) -> None:
    sizes = [(4, 5), (6, 3), (2, 2)]
    for number, size in enumerate(sizes):
        write_image(tmp_path / f"{number}.png", *size)
    write_list(tmp_path, ["0.png 0", "1.png 1", "2.png 2"])
    run = layer("")
    for size in sizes:
        assert run.forward()[0].shape == (1, 3, *size)


def test_shuffling_takes_every_image_once_an_epoch_in_changing_order(
    layer: Any, tmp_path: Path
) -> None:
    numbered(tmp_path, 12)
    run = layer("batch_size: 4 shuffle: true")
    epochs = [labels(run, 3) for _ in range(4)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4
    again = layer("batch_size: 6 shuffle: true")
    assert [labels(again, 2) for _ in range(4)] == epochs, "whatever the batches"
    other = layer("batch_size: 4 shuffle: true", seed=2)
    assert [labels(other, 3) for _ in range(4)] != epochs
    wide = layer("batch_size: 48 shuffle: true")
    assert labels(wide, 1) == [number for epoch in epochs for number in epoch]


def test_rand_skip_starts_at_an_image_that_the_seed_chooses(layer: Any, tmp_path: Path) -> None:
    numbered(tmp_path, 5)
    starts = [labels(layer("rand_skip: 4", seed=seed), 3) for seed in range(20)]
    assert {first for first, *_ in starts} == {0, 1, 2, 3}
    assert all(run == [(run[0] + step) % 5 for step in range(3)] for run in starts)
    skipped = labels(layer("rand_skip: 4 shuffle: true", seed=3), 5)
    order = labels(layer("shuffle: true", seed=3), 10)
    assert skipped == order[order.index(skipped[0]) :][:5], "skipped in the first epoch's order"


@pytest.mark.parametrize("options", ["", "shuffle: true rand_skip: 5"])
def test_resume_goes_on_where_it_was(layer: Any, tmp_path: Path, options: str) -> None:
    numbered(tmp_path, 7)
    options, transform = f"batch_size: 3 {options}", "crop_size: 2 mirror: true"
    straight, first = layer(options, transform), layer(options, transform)
    for passes in range(6):
        resumed = layer(options, transform)
        resumed.layer.restore(first.layer.state())
        expected = straight.forward()
        for run in (first, resumed):
            for found, wanted in zip(run.forward(), expected, strict=True):
                np.testing.assert_array_equal(found, wanted, f"pass {passes}")
    assert first.layer.state() == resumed.layer.state() == {"sample": 18, "images": 7}


def test_a_list_of_another_length_than_the_snapshots_is_told(
    layer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    numbered(tmp_path, 5)
    run = layer("batch_size: 2")
    run.layer.restore({"sample": 8, "images": 4})
    assert "has 5 images, and had 4 when the snapshot was made" in caplog.text
    assert labels(run, 1) == [3, 4]


def test_samples_of_the_batch_in_use_are_described(layer: Any, tmp_path: Path) -> None:
    numbered(tmp_path, 5)
    (tmp_path / "list.txt").write_text("\n" + (tmp_path / "list.txt").read_text())
    run = layer("batch_size: 3 root_folder: './'")
    for _ in range(2):
        run.forward()
    found = [run.layer.describe_sample(1, index) for index in range(3)]
    where = tmp_path / "list.txt"
    assert found == [f"'./{n}.png', line {n + 2} of '{where}'" for n in (3, 4, 0)]


def test_root_folder_is_put_before_names_as_it_is(layer: Any, tmp_path: Path) -> None:
    write_image(tmp_path / "images" / "set_a 1.png", 2, 2, value=9)
    write_list(tmp_path, ["a 1.png 9"])
    assert labels(layer("root_folder: 'images/set_'"), 1) == [9]
    assert labels(layer(f"root_folder: '{tmp_path}/images/set_'"), 1) == [9]
    write_list(tmp_path, ["set_a 1.png 9"])
    with pytest.raises(NetError, match=r"root_folder: expected 'images/', .*Add the /\."):
        layer("root_folder: 'images'")


def test_images_are_looked_for_in_the_working_directory_first(tmp_path: Path) -> None:
    for folder, value in (("here", 1), ("there", 2)):
        write_image(tmp_path / folder / "a.png", 2, 2, value=value)
        write_list(tmp_path / folder, ["a.png 1"])
    param = 'type: "ImageData" top: "d" top: "l" image_data_param { source: "list.txt" }'
    for expected in (1, 2):
        run = make_layer(param, [], folders=(tmp_path / "here", tmp_path / "there"))
        assert run.forward()[0].max() == expected
        run.layer.close()
        (tmp_path / "here" / "a.png").unlink(missing_ok=True)


def test_a_layer_that_was_closed_gives_no_more_batches(layer: Any, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 2, 2, value=1)
    write_list(tmp_path, ["a.png 1"])
    run = layer("batch_size: 1")
    run.forward()
    run.layer.close()
    with pytest.raises(NetError, match=r"\(ImageData\): expected a net that is open, got one that"):
        run.forward()


def test_crop_makes_batches_of_images_of_several_sizes(layer: Any, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", 4, 5, 3)
    write_image(tmp_path / "b.png", 7, 3, 3)
    write_list(tmp_path, ["a.png 0", "b.png 1"])
    assert layer("batch_size: 2", "crop_size: 3").forward()[0].shape == (2, 3, 3, 3)
    assert layer("batch_size: 2 new_height: 6 new_width: 5").forward()[0].shape == (2, 3, 6, 5)
    run = layer("batch_size: 2")
    with pytest.raises(
        DataError,
        match=r"'b\.png', line 2 of '.*list\.txt': expected shape \(3, 4, 5\), that of 'a\.png', "
        r"line 1 of .* got \(3, 7, 3\)\. Make all images one size",
    ):
        run.forward()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("none.png 1", r"line 3 of '.*list\.txt': expected an existing file.*'none\.png'"),
        (r"sub\a.png 1", r"line 3 .*expected an existing file.* take / and not \\ here"),
        ("empty.png 1", r"line 3 of '.*list\.txt': '.*empty\.png': expected an image, got an emp"),
        ("text.png 1", r"line 3 of '.*list\.txt': '.*text\.png': expected an image that OpenCV"),
        ("sub 1", r"line 3 of '.*list\.txt': '.*sub': cannot be read: Is a directory"),
    ],
)
def test_a_bad_image_is_named_when_its_batch_is_due(
    layer: Any, tmp_path: Path, line: str, message: str
) -> None:
    numbered(tmp_path, 4)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "sub").mkdir()
    write_list(tmp_path, ["0.png 0", "1.png 1", line, "3.png 3"])
    run = layer()
    assert labels(run, 1) == [0, 1]
    with pytest.raises(DataError, match=rf"layer 'layer' \(ImageData\): {message}"):
        run.forward()
    run.layer.restore({"sample": 3, "images": 4})
    assert labels(run, 1) == [3, 0]


def test_lists_that_are_none_are_named_with_the_layer(layer: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"image_data_param\.source: expected an existing file"):
        layer()
    write_list(tmp_path, ["a.png 1", "b.png 3.5"])
    with pytest.raises(DataError, match=r"\(ImageData\): .*list\.txt:2: .*got 'b\.png 3\.5'"):
        layer()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("batch_size: 0", r"image_data_param\.batch_size: expected at least 1, got 0"),
        ("new_height: 4", r"expected new_height and new_width, or neither, got new_height 4"),
        ("mirror: true", r"image_data_param\.mirror: .* Write it as transform_param\.mirror"),
        ("label_size: 2", r"label_size: expected it to be left out or at its default, got 2"),
        ("rand_skip: 4000000", r"rand_skip: expected at most 3, the number of images in"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    layer: Any, tmp_path: Path, options: str, message: str
) -> None:
    numbered(tmp_path, 3)
    with pytest.raises(NetError, match=message):
        layer(options)


def test_what_does_nothing_is_told(
    layer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    numbered(tmp_path, 3)
    assert layer("threads: 9 cache: true", "force_gray: true").forward()[0].shape == (1, 3, 4, 4)
    assert "force_color and force_gray do nothing here; is_color does" in caplog.text


def test_a_size_beyond_all_memory_is_refused(layer: Any, tmp_path: Path) -> None:
    numbered(tmp_path, 3)
    for size in (2_000_000_000, 4_000_000_000):
        with pytest.raises(DataError, match=r"line 1 of .*: resizing to .*Choose a smaller size"):
            layer(f"new_height: {size} new_width: {size}")


def test_set_up_is_logged_as_by_caffe(
    layer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    numbered(tmp_path, 3)
    caplog.set_level("INFO", logger="caffepy")
    layer("batch_size: 2 shuffle: true rand_skip: 1")
    assert caplog.messages == [
        f"Opening file {tmp_path / 'list.txt'}",
        "Shuffling data",
        "A total of 3 images.",
        "Skipping first 0 data points.",
        "output data size: 2,3,4,4",
    ]

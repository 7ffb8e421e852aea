"""Data."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.value import Value
from caffepy.engine.data import datum, images
from caffepy.engine.data.db import create_db
from caffepy.engine.data.feed import Images, Pixels
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.proto.caffe_pb2 import TEST, Datum
from tests.data_cases import run_annotated, run_batches
from tests.devices import CACHING, DEVICES, device
from tests.harness import LayerRun, make_layer

EXACT = [
    "data_crop", "data_crop_meanfile", "data_encoded_crop", "data_encoded_force_gray",
    "data_encoded_gray_force_color", "data_encoded_png", "data_meanfile_scale", "data_meanvalue1",
    "data_meanvalue3", "data_mirror_absent_resized", "data_plain_leveldb", "data_plain_lmdb",
    "data_scale",
]  # fmt: skip


@pytest.fixture
def open_layers() -> Iterator[list[LayerRun]]:
    """Layers that are closed at the end of the test."""
    runs: list[LayerRun] = []
    yield runs
    for run in runs:
        run.layer.close()


@pytest.fixture(params=["numpy", *DEVICES, *CACHING])
def layer(open_layers: list[LayerRun], tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Makes a Data layer on tmp_path/db, on each of the ways that batches take into a net."""
    ops: Ops | None = None
    if request.param != "numpy":
        ops = CudaOps(device(request), keep_data="cache" in request.param)

    def make(options: str = "batch_size: 2", transform: str = "", tops: int = 2, **kw: Any) -> Any:
        names = " ".join(f'top: "{name}"' for name in ("data", "label")[:tops])
        backend = "" if "backend" in options else "backend: LMDB"
        param = f"""type: "Data" {names} transform_param {{ {transform} }}
            data_param {{ source: "db" {options} {backend} }}"""
        run = make_layer(param, [], folders=(tmp_path,), ops=ops, **kw)
        open_layers.append(run)
        return run

    return make


def write(folder: Path, records: Iterable[Datum], backend: str = "lmdb") -> None:
    with create_db(folder / "db", backend) as writer:
        for index, record in enumerate(records):
            writer.put(b"%08d" % index, record.SerializeToString())


def numbered(count: int) -> list[Datum]:
    """Images of 1 x 4 x 4 pixels that all have the record's number, which is also the label."""
    return [datum.raw(np.full((1, 4, 4), index, np.uint8), index) for index in range(count)]


def labels(run: LayerRun, batches: int) -> list[int]:
    found = []
    for _ in range(batches):
        data, label = run.forward()
        np.testing.assert_array_equal(data[:, 0, 0, 0], label)
        found += [int(value) for value in label]
    return found


@pytest.mark.parametrize("case", EXACT)
def test_equals_caffe(case: str, ops: Ops, golden: Path, tmp_path: Path) -> None:
    formats = golden / "formats"
    if "leveldb" in case:  # which opening changes
        formats = shutil.copytree(formats / "db" / "gray_leveldb", tmp_path / "db" / "gray_leveldb")
        formats = tmp_path
    run_batches(formats, case, ops)


@pytest.mark.parametrize("case", ["class_labels", "no_labels"])
def test_annotated_records_give_the_images_of_ssd(case: str, ops: Ops) -> None:
    run_annotated(case, ops)


def test_goes_round_and_round(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, numbered(5))
    run = layer()
    assert run.top[0].shape == (2, 1, 4, 4)
    assert run.top[1].shape == (2,)
    assert labels(run, 6) == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1]


@pytest.mark.parametrize("prefetch", [0, 1, 10])
def test_the_order_does_not_depend_on_prefetching(
    layer: Any, tmp_path: Path, prefetch: int
) -> None:
    write(tmp_path, numbered(7))
    assert labels(layer(f"batch_size: 3 prefetch: {prefetch}"), 5) == [i % 7 for i in range(15)]


def test_one_top_gives_data_only(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, numbered(3))
    (data,) = layer(tops=1).forward()
    np.testing.assert_array_equal(data[:, 0, 0, 0], [0, 1])


def test_rand_skip_starts_at_a_record_that_the_seed_chooses(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, numbered(20))
    starts = [labels(layer("batch_size: 1 rand_skip: 4", seed=seed), 2) for seed in range(20)]
    assert {first for first, _ in starts} == {0, 1, 2, 3}
    assert all(second == first + 1 for first, second in starts)
    assert labels(layer("batch_size: 1 rand_skip: 4", seed=3), 2) == starts[3]


@pytest.mark.parametrize("options", ["batch_size: 3", "batch_size: 3 rand_skip: 5"])
def test_resume_goes_on_where_it_was(layer: Any, tmp_path: Path, options: str) -> None:
    write(tmp_path, numbered(7))
    transform = "crop_size: 2 mirror: true"
    straight, first = layer(options, transform), layer(options, transform)
    for passes in range(5):
        resumed = layer(options, transform)
        resumed.layer.restore(first.layer.state())
        expected = straight.forward()
        for run in (first, resumed):
            for found, wanted in zip(run.forward(), expected, strict=True):
                np.testing.assert_array_equal(found, wanted, f"pass {passes}")
    assert first.layer.state() == resumed.layer.state()
    assert first.layer.state()["sample"] == 15
    first.layer.restore({"sample": 4, "last_key": ""})  # a snapshot without the key
    fresh = layer(options, transform)
    fresh.layer.restore({"sample": 4, "last_key": ""})
    np.testing.assert_array_equal(first.forward()[1], fresh.forward()[1])


JITTER = """crop_size: 3 mirror: true max_rotation_angle: 20 erase_ratio: 0.5 mean_value: 3
    distort_param { brightness_prob: 0.5 brightness_delta: 9 } img_rand_resize_lower: 4
    img_rand_resize_upper: 6"""


def test_what_caffe_cannot_do_to_images_is_the_same_on_every_way_and_resumes(
    layer: Any, tmp_path: Path
) -> None:
    write(tmp_path, numbered(7))
    plain = 'type: "Data" top: "x" data_param { source: "db" batch_size: 3 backend: LMDB }'
    host = make_layer(f"{plain} transform_param {{ {JITTER} }}", [], folders=(tmp_path,))
    first, resumed = layer("batch_size: 3", JITTER), layer("batch_size: 3", JITTER)
    for _ in range(4):
        resumed.layer.restore(first.layer.state())
        (expected,) = host.forward()
        for run in (first, resumed):
            np.testing.assert_array_equal(run.forward()[0], expected)
    host.layer.close()


def test_a_snapshot_of_another_database_is_refused(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, numbered(7))
    run = layer()
    run.layer.restore({"sample": 4, "last_key": "00000009"})
    with pytest.raises(DataError, match=r"expected the record '00000009', with which the snapshot"):
        run.forward()


def test_with_batch_size_1_every_image_may_have_its_size(layer: Any, tmp_path: Path) -> None:
    sizes = [(1, 4, 5), (1, 6, 3), (3, 2, 2)]
    write(tmp_path, [datum.raw(np.ones(size, np.uint8), 0) for size in sizes])
    run = layer("batch_size: 1")
    for size in sizes:
        assert run.forward()[0].shape == (1, *size)


def test_images_of_different_sizes_in_a_batch_are_named(layer: Any, tmp_path: Path) -> None:
    records = numbered(2)
    write(tmp_path, [*records, *records, datum.raw(np.ones((1, 4, 5), np.uint8), 0), records[0]])
    run = layer()
    run.forward()
    run.forward()
    with pytest.raises(
        DataError, match=r"record '00000005' of '.*db': expected shape \(1, 4, 5\).*got \(1, 4, 4\)"
    ):
        run.forward()


def test_a_bad_record_is_named_when_its_batch_is_due(layer: Any, tmp_path: Path) -> None:
    records = numbered(6)
    records[3] = Datum(channels=1, height=4, width=4, data=b"123")
    records[5] = Datum(data=b"no image", encoded=True)
    write(tmp_path, records)
    run = layer("batch_size: 1")
    assert labels(run, 3) == [0, 1, 2]
    with pytest.raises(DataError, match=r"layer 'layer' \(Data\): record '00000003' of .*3 bytes"):
        run.forward()
    run.layer.restore({"sample": 4, "last_key": "00000003"})
    assert labels(run, 1) == [4]
    with pytest.raises(DataError, match=r"'00000005' of .*an image that OpenCV can decode"):
        run.forward()


def test_force_encoded_color_and_float_data(layer: Any, tmp_path: Path) -> None:
    gray = np.arange(16, dtype=np.uint8).reshape(4, 4)
    write(tmp_path, [datum.encoded(images.encode(gray, "png"), 0)])
    colored = layer("batch_size: 2 force_encoded_color: true")
    assert colored.forward()[0].shape == (2, 3, 4, 4)
    colored.layer.close()
    shutil.rmtree(tmp_path / "db")
    values = np.random.default_rng(0).standard_normal((2, 1, 3))
    write(tmp_path, [datum.raw(values, 0)])
    fresh = layer("batch_size: 1", phase=TEST).forward()[0]
    np.testing.assert_array_equal(fresh[0], values.astype(np.float32))


def test_train_and_test_nets_may_read_one_database(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, numbered(4), "leveldb")
    first, second = layer("batch_size: 2 backend: LEVELDB"), layer("batch_size: 3 backend: LEVELDB")
    assert labels(first, 2) == [0, 1, 2, 3]
    assert labels(second, 2) == [0, 1, 2, 3, 0, 1]


def test_parameters_that_make_no_sense_are_refused(layer: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data_param.source: expected an existing file or folder"):
        layer()
    write(tmp_path, numbered(4))
    with pytest.raises(NetError, match="batch_size: expected at least 1, got 0"):
        layer("")
    with pytest.raises(NetError, match=r"data_param\.shuffle: this layer does not know it"):
        layer("batch_size: 1 shuffle: true")
    with pytest.raises(DataError, match=r"got one of lmdb\. Set `backend: LMDB`"):
        layer("batch_size: 1 backend: LEVELDB")
    with pytest.raises(DataError, match=r"record '00000000' of .* expected at least 9 x 9 pixels"):
        layer(transform="crop_size: 9")
    layer("batch_size: 1 cache: true threads: 3")


def test_batches_take_turns_in_the_memory_of_a_few(
    layer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, numbered(7))
    run = layer("batch_size: 3 prefetch: 2")
    seen: set[int] = set()
    deliver = run.layer._feed.deliver

    def watched(images: Images, out: Value) -> None:
        memory = images.choices if isinstance(images, Pixels) else images
        seen.add(memory.ctypes.data)
        deliver(images, out)

    monkeypatch.setattr(run.layer._feed, "deliver", watched)
    for _ in range(20):
        run.layer.forward([], run.top)
    assert len(seen) <= 4  # in use, made ahead, being made

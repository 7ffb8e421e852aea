"""AnnotatedData."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, LabelError, NetError
from caffepy.engine.data import datum, images, prefetching_layer
from caffepy.engine.data.db import create_db
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.proto.caffe_pb2 import TEST, AnnotatedDatum
from tests.data_cases import equal, run_batches
from tests.devices import DEVICES, device
from tests.engine.data.test_augmentation import near
from tests.harness import LayerRun, make_layer
from tests.nets import make_net

EXACT = [
    "class_labels", "json_plain", "no_labels", "png_warp_nearest_scale", "raw_crop",
    "raw_crop_emit_center", "raw_crop_emit_overlap", "raw_plain",
]  # fmt: skip
SCALED = [
    "png_batch1", "png_pad_constant", "png_pad_replicate", "png_small", "png_warp_mean", "txt_warp",
]  # fmt: skip


@pytest.mark.parametrize(
    ("case", "compare"), [(case, equal) for case in EXACT] + [(case, near) for case in SCALED]
)
def test_equals_the_ssd_fork(
    case: str, compare: Any, ops: Ops, golden: Path, tmp_path: Path
) -> None:
    formats = golden / "fork_formats"
    if case == "txt_warp":  # a LevelDB, which opening changes
        shutil.copytree(formats / "db" / "anno_txt_leveldb", tmp_path / "db" / "anno_txt_leveldb")
        formats = tmp_path
    run_batches(formats, case, ops, compare, "fork_formats")


# ---- on records of our own


@pytest.fixture
def open_layers() -> Iterator[list[LayerRun]]:
    """Layers that are closed at the end of the test."""
    runs: list[LayerRun] = []
    yield runs
    for run in runs:
        run.layer.close()


@pytest.fixture(params=["numpy", *DEVICES])
def layer(open_layers: list[LayerRun], tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Makes an AnnotatedData layer on tmp_path/db, on each way that batches take into a net."""
    ops = None if request.param == "numpy" else CudaOps(device(request))

    def make(
        transform: str = "", annotated: str = "", options: str = "batch_size: 2", **kw: Any
    ) -> LayerRun:
        names = 'top: "data" top: "label"' if kw.pop("tops", 2) == 2 else 'top: "data"'
        param = f"""type: "AnnotatedData" {names} transform_param {{ {transform} }}
            data_param {{ source: "db" {options} backend: LMDB }}
            annotated_data_param {{ {annotated} }}"""
        run = make_layer(param, [], folders=(tmp_path,), ops=ops, **kw)
        open_layers.append(run)
        return run

    return make


def record(
    image: np.ndarray, *boxes: tuple[float, ...], encoded: bool = False, label: int = -1
) -> AnnotatedDatum:
    """boxes: label, xmin, ymin, xmax, ymax."""
    found = AnnotatedDatum(type=AnnotatedDatum.BBOX)
    stored = datum.raw(image, label)
    if encoded:
        stored = datum.encoded(images.encode(image.transpose(1, 2, 0), "png"), label)
    found.datum.CopyFrom(stored)
    for number, (kind, *place) in enumerate(boxes):
        group = found.annotation_group.add(group_label=int(kind))
        box = group.annotation.add(instance_id=number).bbox
        box.xmin, box.ymin, box.xmax, box.ymax = place
        box.difficult = bool(number % 2)
    return found


def write(folder: Path, records: Iterable[AnnotatedDatum]) -> None:
    with create_db(folder / "db", "lmdb") as writer:
        for index, given in enumerate(records):
            writer.put(b"%08d" % index, given.SerializeToString())


def pictures(count: int, encoded: bool = True, empty: int = -1) -> list[AnnotatedDatum]:
    """Random images of 3 x 20 x 24 pixels with one to three boxes, `empty` with none."""
    random = np.random.default_rng(3)
    made = []
    for index in range(count):
        image = random.integers(0, 256, (3, 20, 24), np.uint8)
        corners = np.sort(random.random((1 + index % 3, 2, 2)), axis=1).reshape(-1, 4)
        boxes = [(1 + index % 2, *corner) for corner in corners.tolist()]
        made.append(record(image, *([] if index == empty else boxes), encoded=encoded))
    return made


SSD = """mirror: true mean_value: 104 mean_value: 117 mean_value: 123
    resize_param { prob: 1 resize_mode: WARP height: 16 width: 12 interp_mode: LINEAR
      interp_mode: AREA interp_mode: NEAREST interp_mode: CUBIC interp_mode: LANCZOS4 }
    emit_constraint { emit_type: CENTER }
    distort_param { brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5
      contrast_lower: 0.5 contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5
      saturation_lower: 0.5 saturation_upper: 1.5 random_order_prob: 0.5 }
    expand_param { prob: 0.5 max_expand_ratio: 4 }"""
SAMPLERS = "batch_sampler { max_sample: 1 max_trials: 1 } " + " ".join(
    f"""batch_sampler {{ max_sample: 1 max_trials: 50 sampler {{ min_scale: 0.3 max_scale: 1
    min_aspect_ratio: 0.5 max_aspect_ratio: 2 }}
    sample_constraint {{ min_jaccard_overlap: {overlap} }} }}"""
    for overlap in (0.1, 0.5, 0.9)
)


def batches(run: LayerRun, count: int) -> list[list[np.ndarray]]:
    return [run.forward() for _ in range(count)]


def same(found: list[list[np.ndarray]], expected: list[list[np.ndarray]]) -> None:
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other, f"batch {number}")


def test_labels_are_rows_of_boxes_and_of_minus_one_without_any(layer: Any, tmp_path: Path) -> None:
    image = np.zeros((1, 4, 4), np.uint8)
    one = record(image, (3, 0, 0, 0.5, 1), (2, 0.25, 0.25, 0.5, 0.5), (3, 0.5, 0, 1, 1))
    write(tmp_path, [one, record(image), record(image), record(image)])
    run = layer()
    assert [top.shape for top in run.top] == [(2, 1, 4, 4), (1, 1, 1, 8)]
    first, second = (labels for _, labels in batches(run, 2))
    expected = [
        [0, 3, 0, 0, 0, 0.5, 1, 0],
        [0, 2, 1, 0.25, 0.25, 0.5, 0.5, 1],
        [0, 3, 2, 0.5, 0, 1, 1, 0],
    ]
    np.testing.assert_array_equal(first, [[expected]])
    np.testing.assert_array_equal(second, [[[[-1] * 8]]])


def test_mirrored_images_have_mirrored_boxes(layer: Any, tmp_path: Path) -> None:
    image = np.zeros((1, 4, 8), np.uint8)
    image[:, 1:3, 0:2] = 9
    write(tmp_path, [record(image, (1, 0, 0.25, 0.25, 0.75))])
    seen = set()
    for data, labels in batches(layer("mirror: true", options="batch_size: 1"), 12):
        x1, y1, x2, y2 = (labels[0, 0, 0, 3:7] * [8, 4, 8, 4]).astype(int)
        assert (data[0, 0, y1:y2, x1:x2] == 9).all()
        assert data.sum() == 4 * 9
        seen.add(int(x1))
    assert seen == {0, 6}


def test_cropped_images_keep_their_boxes_around_their_pixels(layer: Any, tmp_path: Path) -> None:
    image = np.zeros((1, 12, 16), np.uint8)
    image[:, 4:8, 6:10] = 9
    write(tmp_path, [record(image, (1, 6 / 16, 4 / 12, 10 / 16, 8 / 12))])
    run = layer("crop_h: 9 crop_w: 11 mirror: true", options="batch_size: 1")
    for data, labels in batches(run, 12):
        edges = labels[0, 0, 0, 3:7] * [11, 9, 11, 9]
        x1, y1, x2, y2 = np.rint(edges).astype(int)
        np.testing.assert_allclose(edges, [x1, y1, x2, y2], atol=1e-5)
        assert data.sum() == data[0, 0, y1:y2, x1:x2].sum() == 9 * (y2 - y1) * (x2 - x1)


@pytest.mark.parametrize("encoded", [True, False])
def test_threads_and_batches_do_not_change_what_comes(
    layer: Any, tmp_path: Path, encoded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, pictures(7, encoded, empty=4))
    expected = batches(layer(SSD, SAMPLERS), 9)
    for cpus in (4, 20):  # a thread of each, or of four
        monkeypatch.setattr(prefetching_layer, "allowed_cpus", lambda cpus=cpus: cpus)
        same(batches(layer(SSD, SAMPLERS), 9), expected)
    whole = layer(SSD, SAMPLERS, "batch_size: 18").forward()
    np.testing.assert_array_equal(np.concatenate([data for data, _ in expected]), whole[0])
    rows = []
    for number, (_, labels) in enumerate(expected):
        kept = labels[0, 0][labels[0, 0, :, 0] >= 0]
        rows.append(kept + np.array([2 * number] + [0] * 7, np.float32))
    np.testing.assert_array_equal(np.concatenate(rows), whole[1][0, 0])
    other = batches(layer(SSD, SAMPLERS, seed=9), 9)
    assert any((one[0] != two[0]).any() for one, two in zip(expected, other, strict=True))


def test_resume_goes_on_where_it_was(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, pictures(7))
    straight, first = layer(SSD, SAMPLERS), layer(SSD, SAMPLERS)
    for _ in range(5):
        resumed = layer(SSD, SAMPLERS)
        resumed.layer.restore(first.layer.state())
        expected = batches(straight, 1)
        for run in (first, resumed):
            same(batches(run, 1), expected)
    assert first.layer.state() == {"sample": 10, "last_key": "00000002"}


def test_at_test_only_size_crop_and_mean_change_images(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, pictures(4))
    size = "resize_param { height: 16 width: 12 } mean_value: 3 emit_constraint { }"
    rest = SSD[SSD.index("distort_param") :]
    found = batches(layer(f"{size} {rest}", SAMPLERS, phase=TEST), 2)
    same(found, batches(layer(size, phase=TEST), 2))


def test_plain_records_give_labels(layer: Any, tmp_path: Path) -> None:
    with create_db(tmp_path / "db", "lmdb") as writer:
        for index in range(3):
            pixels = np.full((1, 4, 4), index, np.uint8)
            writer.put(b"%d" % index, datum.raw(pixels, index).SerializeToString())
    data, labels = layer(options="batch_size: 3").forward()
    np.testing.assert_array_equal(labels, np.arange(3).reshape(3, 1, 1, 1))
    np.testing.assert_array_equal(data[:, 0, 0, 0], [0, 1, 2])
    (data,) = layer(options="batch_size: 3", tops=1).forward()
    np.testing.assert_array_equal(data[:, 0, 0, 0], [0, 1, 2])


def test_a_label_is_traced_to_its_record(layer: Any, tmp_path: Path) -> None:
    write(tmp_path, pictures(6, empty=1))
    run = layer(options="batch_size: 3")
    _, labels = run.forward()
    rows = labels[0, 0]
    assert rows[:, 0].tolist() == [0, 2, 2, 2]
    found = [run.layer.sample_at(1, 8 * row + 3, labels.shape) for row in range(4)]
    assert found == [0, 2, 2, 2]
    assert run.layer.sample_at(0, 2 * 3 * 20 * 24 - 1, (3, 3, 20, 24)) == 1
    assert "record '00000002' of" in run.layer.describe_sample(1, 2)


def test_a_loss_names_the_record_of_a_bad_label(tmp_path: Path, ops: Ops) -> None:
    if ops.name == "padded":  # its ops see copies of the values, of which the net knows nothing
        return
    write(tmp_path, [*pictures(3), record(np.zeros((3, 20, 24), np.uint8), (9, 0, 0, 1, 1))])
    net = make_net(
        """layer { name: "d" type: "AnnotatedData" top: "data" top: "label"
             data_param { source: "db" batch_size: 2 backend: LMDB } }
        layer { name: "p" type: "PriorBox" bottom: "data" bottom: "data" top: "p"
          prior_box_param { min_size: 9 } }
        layer { name: "loc" type: "DummyData" top: "loc" top: "conf" dummy_data_param {
          shape { dim: 2 dim: 1920 } shape { dim: 2 dim: 1440 } } }
        layer { name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "p"
          bottom: "label" top: "loss" multibox_loss_param { num_classes: 3 } }""",
        ops,
        folders=(tmp_path,),
    )
    try:
        net.forward()
        with pytest.raises(LabelError, match=r"(?s)record '00000003' of .*expected a class from"):
            net.forward()
    finally:
        net.close()


# ---- refusals


def odd(pick: str) -> AnnotatedDatum:
    """A record that does not fit."""
    found = record(np.zeros((3, 20, 24), np.uint8), (1, 0, 0, 1, 1))
    if pick == "no type":
        found.ClearField("type")
    elif pick == "lanes":
        found.type = AnnotatedDatum.LANE
    elif pick == "nan":
        found.annotation_group[0].annotation[0].bbox.ymax = float("nan")
    else:
        found.datum.data = b"broken"
    return found


@pytest.mark.parametrize(
    ("pick", "message"),
    [
        ("no type", "expected annotations of type BBOX, as the whole database.*got none"),
        ("lanes", "expected annotations of type BBOX, .*got LANE"),
        ("nan", "expected boxes of finite numbers"),
        ("broken", "expected channels x height x width values, got 6 bytes"),
    ],
)
def test_a_record_that_does_not_fit_is_named(
    layer: Any, tmp_path: Path, pick: str, message: str
) -> None:
    write(tmp_path, [*pictures(2), odd(pick), *pictures(1)])
    run = layer()
    run.forward()
    with pytest.raises(DataError, match=rf"AnnotatedData.*record '00000002' of .*{message}"):
        run.forward()


def test_records_without_any_label_are_refused(layer: Any, tmp_path: Path) -> None:
    bare = record(np.zeros((1, 4, 4), np.uint8))
    bare.ClearField("type")
    bare.datum.ClearField("label")
    write(tmp_path, [bare])
    run = layer()
    with pytest.raises(DataError, match=r"record '00000000' of .*expected a label"):
        run.forward()
    with pytest.raises(DataError, match=r"of type BBOX.*got none"):
        layer(annotated="anno_type: BBOX").forward()


@pytest.mark.parametrize(
    ("transform", "annotated", "options", "message"),
    [
        ("", "", "batch_size: 0", "data_param.batch_size: expected at least 1"),
        ("", "", "batch_size: 1 shuffle: true", "data_param.shuffle: this layer does not know it"),
        ("", "train_diffcult: false", "batch_size: 1", "annotated_data_param.train_diffcult: exp"),
        ("", "anno_type: LANE", "batch_size: 1", "anno_type: expected BBOX, got LANE"),
        ("rotate: true", "", "batch_size: 1", "transform_param.rotate: this layer does not know"),
        ("max_rotation_angle: 9", "", "batch_size: 1", "expected 0, since boxes do not turn"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(
    layer: Any, tmp_path: Path, transform: str, annotated: str, options: str, message: str
) -> None:
    write(tmp_path, pictures(1))
    with pytest.raises(NetError, match=message):
        layer(transform, annotated, options)

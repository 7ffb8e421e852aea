"""DetectionEvaluate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import LayerRun, golden_cases, make_layer, run_golden

PARAM = 'type: "DetectionEvaluate" detection_evaluate_param {{ num_classes: 4 {} }}'
NOTHING = [[-1.0] * 8]
OBJECT = [0, 1, 0, 0.25, 0.25, 0.75, 0.75, 0]
HIT = [0, 1, 0.9, 0.25, 0.25, 0.75, 0.75]


def layer(
    detections: object, objects: object, fields: str = "", folders: tuple[Path, ...] = (Path(),)
) -> LayerRun:
    bottoms = [np.asarray(rows, np.float32)[None, None] for rows in (detections, objects)]
    return make_layer(PARAM.format(fields), bottoms, phase=TEST, folders=folders)


def rows(detections: object, objects: object, fields: str = "") -> list[list[float]]:
    """What the layer makes of them, without the rows of the labels."""
    (top,) = layer(detections, objects, fields).forward()
    return top[0, 0, 3:].tolist()


@pytest.mark.parametrize("case", golden_cases("DetectionEvaluate"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return float(width * height / (sum(areas) - width * height))


def expected_rows(
    detections: np.ndarray, objects: np.ndarray, threshold: float, difficult_count: bool
) -> list[tuple[float, ...]]:
    """The same by loops over single boxes."""
    found = []
    for image in sorted(set(detections[:, 0])):
        for label in sorted(set(detections[detections[:, 0] == image, 1])):
            boxes = [row for row in detections if row[0] == image and row[1] == label]
            there = [row for row in objects if row[0] == image and row[1] == label]
            if there:
                boxes.sort(key=lambda row: -row[2])
            taken = set()
            for row in boxes:
                shares = [overlap(row[3:], each[3:7]) for each in there]
                best = max(range(len(there)), key=lambda place: shares[place], default=None)
                hit, miss = 0, 1
                if best is not None and shares[best] >= threshold:
                    if there[best][7] and not difficult_count:
                        hit, miss = 0, 0
                    elif best not in taken:
                        hit, miss = 1, 0
                        taken.add(best)
                found.append((image, label, float(row[2]), hit, miss))
    return found


@pytest.mark.parametrize("difficult_count", [True, False])
@pytest.mark.parametrize("threshold", [0.125, 0.5])
def test_equals_a_loop_over_boxes(threshold: float, difficult_count: bool) -> None:
    random = np.random.default_rng(0)

    def some(count: int, middle: np.ndarray) -> np.ndarray:
        rows = np.zeros((count, 8 if middle.shape[1] == 2 else 7), np.float32)
        rows[:, 0], rows[:, 1] = random.integers(0, 4, count) * 3, random.integers(1, 4, count)
        low = random.uniform(0, 0.4, (count, 2))
        rows[:, 2 : 2 + middle.shape[1]] = middle
        rows[:, 3:5], rows[:, 5:7] = low, low + random.uniform(0.2, 0.6, (count, 2))
        return rows

    detections = some(80, random.permutation(80)[:, None] / 80)
    objects = some(25, np.zeros((25, 2)))
    objects[:, 7] = random.integers(0, 2, 25)
    fields = f"overlap_threshold: {threshold} evaluate_difficult_gt: {difficult_count}".lower()
    (top,) = layer(detections, objects, fields).forward()
    counted = objects if difficult_count else objects[objects[:, 7] == 0]
    numbers = [(counted[:, 1] == label).sum() for label in (1, 2, 3)]
    np.testing.assert_array_equal(top[0, 0, :3, 2], numbers)
    found = [tuple(row) for row in top[0, 0, 3:].tolist()]
    assert found == expected_rows(detections, objects, threshold, difficult_count)
    assert {row[3:] for row in found} >= {(1, 0), (0, 1)}


def test_nothing_found_and_nothing_there(ops: Ops) -> None:
    none = [[image, -1, -1, -1, -1, -1, -1] for image in range(2)]
    (top,) = layer(none, NOTHING).forward()
    np.testing.assert_array_equal(top[0, 0], [[-1, label, 0, -1, -1] for label in (1, 2, 3)])
    assert rows([HIT], NOTHING) == [[0, 1, pytest.approx(0.9), 0, 1]]
    (top,) = layer(none, [OBJECT]).forward()
    np.testing.assert_array_equal(top[0, 0, :, 2], [1, 0, 0])
    run = layer(np.zeros((0, 7)), np.zeros((0, 8)))
    assert run.forward()[0].shape == (1, 1, 3, 5)


def test_rows_may_change_from_pass_to_pass() -> None:
    run = layer([HIT], [OBJECT])
    assert run.forward()[0].shape == (1, 1, 4, 5)
    run.bottom[0].reshape((1, 1, 2, 7))
    run.bottom[0].data.write()[...] = [HIT, [0, 1, 0.95, 0.25, 0.25, 0.75, 0.75]]
    (top,) = run.forward()
    np.testing.assert_array_equal(top[0, 0, 3:, 3:], [[1, 0], [0, 1]])
    np.testing.assert_allclose(top[0, 0, 3:, 2], [0.95, 0.9])


def test_images_and_labels_are_cut_to_whole_numbers() -> None:
    assert rows([[0.7, 1.9, *HIT[2:]]], [OBJECT])[0] == [0, 1, pytest.approx(0.9), 1, 0]


def test_boxes_that_are_no_boxes_hit_nothing() -> None:
    huge = [-1e30, -1e30, 1e30, 1e30]
    for box in ([np.nan] * 4, [0.75, 0.75, 0.25, 0.25], [-np.inf, 0, np.inf, 1], huge):
        assert rows([[0, 1, 0.9, *box]], [OBJECT])[0][3:] == [0, 1]


def test_the_background_may_be_another_class_or_none() -> None:
    (top,) = layer([HIT], [OBJECT], "background_label_id: 2").forward()
    assert top[0, 0, :, 1].tolist() == [0, 1, 3, 1]
    (top,) = layer([HIT], [OBJECT], "background_label_id: 9").forward()
    assert top[0, 0, :, 1].tolist() == [0, 1, 2, 3, 1]


SIZES = "one 100 200\n\ntwo 50 50\n"
SMALL = [0, 1, 0.9, 0.1, 0.1, 0.2, 0.2]  # 5 x 5 pixels in the second image: 36 with both ends
SHIFTED = [0, 1, 0, 0.1, 0.1, 0.2, 0.24, 0]  # 5 x 7 pixels: 48


def test_sizes_are_taken_in_turn_for_images_with_detections(tmp_path: Path) -> None:
    (tmp_path / "sizes.txt").write_text(SIZES)
    fields = 'name_size_file: "sizes.txt" overlap_threshold: {}'
    for threshold, hits in ((0.72, [0, 1, 0, 1]), (0.74, [0, 1, 0, 1]), (0.76, [0, 0, 0, 0])):
        run = layer([SMALL], [SHIFTED], fields.format(threshold), (tmp_path,))
        found = []
        for _ in range(4):
            found.append(run.forward()[0][0, 0, 3, 3])
        # 20 x 10 and 20 x 14 pixels: 231 / 315 = 0.733; 36 / 48 = 0.75
        assert found == ([1, 1, 1, 1] if threshold == 0.72 else hits)
    again = layer([SMALL], [SHIFTED], fields.format(0.74), (tmp_path,))
    again.forward()
    state = again.layer.state()
    assert state == {"size": 1}
    resumed = layer([SMALL], [SHIFTED], fields.format(0.74), (tmp_path,))
    resumed.layer.restore(state)
    assert resumed.forward()[0][0, 0, 3, 3] == 1


@pytest.mark.parametrize(
    ("fields", "hit"),
    [
        ("", 0),  # 100 x 25 pixels against 100 x 50
        ("resize_param { height: 300 width: 300 }", 0),
        ("resize_param { resize_mode: FIT_LARGE_SIZE_AND_PAD height: 300 width: 300 }", 1),
    ],
)
def test_boxes_are_those_of_the_image_before_it_was_resized(
    fields: str, hit: int, tmp_path: Path
) -> None:
    (tmp_path / "sizes.txt").write_text("wide 100 200\n")
    found = [0, 1, 0.9, 0.25, 0, 0.75, 0.5]  # its upper half lies in the padding
    there = [0, 1, 0, 0.25, 0.25, 0.75, 0.5, 0]
    text = f'name_size_file: "sizes.txt" overlap_threshold: 0.75 {fields}'
    (top,) = layer([found], [there], text, (tmp_path,)).forward()
    assert top[0, 0, 3, 3] == hit


def test_bad_rows_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"'bottom_0': expected rows of 7 numbers.*\(1, 1, 1, 8\)"):
        layer(NOTHING, NOTHING)
    with pytest.raises(ShapeError, match="'bottom_1': expected rows of 8 numbers"):
        layer([HIT], [HIT])
    for label in (0, 4, -2):
        with pytest.raises(DataError, match=f"'bottom_0', row 1: expected a label.*got {label}"):
            layer([HIT, [0, label, *HIT[2:]]], [OBJECT]).forward()
        with pytest.raises(DataError, match=f"'bottom_1', row 0: expected a label.*got {label}"):
            layer([HIT], [[0, label, *OBJECT[2:]]]).forward()
    with pytest.raises(DataError, match=r"'bottom_0', row 0: expected numbers, got \(0, 1, nan"):
        layer([[0, 1, np.nan, 0, 0, 1, 1]], [OBJECT]).forward()
    with pytest.raises(DataError, match="'bottom_1', row 0: expected numbers"):
        layer([HIT], [[0, 1, 0, 0, np.nan, 1, 1, 0]]).forward()


def test_bad_fields_are_refused(tmp_path: Path) -> None:
    (tmp_path / "s.txt").write_text(SIZES)
    text = 'type: "DetectionEvaluate" detection_evaluate_param {{ {} }}'
    bottoms = [np.zeros((1, 1, 1, 7)), np.zeros((1, 1, 1, 8))]
    for fields, message in (
        ("", "num_classes: expected 1 to 16777216, got 0"),
        ("num_classes: 4294967295", "num_classes: expected 1 to 16777216, got 4294967295"),
        ("num_classes: 4 output_logits: true", "output_logits: expected it to be left out"),
        ('num_classes: 4 name_size_file: "s.txt" resize_param { height: 9 }', "9 x 0. Set both"),
    ):
        with pytest.raises(NetError, match=message):
            make_layer(text.format(fields), bottoms, folders=(tmp_path,))
    run = layer([HIT], [OBJECT])
    with pytest.raises(NetError, match="needs a gradient, but it has no gradient"):
        run.layer.backward(run.top, [True, False], run.bottom)

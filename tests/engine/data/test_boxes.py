"""Boxes, batch samplers and what an AnnotatedData layer does to images before they are scaled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format

from caffepy.engine.core.errors import DataError, NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.data import boxes as geometry
from caffepy.engine.data.box_changes import BoxChanges
from caffepy.engine.data.box_sampler import WindowSampler
from caffepy.engine.data.boxes import Boxes
from caffepy.proto.caffe_pb2 import (
    AnnotatedDataParameter,
    AnnotatedDatum,
    EmitConstraint,
    ResizeParameter,
    TransformationParameter,
)

RANDOM = np.random.default_rng(0)
WHERE = "layer 'data' (AnnotatedData)"
IMAGE = RANDOM.integers(1, 256, (3, 20, 30), np.uint8)


def boxes_of(*places: tuple[float, ...]) -> Boxes:
    kinds = np.arange(3 * len(places)).reshape(-1, 3) % 2
    return Boxes(np.array(places, np.float32).reshape(-1, 4), kinds)


def some_boxes(count: int) -> Boxes:
    corners = RANDOM.random((count, 2, 2))
    return boxes_of(*np.sort(corners, axis=1).reshape(count, 4).tolist())


# ---- geometry


def overlap_of(one: Any, other: Any) -> float:
    """Intersection over union, plainly."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    sizes = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(sizes) - shared) if shared else 0.0


def test_overlaps_of_all_pairs() -> None:
    one, other = some_boxes(6).places, some_boxes(9).places
    found = geometry.overlaps(one[:, None], other[None])
    expected = [[overlap_of(a, b) for b in other.tolist()] for a in one.tolist()]
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_boxes_that_end_before_they_begin_have_no_area() -> None:
    places = np.array([[0.5, 0, 0.2, 1], [0.5, 0.9, 0.2, 0.1], [0, 0, 0.5, 0.5]], np.float32)
    np.testing.assert_array_equal(geometry.areas(places), [0, 0, 0.25])
    np.testing.assert_array_equal(geometry.coverage(places, geometry.WHOLE), [0, 0, 1])
    np.testing.assert_array_equal(geometry.overlaps(places, places[:1]), [0, 0, 0])


def test_a_window_keeps_what_is_seen_in_it() -> None:
    boxes = boxes_of((0, 0, 0.2, 1), (0.3, 0.3, 0.9, 0.6), (0.5, 0.5, 1, 1), (0.4, 0, 0.5, 0.5))
    seen = boxes.cut(np.array([0.5, 0, 1, 0.5], np.float32), None)
    np.testing.assert_allclose(seen.places, [[0, 0.6, 0.8, 1]], atol=1e-6)
    np.testing.assert_array_equal(seen.kinds, boxes.kinds[1:2])


@pytest.mark.parametrize(
    ("emit", "kept"),
    [
        ("", [0, 1]),
        ("emit_type: CENTER", [0, 1]),
        ("emit_type: MIN_OVERLAP emit_overlap: 0.5", [0]),
        ("emit_type: MIN_OVERLAP emit_overlap: 0.4", [0, 1]),
        ("emit_type: MIN_OVERLAP", [0, 1, 2]),
    ],
)
def test_a_constraint_leaves_out_what_is_seen_in_part(emit: str, kept: list[int]) -> None:
    boxes = boxes_of((0, 0, 0.5, 1), (0.25, 0.25, 0.75, 1), (0.375, 0, 1, 0.5))
    constraint = text_format.Parse(emit, EmitConstraint())
    seen = boxes.cut(np.array([0, 0, 0.5, 1], np.float32), constraint)
    np.testing.assert_array_equal(seen.kinds, boxes.kinds[kept])


def test_mirrored_boxes_change_their_sides() -> None:
    boxes = boxes_of((0.125, 0.25, 0.5, 0.75))
    np.testing.assert_array_equal(boxes.mirrored().places, [[0.5, 0.25, 0.875, 0.75]])
    np.testing.assert_array_equal(boxes.places, [[0.125, 0.25, 0.5, 0.75]])


@pytest.mark.parametrize(
    ("param", "expected"),
    [
        ("resize_mode: WARP", [0.25, 0.25, 0.5, 1]),
        ("resize_mode: FIT_SMALL_SIZE", [0.25, 0.25, 0.5, 1]),
        ("resize_mode: FIT_LARGE_SIZE_AND_PAD", [0.25, 0.375, 0.5, 0.75]),
    ],
)
def test_a_border_moves_boxes_together(param: str, expected: list[float]) -> None:
    resize = text_format.Parse(f"height: 20 width: 20 {param}", ResizeParameter())
    found = boxes_of((0.25, 0.25, 0.5, 1)).resized(resize, 10, 20)
    np.testing.assert_allclose(found.places, [expected], atol=1e-6)


def test_scales_of_a_fitted_image_are_the_units_of_boxes() -> None:
    text = "height: 20 width: 20 resize_mode: FIT_SMALL_SIZE height_scale: 10 width_scale: 16"
    resize = text_format.Parse(text, ResizeParameter())
    boxes = boxes_of((0.25, 0.25, 0.5, 1))
    whole = boxes.extrapolated(resize, 10, 20, geometry.WHOLE, WHERE)  # 20 x 40 pixels
    np.testing.assert_allclose(whole.places, [[0.625, 0.5, 1.25, 2]])
    with pytest.raises(DataError, match=r"height_scale x width_scale 10 x 16 pixels, got 5 x 10"):
        boxes.extrapolated(resize, 10, 20, np.array([0, 0, 0.25, 0.25], np.float32), WHERE)
    resize.resize_mode = ResizeParameter.WARP
    assert boxes.extrapolated(resize, 10, 20, geometry.WHOLE, WHERE) is boxes


@pytest.mark.parametrize("number", [math.nan, -math.inf, 1e30])
def test_boxes_of_no_numbers_are_refused(number: float) -> None:
    record = AnnotatedDatum()
    group = record.annotation_group.add(group_label=1)
    group.annotation.add().bbox.xmax = 1
    group.annotation.add(instance_id=1).bbox.ymin = number
    with pytest.raises(
        DataError, match=r"here: expected boxes of finite.*, got .* for box 1\. Corr"
    ):
        geometry.read(record, "here")


# ---- samplers


def sampler(text: str, seed: int = 1) -> WindowSampler:
    param = text_format.Parse(text, AnnotatedDataParameter())
    stream = Stream(seed, "data", "windows")
    return WindowSampler(param.batch_sampler, stream=stream, where=WHERE)


def windows(text: str, places: np.ndarray, count: int = 200) -> list[np.ndarray | None]:
    found = sampler(text)
    return [found.window(places, number) for number in range(count)]


OBJECTS = np.array([[0.1, 0.2, 0.5, 0.6], [0.6, 0.5, 0.7, 0.9]], np.float32)
FREE = "sampler { min_scale: 0.3 max_scale: 0.9 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }"


def test_windows_have_the_scales_and_ratios_that_are_asked_for() -> None:
    found = np.array(windows(f"batch_sampler {{ {FREE} max_sample: 1 }}", OBJECTS))
    sides = found[:, 2:] - found[:, :2]
    scale, ratio = np.sqrt(sides.prod(1)), sides[:, 0] / sides[:, 1]
    for values, least, most in ((scale, 0.3, 0.9), (ratio, 0.5, 2)):
        assert least - 1e-6 <= values.min() < least + 0.1 * (most - least)
        assert most - 0.1 * (most - least) < values.max() <= most + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    free = 1 - sides > 0.1
    assert (found[:, :2][free] / (1 - sides)[free]).mean() == pytest.approx(0.5, abs=0.06)


def test_ratios_are_held_where_sides_fit_into_the_image() -> None:
    wide = "sampler { min_scale: 0.9 max_scale: 0.9 min_aspect_ratio: 5 max_aspect_ratio: 5 }"
    for window in windows(f"batch_sampler {{ {wide} max_sample: 1 }}", OBJECTS, 9):
        assert window is not None
        np.testing.assert_allclose(window[2:] - window[:2], [1, 0.81], rtol=1e-6)


@pytest.mark.parametrize(
    ("constraint", "value"),
    [
        ("min_jaccard_overlap: 0.3", overlap_of),
        ("max_jaccard_overlap: 0.1", lambda a, b: -overlap_of(a, b)),
        ("min_object_coverage: 0.7", lambda a, b: float(geometry.coverage(b, a))),
        ("min_sample_coverage: 0.4", lambda a, b: float(geometry.coverage(a, b))),
    ],
)
def test_windows_meet_their_constraint_with_one_object(constraint: str, value: Any) -> None:
    text = f"batch_sampler {{ {FREE} max_sample: 1 sample_constraint {{ {constraint} }} }}"
    least = float(constraint.split()[1]) * (-1 if constraint.startswith("max") else 1)
    for window in windows(text, OBJECTS):
        if window is not None:
            assert max(value(window, box) for box in OBJECTS) >= least - 1e-6


def test_one_object_has_to_meet_all_of_a_constraint() -> None:
    both = "sample_constraint { min_jaccard_overlap: 0.2 min_object_coverage: 0.95 }"
    found = [w for w in windows(f"batch_sampler {{ {FREE} {both} }}", OBJECTS) if w is not None]
    assert len(found) > 100
    for window in found:
        assert any(
            overlap_of(window, box) >= 0.2 - 1e-6 and geometry.coverage(box, window) >= 0.95 - 1e-6
            for box in OBJECTS
        )


def test_where_nothing_is_found_there_is_no_window() -> None:
    text = f"batch_sampler {{ {FREE} sample_constraint {{ min_jaccard_overlap: 0.1 }} }}"
    assert windows(text, np.empty((0, 4), np.float32), 3) == [None] * 3
    assert windows("", OBJECTS, 3) == [None] * 3
    assert windows("batch_sampler { max_sample: 0 }", OBJECTS, 3) == [None] * 3
    assert windows("batch_sampler { use_original_image: false }", OBJECTS, 3) == [None] * 3
    assert windows("batch_sampler { max_trials: 0 }", OBJECTS, 3) == [None] * 3


def test_the_window_is_chosen_among_those_of_all_samplers() -> None:
    scales = [
        f"sampler {{ min_scale: {scale} max_scale: {scale} }} max_sample: {number}"
        for scale, number in ((0.25, 1), (0.5, 3))
    ]
    text = " ".join(f"batch_sampler {{ {scale} }}" for scale in scales)
    sides = [float(w[2] - w[0]) for w in windows(text, OBJECTS, 800) if w is not None]
    assert np.mean(np.isclose(sides, 0.25)) == pytest.approx(0.25, abs=0.05)
    assert np.mean(np.isclose(sides, 0.5)) == pytest.approx(0.75, abs=0.05)


def test_windows_are_a_function_of_the_number() -> None:
    text = f"batch_sampler {{ {FREE} }} batch_sampler {{ {FREE} max_trials: 200 }}"
    one, other = sampler(text), sampler(text)
    forwards = [one.window(OBJECTS, number) for number in range(20)]
    backwards = [other.window(OBJECTS, number) for number in reversed(range(20))]
    np.testing.assert_array_equal(forwards, backwards[::-1])
    assert len({tuple(window) for window in forwards if window is not None}) == 20


def test_more_trials_than_anybody_waits_for_are_refused() -> None:
    with pytest.raises(NetError, match="batch_sampler 0: max_trials: expected at most 1000000"):
        sampler("batch_sampler { max_trials: 4294967295 }")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("min_scale: 0", r"batch_sampler 1: sampler.min_scale, max_scale: .* got 0 and 1"),
        ("max_scale: 1.5", "max_scale: expected more than 0, at most 1, .* got 1 and 1.5"),
        ("min_scale: 0.5 max_scale: 0.4", "the first not the larger, got 0.5 and 0.4"),
        ("min_aspect_ratio: 2", "min_aspect_ratio, max_aspect_ratio: .*got 2 and 1"),
        ("max_aspect_ratio: inf", "got 1 and inf"),
    ],
)
def test_samplers_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        sampler(f"batch_sampler {{ }} batch_sampler {{ sampler {{ {text} }} }}")


# ---- images with their boxes


def changes(param: str, samplers: str = "", testing: bool = False) -> BoxChanges:
    return BoxChanges(
        text_format.Parse(param, TransformationParameter()),
        text_format.Parse(samplers, AnnotatedDataParameter()).batch_sampler,
        testing=testing,
        stream=lambda purpose: Stream(1, "data", purpose),
        where=WHERE,
    )


def pixels_of(box: Any, image: np.ndarray) -> list[int]:
    """The edges of a box, in pixels."""
    _, height, width = image.shape
    return [round(value) for value in box * np.array([width, height] * 2)]


WIDE = "expand_param { max_expand_ratio: 3 } mean_value: 7.4 mean_value: 8.6 mean_value: 300"
WINDOW = f"batch_sampler {{ {FREE} max_sample: 1 }}"


def test_a_border_is_filled_with_the_mean_and_boxes_stay_around_their_pixels() -> None:
    boxes = boxes_of((0.2, 0.25, 0.6, 0.75), (0, 0, 1, 1))
    changed = changes(WIDE)
    seen = []
    for number in range(60):
        image, found = changed.changed(IMAGE, boxes, number, "it")
        seen.append(image.shape[1] / 20)
        x1, y1, x2, y2 = pixels_of(found.places[1], image)
        np.testing.assert_array_equal(image[:, y1:y2, x1:x2], IMAGE)
        x1, y1, x2, y2 = pixels_of(found.places[0], image)
        np.testing.assert_array_equal(image[:, y1:y2, x1:x2], IMAGE[:, 5:15, 6:18])
        border = np.ones(image.shape[1:], bool)
        x1, y1, x2, y2 = pixels_of(found.places[1], image)
        border[y1:y2, x1:x2] = False
        assert {tuple(pixel) for pixel in image[:, border].T.tolist()} <= {(7, 9, 255)}
    assert 1 <= min(seen) < 1.3
    assert 2.7 < max(seen) <= 3


def test_a_border_comes_with_its_probability() -> None:
    changed = changes("expand_param { prob: 0.25 max_expand_ratio: 2 }")
    shapes = [changed.changed(IMAGE, geometry.NONE, n, "it")[0].shape for n in range(400)]
    assert np.mean([shape != IMAGE.shape for shape in shapes]) == pytest.approx(0.25, abs=0.06)
    none = changes("expand_param { max_expand_ratio: 1.005 }")
    np.testing.assert_array_equal(none.changed(IMAGE, geometry.NONE, 1, "it")[0], IMAGE)


@pytest.mark.parametrize("param", ["", WIDE])
def test_a_window_of_a_border_is_the_same_as_one_of_the_whole(param: str) -> None:
    """Against: the whole border first, and the window cut out of that."""
    boxes = some_boxes(7)
    whole, cut = changes(param), changes(param, WINDOW)
    windows_of = sampler(WINDOW)
    for number in range(60):
        image, placed = whole.changed(IMAGE, boxes, number, "it")
        window = windows_of.window(placed.places, number)
        assert window is not None
        found, left = cut.changed(IMAGE, boxes, number, "it")
        scaled = window * np.array([image.shape[2], image.shape[1]] * 2, np.float32)
        x, y, wide, high = (int(v) for v in (*scaled[:2], *(scaled[2:] - scaled[:2])))
        np.testing.assert_array_equal(found, image[:, y : y + high, x : x + wide])
        expected = []
        for place, kind in zip(placed.places.tolist(), placed.kinds.tolist(), strict=True):
            (x1, y1, x2, y2), (wx1, wy1, wx2, wy2) = place, window.tolist()
            if x1 < wx2 and x2 > wx1 and y1 < wy2 and y2 > wy1:
                wide, high = wx2 - wx1, wy2 - wy1
                now = (x1 - wx1) / wide, (y1 - wy1) / high, (x2 - wx1) / wide, (y2 - wy1) / high
                expected.append((*kind, *(min(max(value, 0), 1) for value in now)))
        np.testing.assert_allclose(
            np.concatenate([left.kinds, left.places], axis=1), np.array(expected).reshape(-1, 7),
            atol=1e-5,
        )  # fmt: skip


def test_colours_are_those_of_a_data_layer_and_leave_the_border_alone() -> None:
    distort = "distort_param { brightness_prob: 1 brightness_delta: 60 }"
    plain, coloured = changes(WIDE, WINDOW), changes(f"{WIDE} {distort}", WINDOW)
    differ = 0
    for number in range(30):
        before, _ = plain.changed(IMAGE, geometry.NONE, number, "it")
        after, _ = coloured.changed(IMAGE, geometry.NONE, number, "it")
        assert after.shape == before.shape
        mean = np.array([7, 9, 255], np.uint8)[:, None, None]
        border = (before == mean).all(0)
        np.testing.assert_array_equal(after[:, border], before[:, border])
        differ += (after != before).any()
    assert differ > 20


def test_at_test_nothing_changes() -> None:
    boxes = some_boxes(3)
    image, found = changes(WIDE, WINDOW, testing=True).changed(IMAGE, boxes, 5, "it")
    assert image is IMAGE
    assert found is boxes


def test_windows_are_never_empty() -> None:
    tiny = "batch_sampler { sampler { min_scale: 0.01 max_scale: 0.02 } max_sample: 1 }"
    changed = changes("", tiny)
    for number in range(50):
        image, _ = changed.changed(IMAGE[:, :2, :3], geometry.NONE, number, "it")
        assert image.shape == (3, 1, 1)


def test_floats_can_be_cut_but_have_no_border() -> None:
    floats = IMAGE.astype(np.float32)
    image, _ = changes("", WINDOW).changed(floats, geometry.NONE, 0, "it")
    assert image.dtype == np.float32
    with pytest.raises(
        DataError, match="it: expected an image of bytes, which is what expand_para"
    ):
        changes(WIDE).changed(floats, geometry.NONE, 0, "it")


def test_a_border_that_is_too_large_is_refused_before_memory_is_taken() -> None:
    with pytest.raises(DataError, match="it: expected at most"):
        changes("expand_param { max_expand_ratio: 1e5 }").changed(IMAGE, geometry.NONE, 0, "it")


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("expand_param { prob: 2 }", "expand_param.prob: expected 0 to 1, got 2"),
        ("expand_param { max_expand_ratio: 0.5 }", "max_expand_ratio: expected 1 or more, got 0.5"),
        ("expand_param { } mean_file: 'x'", "expand_param: expected it with mean_value"),
        ("max_rotation_angle: 3", "max_rotation_angle: expected 0, since boxes do not turn"),
        ("distort_param { hue_prob: 3 }", "distort_param.hue_prob: expected 0 to 1, got 3"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(param: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        changes(param)

"""DetectionOutput."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import LayerRun, golden_cases, make_layer, run_golden
from tests.nets import make_net

PARAM = 'type: "DetectionOutput" detection_output_param {{ {} }}'
RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, that files are written to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("case", golden_cases("DetectionOutput"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)
    expected = case / "expected_results"
    if expected.is_dir():
        names = sorted(path.name for path in expected.iterdir())
        assert sorted(path.name for path in Path("results").iterdir()) == names
        for name in names:
            assert Path("results", name).read_text() == (expected / name).read_text(), name


# ---- against loops over boxes

Box = tuple[float, ...]


def drawn(images: int, priors: int, classes: int, places: int = 1) -> list[np.ndarray]:
    """Locations, scores and priors."""
    low = RANDOM.uniform(0, 0.6, (priors, 2))
    boxes = np.concatenate([low, low + RANDOM.uniform(0.1, 0.4, (priors, 2))], axis=1)
    variances = np.tile([0.1, 0.1, 0.2, 0.2], (priors, 1))
    loc = RANDOM.standard_normal((images, priors * places * 4))
    conf = RANDOM.uniform(0, 1, (images, priors * classes))
    return [loc, conf, np.concatenate([boxes.ravel(), variances.ravel()]).reshape(1, 2, -1)]


def decoded(prior: np.ndarray, variance: np.ndarray, t: np.ndarray, code: str) -> Box:
    size = [prior[2] - prior[0], prior[3] - prior[1]] * 2
    moved = variance * t
    if code == "CORNER":
        return tuple(prior + moved)
    if code == "CORNER_SIZE":
        return tuple(prior + moved * size)
    box = [0.0] * 4
    for axis in (0, 1):
        centre = (prior[axis] + prior[axis + 2]) / 2 + moved[axis] * size[axis]
        half = math.exp(moved[axis + 2]) * size[axis] / 2
        box[axis], box[axis + 2] = centre - half, centre + half
    return tuple(box)


def overlap(a: Box, b: Box) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [max(box[2] - box[0], 0) * max(box[3] - box[1], 0) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def expected_rows(
    bottoms: list[np.ndarray], classes: int, *, background: int = 0, shared: bool = True,
    code: str = "CORNER", in_target: bool = False, threshold: float = -1, top_k: int = -1,
    nms: float = 0.3, eta: float = 1, keep: int = -1,
) -> list[list[float]]:  # fmt: skip
    """The same by loops."""
    boxes, variances = bottoms[2].reshape(2, -1, 4)
    found = []
    for image, (locations, scores) in enumerate(zip(bottoms[0], bottoms[1], strict=True)):
        rows: list[list[float]] = []
        for label in range(classes):
            if label == background:
                continue
            of_label = scores.reshape(-1, classes)[:, label]
            candidates = [p for p in range(len(boxes)) if of_label[p] > threshold]
            candidates.sort(key=lambda p: -of_label[p])
            kept: list[Box] = []
            limit = nms
            for p in candidates if top_k < 0 else candidates[:top_k]:
                t = locations.reshape(len(boxes), -1, 4)[p, 0 if shared else label]
                variance = np.ones(4) if in_target else variances[p]
                box = decoded(boxes[p], variance, t, code)
                if all(overlap(box, other) <= limit for other in kept):
                    kept.append(box)
                    rows.append([image, label, of_label[p], *box])
                    if eta < 1 and limit > 0.5:
                        limit *= eta
        if keep >= 0:
            best = sorted(range(len(rows)), key=lambda place: -rows[place][2])[:keep]
            rows = [rows[place] for place in sorted(best)]
        found += rows
    return found


FIELDS = {
    "background": "background_label_id: {}",
    "shared": "share_location: {}",
    "code": "code_type: {}",
    "in_target": "variance_encoded_in_target: {}",
    "threshold": "confidence_threshold: {}",
    "keep": "keep_top_k: {}",
}
NMS_FIELDS = {"top_k": "top_k: {}", "nms": "nms_threshold: {}", "eta": "eta: {}"}


def written(options: dict[str, object], fields: dict[str, str]) -> str:
    """The options that are among the fields, as text."""
    return " ".join(
        fields[name].format(str(value).lower() if isinstance(value, bool) else value)
        for name, value in options.items()
        if name in fields
    )


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"code": "CENTER_SIZE", "threshold": 0.25, "top_k": 17, "nms": 0.45, "keep": 9},
        {"code": "CENTER_SIZE", "shared": False, "background": -1, "keep": 30},
        {"code": "CORNER_SIZE", "background": 2, "nms": 0},
        {"code": "CENTER_SIZE", "eta": 0.75, "nms": 0.9375, "in_target": True},
        {"background": -1, "threshold": 0.5, "nms": 1, "top_k": 1},
        {"top_k": 0},
        {"keep": 0},
        {"threshold": 0.998},
    ],
    ids=str,
)
def test_equals_a_loop_over_boxes(options: dict[str, object], ops: Ops) -> None:
    bottoms = drawn(3, 53, 4, 4 if options.get("shared") is False else 1)
    fields = f"{written(options, FIELDS)} nms_param {{ {written(options, NMS_FIELDS)} }}"
    run = make_layer(PARAM.format(f"num_classes: 4 {fields}"), bottoms, ops=ops, phase=TEST)
    (top,) = run.forward()
    bottoms = [blob.data.read() for blob in run.bottom]
    expected = expected_rows(bottoms, 4, **options)  # type: ignore[arg-type]
    if not expected:
        expected = [[image, *[-1] * 6] for image in range(3)]
    np.testing.assert_allclose(top[0, 0], np.array(expected), rtol=1e-5, atol=1e-6)


def test_more_priors_than_a_block_of_threads(ops: Ops) -> None:
    bottoms = drawn(2, 700, 3)
    fields = (
        "num_classes: 3 code_type: CENTER_SIZE confidence_threshold: 0.2 nms_param { top_k: 301 }"
    )
    run = make_layer(PARAM.format(fields), bottoms, ops=ops, phase=TEST)
    expected = expected_rows(
        [blob.data.read() for blob in run.bottom], 3, code="CENTER_SIZE", threshold=0.2, top_k=301
    )
    np.testing.assert_allclose(run.forward()[0][0, 0], expected, rtol=1e-5, atol=1e-6)


# ---- single boxes

PRIORS = [[0, 0, 0.5, 0.5], [0.5, 0, 1, 0.5], [0.25, 0, 0.75, 0.5]]  # the last one meets both


def single(
    scores: list[float], fields: str = "", ops: Ops | None = None, **options: object
) -> LayerRun:
    """One image and one class besides the background, whose boxes are the priors."""
    conf = np.stack([np.zeros(3), scores], axis=1).reshape(1, -1)
    priors = np.concatenate([np.ravel(PRIORS), np.ones(12)]).reshape(1, 2, 12)
    text = PARAM.format(f"num_classes: 2 {fields}")
    return make_layer(text, [np.zeros((1, 12)), conf, priors], ops=ops, phase=TEST, **options)


def test_of_equal_scores_the_first_prior_comes_first(ops: Ops) -> None:
    (top,) = single([0.5, 0.5, 0.5], ops=ops).forward()
    np.testing.assert_array_equal(top[0, 0, :, 3:], PRIORS[:2])
    (top,) = single([0.5, 0.5, 0.75], ops=ops).forward()
    np.testing.assert_array_equal(top[0, 0, :, 3:], [PRIORS[2]])
    (top,) = single([0.5, 0.5, 0.5], "nms_param { top_k: 1 }", ops).forward()
    np.testing.assert_array_equal(top[0, 0, :, 3:], [PRIORS[0]])


def test_a_score_at_the_threshold_is_not_above_it(ops: Ops) -> None:
    (top,) = single([0.5, 0.75, 0.25], "confidence_threshold: 0.5", ops).forward()
    np.testing.assert_array_equal(top[0, 0, :, 2], [0.75])


def test_scores_that_are_nan_are_no_detections_and_a_nan_box_hides_no_other(ops: Ops) -> None:
    (top,) = single([np.nan, 0.5, np.nan], ops=ops).forward()
    np.testing.assert_array_equal(top[0, 0, :, 2], [0.5])
    (top,) = single([np.nan] * 3, ops=ops).forward()
    np.testing.assert_array_equal(top, [[[[0, -1, -1, -1, -1, -1, -1]]]])
    run = single([0.75, 0.5, 0.1], "nms_param { nms_threshold: 0 }", ops)
    run.bottom[0].data.modify()[0, :4] = np.nan
    (top,) = run.forward()
    np.testing.assert_array_equal(top[0, 0, :, 2], [np.float32(0.75), 0.5])
    np.testing.assert_array_equal(top[0, 0, 1, 3:], PRIORS[1])


def test_a_batch_without_images_has_no_rows(ops: Ops) -> None:
    bottoms = [np.zeros((0, 12)), np.zeros((0, 6)), np.zeros((1, 2, 12))]
    (top,) = make_layer(PARAM.format("num_classes: 2"), bottoms, ops=ops).forward()
    assert top.shape == (1, 1, 0, 7)


def test_a_map_without_cells_has_no_detections(ops: Ops) -> None:
    bottoms = [np.zeros((2, 0)), np.zeros((2, 0)), np.zeros((1, 2, 0))]
    (top,) = make_layer(PARAM.format("num_classes: 2"), bottoms, ops=ops).forward()
    np.testing.assert_array_equal(top[0, 0, :, :2], [[0, -1], [1, -1]])


def test_rows_may_change_from_pass_to_pass_in_a_net(ops: Ops) -> None:
    net = make_net(
        """
        layer { name: "in" type: "Input" top: "loc" top: "conf" top: "priors" input_param {
          shape { dim: 2 dim: 12 } shape { dim: 2 dim: 6 } shape { dim: 1 dim: 2 dim: 12 } } }
        layer { name: "found" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors"
          top: "found" detection_output_param { num_classes: 2 confidence_threshold: 0.5 } }
        layer { name: "twice" type: "Power" bottom: "found" top: "twice" power_param { scale: 2 } }
        """,
        ops,
        phase=TEST,
    )
    priors = np.concatenate([np.ravel(PRIORS), np.ones(12)]).reshape(1, 2, 12)
    net.blobs["priors"].data.write()[...] = priors
    net.blobs["loc"].data.write()[...] = 0
    for high, rows in (([1, 3], 2), ([], 2), ([1, 3, 7, 9], 4), ([5], 1)):
        conf = np.zeros(12)
        conf[high] = 1
        net.blobs["conf"].data.write()[...] = conf.reshape(2, 6)
        net.forward()
        found = net.blobs["twice"].data.read()
        assert found.shape == (1, 1, rows, 7)
        assert (found[0, 0, :, 2] == (2 if high else -2)).all()


# ---- refusals


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "num_classes: expected at least 1, up to 2.24, got 0"),
        ("num_classes: 4294967295", "num_classes: expected at least 1, up to"),
        ("num_classes: 2 visualize: true", "visualize: expected false"),
        ("num_classes: 2 background_label_id: 2", "background_label_id: expected -1 to 1, got 2"),
        ("num_classes: 2 nms_param { eta: 0 }", "eta: expected above 0 and up to 1, got 0"),
        ("num_classes: 2 nms_param { nms_threshold: -1 }", "nms_threshold: expected 0 or more"),
        ("num_classes: 2 objectness_score: 0.5", "objectness_score: expected it to be left out"),
        ("num_classes: 2 nms_param { soft_nms: true }", "soft_nms: expected it to be left out"),
    ],
)
def test_bad_fields_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=message):
        make_layer(
            PARAM.format(fields), [np.zeros((1, 12)), np.zeros((1, 6)), np.zeros((1, 2, 12))]
        )


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 12), (1, 6), (2, 12)], r"the priors: expected boxes and .*\(2, 12\)"),
        ([(1, 12), (1, 6), (1, 2, 10)], r"the priors: expected boxes and .*\(1, 2, 10\)"),
        ([(1, 16), (1, 6), (1, 2, 12)], r"the locations: expected \(1, 12\) for the 3 priors"),
        ([(1, 12), (1, 8), (1, 2, 12)], r"the scores: expected \(1, 6\) for the 3 priors"),
        ([(2, 12), (1, 12), (1, 2, 12)], r"the scores: expected \(2, 6\)"),
    ],
)
def test_bottoms_that_do_not_fit_are_refused(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        make_layer(PARAM.format("num_classes: 2"), [np.zeros(shape) for shape in shapes])


def test_there_is_no_gradient() -> None:
    run = single([1, 1, 1])
    with pytest.raises(NetError, match="needs a gradient, but it has no gradient"):
        run.layer.backward(run.top, [True, False, False], run.bottom)

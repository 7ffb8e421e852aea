"""Accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import LayerRun, golden_cases, make_layer, run_golden
from tests.losses import Labelled, backends, labelled

SCORES = np.array([[3, 2, 1], [1, 3, 2], [2, 1, 3], [3, 1, 2]])


@pytest.mark.parametrize("case", golden_cases("Accuracy"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(("top_k", "expected"), [(1, 0.25), (2, 0.75), (3, 1)])
def test_label_among_the_best_counts_as_right(top_k: int, expected: float, ops: Ops) -> None:
    run = _run(SCORES, [0, 0, 0, 2], f"accuracy_param {{ top_k: {top_k} }}", ops)
    assert run.forward()[0] == expected


@settings(max_examples=60, deadline=None)
@given(case=labelled(first_axis=False), backend=backends, data=st.data())
def test_equals_a_loop_over_positions(
    case: Labelled, backend: type[NumpyOps], data: st.DataObject
) -> None:
    classes = case.rows.shape[1]
    top_k = data.draw(st.integers(1, classes))
    hits, counts = np.zeros(classes), np.zeros(classes)
    for row, label in zip(case.rows, case.classes, strict=True):
        if label is not None:
            others = [score for place, score in enumerate(row) if place != label]
            counts[label] += 1
            hits[label] += sum(score >= row[label] for score in others) < top_k
    ignored = "" if case.ignore is None else f"ignore_label: {case.ignore}"
    run = _run(
        case.scores,
        case.labels,
        f"""top: "all" top: "each"
        accuracy_param {{ top_k: {top_k} axis: {case.axis} {ignored} }}""",
        backend(np.float32),
    )
    found, each = run.forward()
    assert found == np.float32(hits.sum() / max(1, counts.sum()))
    np.testing.assert_array_equal(each, (hits / np.maximum(counts, 1)).astype(np.float32))


def test_tie_counts_as_wrong(ops: Ops) -> None:
    assert _run([[1, 1], [2, 1]], [0, 0], "", ops).forward()[0] == 0.5


def test_class_without_samples_has_accuracy_zero(ops: Ops) -> None:
    run = _run(SCORES, [0, 0, 2, 2], 'top: "all" top: "each"', ops)
    accuracy, per_class = run.forward()
    assert accuracy == 0.5
    np.testing.assert_array_equal(per_class, [0.5, 0, 0.5])


def test_accuracy_is_zero_where_all_labels_are_ignored(ops: Ops) -> None:
    run = _run(SCORES, [1] * 4, 'top: "a" top: "b" accuracy_param { ignore_label: 1 }', ops)
    assert not np.concatenate([top.reshape(-1) for top in run.forward()]).any()


def test_a_score_that_is_nan_counts_as_better_and_that_of_the_label_as_wrong(ops: Ops) -> None:
    assert _run([[2, np.nan], [1, 0]], [0, 0], "", ops).forward()[0] == 0.5
    assert _run([[np.nan, 1], [1, np.nan]], [0, 1], "", ops).forward()[0] == 0


def test_label_that_is_no_class_is_refused_with_its_sample(ops: Ops) -> None:
    with pytest.raises(DataError, match="label of sample 3 of the batch: expected 0 to 2, got 5"):
        _run(SCORES, [0, 0, 0, 5], "", ops).forward()


def test_top_k_larger_than_the_classes_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"top_k: expected 1 to 3, .*, got 4"):
        _run(SCORES, [0] * 4, "accuracy_param { top_k: 4 }")


def test_number_of_labels_must_fit() -> None:
    with pytest.raises(ShapeError, match="expected 4 labels"):
        _run(SCORES, [0] * 3, "")


def test_has_no_gradient_even_with_force_backward() -> None:
    run = _run(SCORES, [0] * 4, "")
    assert not run.layer.allow_force_backward(0)
    with pytest.raises(NetError, match="accuracy has no gradient"):
        run.layer.backward(run.top, [True, False], run.bottom)


def _run(scores: object, labels: object, options: str, ops: Ops | None = None) -> LayerRun:
    return make_layer(f'type: "Accuracy" {options}', [scores, labels], ops=ops, phase=TEST)

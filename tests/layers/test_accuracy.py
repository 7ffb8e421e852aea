"""Accuracy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError, NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.proto.caffe_pb2 import TEST
from tests.harness import LayerRun, golden_cases, make_layer, run_golden

SCORES = np.array([[3, 2, 1], [1, 3, 2], [2, 1, 3], [3, 1, 2]])


@pytest.mark.parametrize("case", golden_cases("Accuracy"), ids=lambda case: case.name)
def test_equals_caffe(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


@pytest.mark.parametrize(("top_k", "expected"), [(1, 0.25), (2, 0.75), (3, 1)])
def test_label_among_the_best_counts_as_right(top_k: int, expected: float, ops: Ops) -> None:
    run = _run(SCORES, [0, 0, 0, 2], f"accuracy_param {{ top_k: {top_k} }}", ops)
    assert run.forward()[0] == expected


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


def test_nan_score_of_the_label_counts_as_wrong(ops: Ops) -> None:
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

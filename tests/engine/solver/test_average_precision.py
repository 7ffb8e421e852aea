"""Average precision."""

from __future__ import annotations

import numpy as np
import pytest

from caffepy.engine.core.errors import DataError
from caffepy.engine.solver.average_precision import (
    VERSIONS,
    DetectionPool,
    mean_average_precision,
)


def pool(rows: list[list[float]]) -> DetectionPool:
    found = DetectionPool("output 'eval'")
    found.add(np.array(rows, np.float32).reshape(-1, 5))
    return found


def judged(objects: int, verdicts: str) -> list[list[float]]:
    """Rows of label 1: `+` a hit, `-` a miss, `0` neither, scores falling."""
    marks = {"+": (1, 0), "-": (0, 1), "0": (0, 0)}
    rows = [[-1, 1, objects, -1, -1]]
    return rows + [[0, 1, 1 - i / 100, *marks[mark]] for i, mark in enumerate(verdicts)]


def loop(objects: int, verdicts: str, version: str) -> float:
    """As the three are defined, point by point."""
    points = []  # recall, precision
    hits = misses = 0
    for mark in verdicts.replace("0", ""):
        hits, misses = hits + (mark == "+"), misses + (mark == "-")
        points.append((np.float32(hits) / np.float32(objects), hits / (hits + misses)))
    if version == "11point":
        highest = [
            max((p for r, p in points if float(r) >= tenth / 10), default=0) for tenth in range(11)
        ]
        return sum(highest) / 11
    area = before = 0.0
    for place, (recall, precision) in enumerate(points):
        best = max(p for _, p in points[place:])
        area += (best if version == "MaxIntegral" else precision) * (recall - before)
        before = recall
    return area


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("objects", "verdicts"),
    [
        (1, "+"),
        (1, "-"),
        (3, "+-0-+--+"),
        (10, "+++-++++-----+"),
        (7, "-+" * 7),
        (5, "----"),
        (20, "++++++++++" * 2 + "-" * 30),
    ],
)
def test_equals_its_definition(version: str, objects: int, verdicts: str) -> None:
    found = pool(judged(objects, verdicts)).average_precisions(version)
    assert found == {1: pytest.approx(loop(objects, verdicts, version), rel=1e-6)}


def test_a_recall_of_seven_tenths_lies_below_0_7() -> None:
    found = pool(judged(10, "+++++++")).average_precisions("11point")[1]
    assert found == pytest.approx(7 / 11)  # 0, 0.1, ..., 0.6: as in float32


def test_detections_are_pooled_over_batches_and_sorted() -> None:
    one, two = DetectionPool(""), DetectionPool("")
    rows = judged(3, "+-+-")
    one.add(np.array(rows, np.float32))
    two.add(np.array([[-1, 1, 2, -1, -1], rows[3], rows[1]], np.float32))
    two.add(np.array([rows[4], [-1, 1, 1, -1, -1], rows[2]], np.float32))
    for version in VERSIONS:
        assert one.average_precisions(version) == two.average_precisions(version)


def test_of_equal_scores_the_earlier_comes_first() -> None:
    rows = judged(1, "+-")
    rows[2][2] = rows[1][2]
    assert pool(rows).average_precisions("Integral") == {1: 1}
    assert pool([rows[0], rows[2], rows[1]]).average_precisions("Integral") == {1: 0.5}


def test_labels_without_detections_count_as_0() -> None:
    found = pool([*judged(1, "+"), [-1, 2, 5, -1, -1], [-1, 3, 0, -1, -1], [0, 3, 0.5, 0, 1]])
    by_label = found.average_precisions("Integral")
    assert by_label == {1: 1, 2: None, 3: 0}
    assert mean_average_precision(by_label) == pytest.approx(1 / 3)
    assert mean_average_precision({}) == 0


def test_more_hits_than_objects_are_refused() -> None:
    wanted = "output 'eval': label 1: expected at most as many hits as objects, 1, got 2"
    with pytest.raises(DataError, match=wanted):
        pool(judged(1, "++")).average_precisions("11point")

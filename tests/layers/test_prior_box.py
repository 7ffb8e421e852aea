"""PriorBox."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden

MAP, IMAGE = np.zeros((2, 4, 3, 5)), np.zeros((2, 3, 33, 47))


def layer(fields: str) -> str:
    return f'type: "PriorBox" prior_box_param {{ {fields} }}'


@pytest.mark.parametrize("case", golden_cases("PriorBox"), ids=lambda case: case.name)
def test_equals_the_fork(case: Path, ops: Ops) -> None:
    run_golden(case, ops)


def boxes(
    least: list[float],
    most: list[float],
    ratios: list[float],
    flip: bool,
    clip: bool,
    image: tuple[int, int],
    step: tuple[float, float],
    offset: float,
) -> list[float]:
    """One after the other."""
    found = []
    for row in range(MAP.shape[2]):
        for column in range(MAP.shape[3]):
            for index, size in enumerate(map(int, least)):
                sides: list[tuple[float, float]] = [(size, size)]
                if most:
                    sides.append((math.sqrt(size * int(most[index])),) * 2)
                known = [1.0]
                for ratio in ratios:
                    if min(abs(ratio - other) for other in known) < 1e-6:
                        continue
                    for one in (ratio, 1 / ratio) if flip else (ratio,):
                        known.append(one)
                        sides.append((size * math.sqrt(one), size / math.sqrt(one)))
                x, y = (column + offset) * step[1], (row + offset) * step[0]
                for w, h in sides:
                    box = [
                        (x - w / 2) / image[1],
                        (y - h / 2) / image[0],
                        (x + w / 2) / image[1],
                        (y + h / 2) / image[0],
                    ]
                    found += [min(max(one, 0), 1) for one in box] if clip else box
    return found


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize(
    ("least", "most", "ratios"),
    [
        ([10], [], []),
        ([7.9, 12.2], [13.7, 30], [2, 3]),
        ([1], [2], [2, 0.5, 2, 1, 3]),
        ([4, 5, 6], [], [1.5]),
    ],
)
@pytest.mark.parametrize(
    ("fields", "image", "step", "offset"),
    [
        ("", (33, 47), (11, 9.4), 0.5),
        ("img_size: 64 step: 7.5", (64, 64), (7.5, 7.5), 0.5),
        ("img_h: 20 img_w: 30 step_h: 3 step_w: 4 offset: 0", (20, 30), (3, 4), 0),
    ],
)
def test_boxes_one_after_the_other(
    fields: str,
    image: tuple[int, int],
    step: tuple[float, float],
    offset: float,
    least: list[float],
    most: list[float],
    ratios: list[float],
    clip: bool,
    flip: bool,
) -> None:
    sizes = " ".join(
        f"{name}: {number}"
        for name, numbers in (("min_size", least), ("max_size", most), ("aspect_ratio", ratios))
        for number in numbers
    )
    text = f"{sizes} {fields} clip: {str(clip).lower()} flip: {str(flip).lower()}"
    (top,) = make_layer(layer(text), [MAP, IMAGE], ops=NumpyOps(np.float64)).forward()
    expected = boxes(least, most, ratios, flip, clip, image, step, offset)
    assert top.shape == (1, 2, len(expected))
    np.testing.assert_allclose(top[0, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(top[0, 1], 0.1, rtol=1e-6)


@pytest.mark.parametrize("given", [(0.3,), (0.1, 0.1, 0.2, 0.25)])
def test_variances_come_with_each_box(given: tuple[float, ...], ops: Ops) -> None:
    fields = " ".join(f"variance: {number}" for number in given)
    (top,) = make_layer(layer(f"min_size: 4 {fields}"), [MAP, IMAGE], ops=ops).forward()
    expected = np.tile(np.array(given, np.float32), 15 * 4 // len(given))
    np.testing.assert_array_equal(top[0, 1], expected)


def test_another_image_has_its_boxes_and_a_spoilt_top_is_written_again(ops: Ops) -> None:
    run = make_layer(layer("min_size: 4"), [MAP, IMAGE], ops=ops)
    (before,) = run.forward()
    run.top[0].data.write()[...] = 0
    np.testing.assert_array_equal(run.forward()[0], before)
    run.bottom[1].reshape((2, 3, 66, 94))
    run.bottom[1].data.write()[...] = 0
    (after,) = run.forward()
    assert not np.allclose(after, before)


def test_its_gradient_is_zero(ops: Ops) -> None:
    check_layer_gradient(layer("min_size: 4"), [MAP, IMAGE])
    run = make_layer(layer("min_size: 4"), [MAP, IMAGE], ops=ops)
    run.forward()
    for blob in (*run.bottom, *run.top):
        blob.diff.write()[...] = 1
    run.backward([True, False])
    assert not run.bottom[0].diff.read().any()
    assert run.bottom[1].diff.read().all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("", "min_size: expected at least one, in pixels, got none"),
        ("min_size: 0", "min_size: expected numbers above 0, got 0"),
        ("min_size: 4 max_size: 4", "max_size: expected more than its min_size 4, got 4"),
        ("min_size: 4 max_size: 8 min_size: 9 max_size: 8", "more than its min_size 9, got 8"),
        (
            "min_size: 4 min_size: 5 max_size: 8",
            "max_size: expected none, or one for each of the 2 min_size, got 1",
        ),
        ("min_size: 4 aspect_ratio: -2", "aspect_ratio: expected numbers above 0, got -2"),
        ("min_size: 4 variance: 0", "variance: expected numbers above 0, got 0"),
        ("min_size: 4 variance: 1 variance: 2", "variance: expected 1 number, or 4, got 2"),
        ("min_size: 4 img_size: 9 img_h: 9", "img_size, or img_h and img_w, got both"),
        ("min_size: 4 img_h: 9", "img_h and img_w: expected numbers above 0, got 9, 0"),
        ("min_size: 4 img_size: 0", "img_size: expected numbers above 0, got 0, 0"),
        ("min_size: 4 step: 1 step_w: 2", "step, or step_h and step_w, got both"),
        ("min_size: 4 step: -1", "step: expected numbers above 0, got -1, -1"),
        ("min_size: 4 step_w: 2", "step_h and step_w: expected numbers above 0, got 0, 2"),
        ("min_size: nan", "min_size: expected numbers above 0, got nan"),
        ("min_size: 4 offset: inf", "offset: expected a finite number, got inf"),
    ],
)
def test_bad_fields_are_refused(fields: str, message: str) -> None:
    with pytest.raises(NetError, match=rf"\(PriorBox\): prior_box_param.*{message}"):
        make_layer(layer(fields), [MAP, IMAGE])


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 4), (2, 3, 0, 4)])
def test_bottoms_that_are_no_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"'bottom_0': expected 4 axes \(N, C, H, W\) with pixels"):
        make_layer(layer("min_size: 4"), [np.zeros(shape), IMAGE])

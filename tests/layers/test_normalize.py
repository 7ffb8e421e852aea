"""Normalize."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import NetError, ShapeError
from caffepy.engine.ops.base import Ops
from tests import harness
from tests.harness import check_layer_gradient, golden_cases, make_layer, run_golden
from tests.nets import make_net

RANDOM = np.random.default_rng(0)
# Where the fork's gradient of x is not the true one: the scales differ.
WRONG_IN_THE_FORK = {"Normalize__ssd_random_scale", "Normalize__across_per_channel"}
RANDOM_SCALES = 'scale_filler { type: "uniform" min: -2 max: 2 }'


def layer(fields: str = "") -> str:
    return f'type: "Normalize" norm_param {{ {fields} }}'


def plain(fields: str = "", tops: int = 1) -> str:
    names = "".join(f'top: "top_{index}" ' for index in range(tops))
    return f'{names} type: "Normalize" normalize_param {{ {fields} }}'


@pytest.mark.parametrize("case", golden_cases("Normalize"), ids=lambda case: case.name)
def test_equals_the_fork_but_for_its_wrong_gradient(case: Path, ops: Ops) -> None:
    compared = []

    def compare(found: Any, expected: Any, what: str) -> None:
        compared.append(what)
        if what == "gradient of bottom 0" and case.name in WRONG_IN_THE_FORK:
            found = as_in_the_fork(case)
        harness.compare(found, expected, what)

    run_golden(case, ops, compare)
    assert "gradient of bottom 0" in compared


def as_in_the_fork(case: Path) -> np.ndarray:
    """scale times the gradient of what is not scaled, in place of the gradient of their product."""
    recorded = dict(np.load(case / "case.npz"))
    x, dy, scale = (
        recorded[key].astype(np.float64) for key in ("bottom_0", "top_diff_0", "param_0")
    )
    axes = (1, 2, 3) if "across" in case.name else (1,)
    length = np.sqrt((x**2).sum(axes, keepdims=True) + 1e-10)
    unit = x / length
    gradient = (dy - unit * (dy * unit).sum(axes, keepdims=True)) / length
    result: np.ndarray = scale.reshape(1, -1, 1, 1) * gradient
    return result


@pytest.mark.parametrize("across", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 7), (2, 70, 3), (1, 1, 1, 1), (3, 4, 40, 40)])
def test_value(shape: tuple[int, ...], shared: bool, across: bool, ops: Ops) -> None:
    x = RANDOM.standard_normal(shape)
    fields = f"across_spatial: {str(across).lower()} channel_shared: {str(shared).lower()} eps: 0.1"
    run = make_layer(layer(f"{fields} {RANDOM_SCALES}"), [x], ops=ops)
    (top,) = run.forward()
    axes = tuple(range(1, len(shape))) if across else (1,)
    scale = run.layer.blobs[0].data.read().reshape((1, -1, *(1,) * (len(shape) - 2)))
    expected = scale * x / np.sqrt((x**2).sum(axes, keepdims=True) + 0.1)
    np.testing.assert_allclose(top, expected, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("across", ["true", "false"])
@pytest.mark.parametrize("shared", ["true", "false"])
@pytest.mark.parametrize("shape", [(2, 3, 2, 2), (2, 4)])
def test_gradient(shape: tuple[int, ...], shared: str, across: str) -> None:
    fields = f"across_spatial: {across} channel_shared: {shared} {RANDOM_SCALES}"
    check_layer_gradient(layer(fields), [RANDOM.standard_normal(shape)])


def test_a_scale_of_zero_has_its_gradient(ops: Ops) -> None:
    x = RANDOM.standard_normal((2, 3, 2, 2))
    run = make_layer(layer('scale_filler { type: "constant" value: 0 }'), [x], ops=ops)
    run.forward()
    run.top[0].diff.write()[...] = 1
    run.backward()
    unit = x / np.sqrt((x**2).sum((1, 2, 3), keepdims=True))
    np.testing.assert_allclose(run.layer.blobs[0].diff.read(), unit.sum(), rtol=1e-4, atol=1e-5)
    assert not run.bottom[0].diff.read().any()


def test_a_vector_of_zeros_stays_one_and_nan_stays_in_its_place(ops: Ops) -> None:
    x = np.ones((1, 2, 1, 3))
    x[:, :, :, 0], x[0, 1, 0, 2] = 0, np.nan
    (top,) = make_layer(layer("across_spatial: false"), [x], ops=ops).forward()
    np.testing.assert_allclose(top[0, :, 0, 0], 0)
    np.testing.assert_allclose(top[0, :, 0, 1], np.sqrt(0.5), rtol=1e-6)
    assert np.isnan(top[0, :, 0, 2]).all()


# ---- the reading with normalize_param


@pytest.mark.parametrize("kind", ["L1", "L2"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3, 70)])
def test_value_and_lengths_with_normalize_param(
    shape: tuple[int, ...], kind: str, ops: Ops
) -> None:
    x = RANDOM.standard_normal(shape)
    run = make_layer(plain(f'normalize_type: "{kind}"', tops=2), [x], ops=ops)
    assert not run.layer.blobs
    top, length = run.forward()
    terms = np.abs(x) if kind == "L1" else x**2
    expected = terms.sum(1, keepdims=True) + 1e-6
    expected = expected if kind == "L1" else np.sqrt(expected)
    np.testing.assert_allclose(length, expected, rtol=1e-5)
    np.testing.assert_allclose(top, x / expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_gradient_with_normalize_param(kind: str) -> None:
    x = RANDOM.standard_normal((2, 3, 2, 2))
    x[np.abs(x) < 0.1] = 0.5  # away from the kink of |x|
    check_layer_gradient(plain(f'normalize_type: "{kind}"'), [x])
    check_layer_gradient(plain(f'normalize_type: "{kind}" bp_norm: true', tops=2), [x])


def test_the_gradient_of_the_lengths_counts_with_bp_norm_only(ops: Ops) -> None:
    x = RANDOM.standard_normal((2, 3, 2, 2)).astype(np.float32)
    gradients = []
    for fields in ("", "bp_norm: true"):
        run = make_layer(plain(fields, tops=2), [x], ops=ops)
        run.forward()
        run.top[0].diff.write()[...], run.top[1].diff.write()[...] = 0, 1
        run.backward()
        gradients.append(run.bottom[0].diff.read())
    assert not gradients[0].any()
    unit = x / np.sqrt((x**2).sum(1, keepdims=True))
    np.testing.assert_allclose(gradients[1], unit, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("param", "kind", "message"),
    [
        (f"{layer()} normalize_param {{ }}", NetError, "norm_param or normalize_param, got both"),
        (f'top: "a" top: "b" {layer()}', NetError, "expected 1 top with norm_param, got 2"),
        (layer("bp_norm: true"), NetError, "bp_norm: expected it to be left out"),
        (plain('normalize_type: "L3"'), NetError, "normalize_type: expected L1 or L2, got 'L3'"),
        (plain("fix_gradient: true"), NetError, "fix_gradient: expected false, got true"),
        (plain("eps: 1"), NetError, "normalize_param.eps: expected none"),
    ],
)
def test_fields_that_do_not_go_together_are_refused(
    param: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        make_layer(param, [np.ones((2, 3, 4, 5))])


def test_other_channels_than_at_setup_are_refused() -> None:
    run = make_layer(layer("channel_shared: false"), [np.ones((2, 3, 4))])
    run.bottom[0].reshape((2, 4, 4))
    with pytest.raises(ShapeError, match="expected 3 channels in axis 1, as when the scales"):
        run.layer.reshape(run.bottom, run.top)
    for shape in ((3,), (2, 0, 4)):
        with pytest.raises(ShapeError, match=r"expected at least 2 axes .* with channels"):
            make_layer(layer(), [np.ones(shape)])


@pytest.mark.parametrize(
    ("layer", "dialect", "blobs", "warned"),
    [
        ("", "", 1, True),
        ("", "ssd", 1, False),
        ("", "happynear", 0, False),
        ("", "nv", 1, True),
        ("param { lr_mult: 0 }", "", 1, False),
        ("norm_param { }", "happynear", 1, False),
        ("normalize_param { }", "ssd", 0, False),
        ('top: "length"', "ssd", 0, False),
    ],
)
def test_whose_layer_it_is_follows_from_itself_or_the_dialect(
    layer: str, dialect: str, blobs: int, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    net = make_net(
        f"""layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 2 dim: 3 }} }} }}
        layer {{ name: "l" type: "Normalize" bottom: "x" top: "y" {layer} }}""",
        dialect=dialect,
    )
    assert len(net.layers[-1].blobs) == blobs
    assert ("Taken as in weiliu89/caffe, branch ssd, as is usual." in caplog.text) == warned

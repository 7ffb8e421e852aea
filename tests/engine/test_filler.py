"""Fillers: statistics as Caffe's, exact ones exactly."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format

from caffepy.engine import filler
from caffepy.engine.core.errors import NetError
from caffepy.engine.core.random import Stream
from caffepy.engine.core.value import Value
from caffepy.proto.caffe_pb2 import FillerParameter

RECORDED = json.loads(
    (Path(__file__).resolve().parents[1] / "golden" / "fillers" / "fillers.json").read_text()
)
SIGMAS = 5.0  # two samples of one distribution differ more than this once in a million times


def fill(text: str, shape: tuple[int, ...], position: int = 0, seed: int = 1) -> np.ndarray:
    value = Value(shape, np.float32)
    stream = Stream(seed, "layer", "param0")
    filler.fill(value, text_format.Parse(text, FillerParameter()), stream, position)
    return value.read()


@pytest.mark.parametrize("name", RECORDED)
def test_has_the_statistics_of_caffe(name: str) -> None:
    """Mean and std within what two samples of that size differ by; ends of uniform ones closely."""
    expected = RECORDED[name]
    shape = tuple(expected["blob_shape"])
    found = fill(expected["filler"], shape).astype(np.float64)
    count, std = expected["count"], expected["std"]
    assert found.size == count
    if std == 0:
        np.testing.assert_array_equal(found, np.float32(expected["mean"]))
        return
    spread = SIGMAS * math.sqrt(2 / count)
    assert abs(found.mean() - expected["mean"]) < spread * std
    nonzero = expected["nonzero_fraction"]
    kurtosis = 3 / nonzero  # of a Gaussian that is thinned out; an upper bound for the others
    assert abs(found.std() / std - 1) < spread * math.sqrt((kurtosis - 1) / 4)
    assert abs((found != 0).mean() - nonzero) <= spread * math.sqrt(nonzero * (1 - nonzero))
    if any(kind in expected["filler"] for kind in ("uniform", "xavier")):
        for end in ("min", "max"):
            assert abs(getattr(found, end)() - expected[end]) < 0.002 * std
    if "unitball" in expected["filler"]:
        sums = found.reshape(shape[0], -1).sum(axis=1)
        np.testing.assert_allclose(sums, 1, rtol=1e-5)
        assert found.min() >= 0


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "xavier", "msra", "positive_unitball"])
def test_numbers_depend_on_seed_and_position_only(kind: str) -> None:
    text = f'type: "{kind}" max: 1'
    first = fill(text, (4, 5))
    np.testing.assert_array_equal(first, fill(text, (4, 5)))
    assert (first != fill(text, (4, 5), position=1)).all()
    assert (first != fill(text, (4, 5), seed=2)).all()


@pytest.mark.parametrize(
    ("size", "line"),
    [
        (1, [1]),
        (2, [0.5, 0.5]),
        (3, [0.5, 1, 0.5]),
        (4, [0.25, 0.75, 0.75, 0.25]),
        (5, [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]),
    ],
)
def test_bilinear_interpolates(size: int, line: list[float]) -> None:
    found = fill('type: "bilinear"', (2, 1, size, size))
    np.testing.assert_allclose(found, [[np.outer(line, line)]] * 2, rtol=1e-6)


def test_bilinear_equals_caffe(golden: Path) -> None:
    case = np.load(golden / "layers" / "Deconvolution__bilinear" / "case.npz")
    expected = case["param_0"]
    np.testing.assert_array_equal(fill('type: "bilinear"', expected.shape), expected)


NORMS = {
    "FAN_IN": lambda shape: math.prod(shape[1:]),
    "FAN_OUT": lambda shape: shape[0] * math.prod(shape[2:]),
    "AVERAGE": lambda shape: (NORMS["FAN_IN"](shape) + NORMS["FAN_OUT"](shape)) / 2,
}


@pytest.mark.parametrize("shape", [(7, 300), (300, 7), (31, 5, 3, 5), (3, 100, 2, 2, 2)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "kurtosis"), [("xavier", 1.8), ("msra", 3.0)])
def test_the_variance_follows_variance_norm(
    kind: str, kurtosis: float, norm: str, shape: tuple[int, ...]
) -> None:
    found = fill(f'type: "{kind}" variance_norm: {norm}', shape).astype(np.float64)
    variance = (1 if kind == "xavier" else 2) / NORMS[norm](shape)
    spread = SIGMAS / math.sqrt(found.size)
    assert abs(found.mean()) < spread * math.sqrt(variance)
    assert abs((found**2).mean() / variance - 1) < spread * math.sqrt(kurtosis - 1)


@pytest.mark.parametrize("sparse", [0, 1, 40])
def test_a_sparse_gaussian_keeps_its_mean_and_std_where_it_survives(sparse: int) -> None:
    found = fill(f'type: "gaussian" mean: 2 std: 0.5 sparse: {sparse}', (40, 500))
    kept = found[found != 0]
    share = sparse / 40
    spread = SIGMAS * math.sqrt(share * (1 - share) / found.size)
    assert abs(kept.size / found.size - share) <= spread
    if sparse:
        assert abs(kept.mean() - 2) < SIGMAS * 0.5 / math.sqrt(kept.size)
        assert abs(kept.std() - 0.5) < SIGMAS * 0.5 / math.sqrt(2 * kept.size)


def test_constant_is_zero_by_default() -> None:
    np.testing.assert_array_equal(fill("", (2, 3)), np.zeros((2, 3)))


@pytest.mark.parametrize("kind", ["constant", "gaussian", "uniform", "xavier", "msra"])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_scalars_and_vectors_can_be_filled(kind: str, shape: tuple[int, ...]) -> None:
    assert np.isfinite(fill(f'type: "{kind}"', shape)).all()


def test_unitball_of_a_vector_has_one_element_per_ball() -> None:
    np.testing.assert_array_equal(fill('type: "positive_unitball"', (3,)), [1, 1, 1])
    assert fill('type: "positive_unitball"', ()) == 1


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [
        ('type: "gausian"', (2, 3), "'gausian' does not exist. Did you mean 'gaussian'?"),
        ('type: "zzz"', (2, 3), "'zzz' does not exist. Known are constant, gaussian, uniform"),
        ('type: "bilinear"', (2, 3), r"expected a square kernel .*, got \(2, 3\)"),
        ('type: "bilinear"', (2, 3, 4, 5), r"expected a square kernel .*, got \(2, 3, 4, 5\)"),
        ('type: "xavier" sparse: 3', (2, 3), "expected no `sparse`, got 3"),
        ('type: "uniform" min: 2 max: 1', (2, 3), "expected min up to max, got min 2 and max 1"),
        ('type: "uniform" min: nan', (2, 3), "expected min up to max, got min nan"),
        ('type: "gaussian" std: -1', (2, 3), "expected std from 0 up, got -1"),
        ('type: "gaussian" std: nan', (2, 3), "expected std from 0 up, got nan"),
        ('type: "gaussian" sparse: 3', (2, 3), "sparse from 0 to 2, the number of outputs, got 3"),
        ('type: "gaussian" sparse: -2', (2, 3), "sparse from 0 to 2, .*got -2"),
        ('type: "xavier"', (2, 0), r"expected a shape with elements, got \(2, 0\)"),
    ],
)
def test_filler_that_does_not_fit_is_refused(
    text: str, shape: tuple[int, ...], message: str
) -> None:
    with pytest.raises(NetError, match=message):
        fill(text, shape)

"""The gradient checker: it finds what is wrong, and only that."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from caffepy.engine import filler
from caffepy.engine.core.blob import Blob
from caffepy.engine.core.layer import Blobs, Layer, LayerContext
from caffepy.engine.gradient_check import GradientError, check_gradient
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.proto.caffe_pb2 import TRAIN, FillerParameter, LayerParameter
from tests.harness import LayerRun, make_layer


class Affine(Layer):
    """y = w a + b^2 with one learnable w; `wrong` spoils one gradient."""

    bottoms = 2

    def setup(self, bottom: Blobs, top: Blobs) -> None:
        self.wrong = ""
        self.add_parameter((3,), FillerParameter(type="constant", value=1.5))

    def reshape(self, bottom: Blobs, top: Blobs) -> bool:
        top[0].reshape(bottom[0].shape)
        return super().reshape(bottom, top)

    def forward(self, bottom: Blobs, top: Blobs) -> None:
        a, b = (blob.data.read() for blob in bottom)
        top[0].data.write()[...] = self.blobs[0].data.read() * a + b**2

    def backward(self, top: Blobs, propagate_down: Sequence[bool], bottom: Blobs) -> None:
        gradient = top[0].diff.read()
        a, b = (blob.data.read() for blob in bottom)
        gradients = {"a": gradient * self.blobs[0].data.read(), "b": gradient * 2 * b}
        for wanted, blob, name in zip(propagate_down, bottom, "ab", strict=True):
            if wanted:
                out = blob.diff.write()
                out[...] = gradients[name]
                if self.wrong == name:
                    out[1, 2] += 0.01
        if self.param_propagate_down[0]:
            add = self.blobs[0].diff.modify()
            add += (gradient * a).sum(axis=0)
            if self.wrong == "w":
                add *= 1.001


@pytest.fixture
def run() -> LayerRun:
    """An Affine layer on two random bottoms of shape (2, 3)."""
    param = LayerParameter(name="affine", type="Affine", bottom=["a", "b"], top=["y"])
    ops = NumpyOps(np.float64)
    layer = Affine(param, LayerContext(TRAIN, ops, filler.fill))
    bottom = [Blob(name, (2, 3), np.float64) for name in "ab"]
    for index, blob in enumerate(bottom):
        blob.data.write()[...] = np.random.default_rng(index).standard_normal((2, 3))
    top = [Blob("y", (), np.float64)]
    layer.setup(bottom, top)
    return LayerRun(layer, bottom, top)


def check(run: LayerRun, **options: object) -> int:
    return check_gradient(run.layer, run.bottom, run.top, **options)


def test_right_gradients_pass_and_every_element_is_compared(run: LayerRun) -> None:
    assert check(run) == 6 + 6 + 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("a", r"gradient of bottom 0 'a' at \(1, 2\): expected .* \(central difference\), got"),
        ("b", r"gradient of bottom 1 'b' at \(1, 2\)"),
        ("w", r"gradient of parameter 0 at \(0,\)"),
    ],
)
def test_wrong_gradient_is_found_and_named(run: LayerRun, wrong: str, message: str) -> None:
    run.layer.wrong = wrong
    with pytest.raises(GradientError, match=f"layer 'affine' .*{message}"):
        check(run)


def test_only_what_was_asked_for_is_checked(run: LayerRun) -> None:
    run.layer.wrong = "b"
    assert check(run, bottoms=[0]) == 6 + 3
    assert check(run, bottoms=[0], check_parameters=False) == 6
    run.layer.wrong = "w"
    run.layer.param_propagate_down = [False]
    assert check(run) == 6 + 6


def test_bottoms_and_parameters_keep_their_values(run: LayerRun) -> None:
    values = [blob.data for blob in (*run.bottom, *run.layer.blobs)]
    before = [value.read().copy() for value in values]
    check(run)
    for value, content in zip(values, before, strict=True):
        np.testing.assert_array_equal(value.read(), content)


def test_bottom_whose_diff_is_never_written_fails(run: LayerRun) -> None:
    run.layer.backward = lambda *arguments: None  # type: ignore[method-assign]
    with pytest.raises(GradientError, match="got 0 from backward"):
        check(run)


@pytest.mark.parametrize(
    ("param", "bottoms", "compared"),
    [
        ('type: "ReLU"', [[1.0, 0.0, -1.0, 0.0]], 2),
        ('type: "AbsVal"', [[0.0, 2.0, -3.0]], 2),
        ('type: "Eltwise" eltwise_param { operation: MAX }', [[1.0, 2.0], [1.0, 3.0]], 2),
    ],
)
def test_kinks_are_left_out(param: str, bottoms: list[list[float]], compared: int) -> None:
    run = make_layer(param, bottoms, ops=NumpyOps(np.float64))
    assert check(run) == compared


def test_loss_is_weighted_by_its_loss_weight() -> None:
    bottoms = np.random.default_rng(0).standard_normal((2, 3, 4))
    run = make_layer('type: "EuclideanLoss" loss_weight: 3', bottoms, ops=NumpyOps(np.float64))
    assert check(run) == 24

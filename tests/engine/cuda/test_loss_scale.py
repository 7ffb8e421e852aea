"""Training in 16 bits: the loss scale, and what is learnt with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import NotFiniteError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda import loss_scale
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.passes import capture
from caffepy.engine.solver.callbacks import History
from caffepy.engine.solver.finite import StopOnNan
from caffepy.engine.solver.loss_scale import DynamicLossScale, LossScale
from caffepy.engine.solver.solver import Solver
from tests.devices import DEVICES, device
from tests.engine.solver.running import Lines, make_solver, parameters
from tests.host_runtime import HostRuntime

# Of the losses of a training, to those of fp32: factors of 11 and 8 bits, in a few dozen steps.
CLOSE = {"tf32": 0.01, "fp16": 0.01, "bf16": 0.05}
CLIPPED = 1e-3  # of a norm of gradients that come out of products of fp16

# No products: what is learnt in fp16 is what is learnt in fp32, bit by bit.
CURVE = """
layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: 4 dim: 3 }
  data_filler { type: "gaussian" } } }
layer { name: "scale" type: "Scale" bottom: "x" top: "y"
  param { lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 } scale_param { bias_term: true } }
layer { name: "loss" type: "Power" bottom: "y" top: "loss" loss_weight: 0.125
  power_param { power: 2 } }
"""
# As small as a net with all that LeNet has can be.
LENET = """
layer { name: "in" type: "Input" top: "x" top: "label"
  input_param { shape { dim: 8 dim: 1 dim: 8 dim: 8 } shape { dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "x" top: "conv1" convolution_param {
  num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
  pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2" convolution_param {
  num_output: 6 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "ip1" type: "InnerProduct" bottom: "conv2" top: "ip1" inner_product_param {
  num_output: 10 weight_filler { type: "xavier" } } }
layer { name: "relu1" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param {
  num_output: 4 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }
"""
STEEP = LENET.replace('top: "loss" }', 'top: "loss" loss_weight: 1000 }')
SOLVER = """
net: "net.prototxt" lr_policy: "fixed" max_iter: 12 weight_decay: 0.01 random_seed: 1
snapshot_prefix: "s" snapshot_after_train: false
"""
RULES = {
    "SGD": "momentum: 0.9",
    "Nesterov": "momentum: 0.9",
    "AdaGrad": "",
    "RMSProp": "rms_decay: 0.9",
    "AdaDelta": "momentum: 0.9 delta: 1e-3",
    "Adam": "momentum: 0.9",
    "LARS": "momentum: 0.9 local_gw_ratio: 0.1",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests work in a folder of their own."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=DEVICES)
def backend(request: pytest.FixtureRequest) -> Callable[..., Ops]:
    """Makes a new backend, in fp16 where no other precision is given."""
    return lambda precision="fp16": CudaOps(device(request), precision=precision)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged."""
    handler, logger = Lines(), logging.getLogger("caffepy")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.setLevel(level)
    logger.removeHandler(handler)


def made(ops: Ops, net: str = LENET, more: str = "base_lr: 0.05", **options: Any) -> Solver:
    """A solver of a net, with the same inputs each time."""
    Path("net.prototxt").write_text(net)
    solver = make_solver(SOLVER + more, ops=ops, **options)
    random = np.random.default_rng(0)
    for name in solver.net.inputs:
        data = solver.net.blobs[name].data
        data.write()[...] = random.integers(0, 4, data.shape) / (1 if name == "label" else 2)
    return solver


def trained(ops: Ops, iterations: int, *args: str, **options: Any) -> Solver:
    solver = made(ops, *args, **options)
    solver.step(iterations)
    return solver


def scale_of(solver: Solver) -> float:
    return solver.loss_scale.state()[0]


def assert_equal(found: Solver, expected: Solver) -> None:
    """Equal bits in weights, histories, and the loss scale."""
    histories = [[one.content() for one in solver.rule.history] for solver in (found, expected)]
    for one, other in [*zip(parameters(found), parameters(expected)), *zip(*histories)]:
        np.testing.assert_array_equal(one, other)
    assert found.loss_scale.state() == expected.loss_scale.state()


# ---- what is learnt


@pytest.mark.parametrize("precision", CLOSE)
def test_a_training_comes_to_the_loss_of_fp32(precision: str, backend: Callable[..., Ops]) -> None:
    losses = []
    for each in ("fp32", precision):
        history = History()
        trained(backend(each), 40, callbacks=[history])
        losses.append([history.losses[at] for at in (0, 10, 20, 39)])
    assert losses[0][-1] < 0.3 * losses[0][0]
    np.testing.assert_allclose(losses[1], losses[0], rtol=CLOSE[precision])


@pytest.mark.parametrize("more", ["", "clip_gradients: 0.1", "iter_size: 2", "debug_info: true"])
@pytest.mark.parametrize("rule", RULES)
def test_updates_take_the_scale_out_again(
    rule: str, more: str, backend: Callable[..., Ops]
) -> None:
    text = f'base_lr: 0.05 type: "{rule}" {RULES[rule]} display: 2 {more}'
    found, expected = (trained(backend(each), 5, CURVE, text) for each in ("fp16", "fp32"))
    for one, other in zip(parameters(found), parameters(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.loss_scale.state() == [loss_scale.BEGIN, 5, 0]


def test_a_diff_keeps_the_update_without_the_scale(backend: Callable[..., Ops]) -> None:
    solver = made(backend(), CURVE, "base_lr: 0.05", keep_diffs=True)
    before = parameters(solver)
    solver.step(1)
    for old, new, one in zip(before, parameters(solver), solver.rule.learnable, strict=True):
        np.testing.assert_allclose(one.blob.diff.read(), old - new, rtol=1e-5, atol=1e-7)


def test_only_fp16_has_a_scale(backend: Callable[..., Ops]) -> None:
    for precision in ("fp32", "tf32", "bf16"):
        assert type(made(backend(precision)).loss_scale) is LossScale
    assert isinstance(made(backend()).loss_scale, DynamicLossScale)


# ---- too large a scale


def test_updates_that_overflow_are_skipped_until_the_scale_fits(
    backend: Callable[..., Ops],
) -> None:
    solver = made(backend(), STEEP, "base_lr: 1e-5", callbacks=[StopOnNan()], keep_diffs=True)
    before, history = parameters(solver), [one.content() for one in solver.rule.history]
    solver.step(1)
    assert solver.loss_scale.state() == [loss_scale.BEGIN / 2, 0, 1]
    assert solver.iteration == 1
    after = parameters(solver), [one.content() for one in solver.rule.history]
    for found, expected in zip(after, (before, history), strict=True):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    for one in solver.rule.learnable:
        assert not one.blob.diff.read().any()  # the update, which is none
    solver.step(20)
    scale, good, skipped = solver.loss_scale.state()
    assert scale == loss_scale.BEGIN / 2**skipped < loss_scale.BEGIN / 2
    assert good == 21 - skipped > 5
    reference = trained(backend("fp32"), int(good), STEEP, "base_lr: 1e-5")
    moved = zip(before, parameters(solver), parameters(reference), strict=True)
    for start, found, expected in moved:
        np.testing.assert_allclose(found - start, expected - start, rtol=0.05, atol=1e-4)


def test_the_scale_doubles_after_enough_good_updates(
    backend: Callable[..., Ops], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    monkeypatch.setattr(loss_scale, "MOST", 4 * loss_scale.BEGIN)
    solver, scales = made(backend(), CURVE), []
    for _ in range(10):
        solver.step(1)
        scales.append(scale_of(solver) / loss_scale.BEGIN)
    assert scales == [1, 1, 2, 2, 2, 4, 4, 4, 4, 4]


def test_a_display_tells_of_skipped_updates(backend: Callable[..., Ops], lines: list[str]) -> None:
    trained(backend(), 9, STEEP, "base_lr: 1e-5 display: 4")
    told = [line for line in lines if line.startswith("Loss scale")]
    assert told[0] == (
        f"Loss scale {loss_scale.BEGIN / 16:g}: 4 of 4 updates skipped, whose gradients were "
        "beyond fp16"
    )
    lines.clear()
    trained(backend(), 9, LENET, "base_lr: 0.01 display: 4")
    assert not any("scale" in line.lower() for line in lines if "layer" not in line)


def test_debug_info_says_that_diffs_are_scaled(
    backend: Callable[..., Ops], lines: list[str]
) -> None:
    trained(backend(), 1, CURVE, "base_lr: 0.05 display: 1 debug_info: true")
    assert any("All diffs are 65536 times the gradients" in line for line in lines)


def test_clipping_goes_by_the_gradients_as_they_are(
    backend: Callable[..., Ops], lines: list[str]
) -> None:
    norms = []
    for precision in ("fp32", "fp16"):
        lines.clear()
        trained(backend(precision), 1, LENET, "base_lr: 0.05 clip_gradients: 0.001")
        (line,) = [line for line in lines if line.startswith("Gradient clipping")]
        norms.append(float(line.split("norm ")[1].split(" ")[0]))
    assert norms[1] == pytest.approx(norms[0], rel=CLIPPED)


def test_clipping_takes_no_overflow_for_an_error(backend: Callable[..., Ops]) -> None:
    text = "base_lr: 1e-5 clip_gradients: 100"
    solver = trained(backend(), 12, STEEP, text, callbacks=[StopOnNan()])
    _, good, skipped = solver.loss_scale.state()
    assert skipped
    assert good
    assert np.isfinite(np.concatenate([each.ravel() for each in parameters(solver)])).all()


ENDLESS = CURVE.replace("power: 2", "power: 0.5").replace('"gaussian"', '"constant"')


def test_gradients_that_no_scale_makes_finite_end_the_run(
    backend: Callable[..., Ops], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "LEAST", loss_scale.BEGIN / 4)
    solver = made(backend(), ENDLESS, "base_lr: 0.05", callbacks=[StopOnNan()])
    before = parameters(solver)
    with pytest.raises(NotFiniteError, match="expected finite gradients in iteration 2, got nan"):
        solver.step(10)
    for one, other in zip(parameters(solver), before, strict=True):
        np.testing.assert_array_equal(one, other)
    patient = trained(backend(), 10, ENDLESS, "base_lr: 0.05")
    assert patient.loss_scale.state() == [loss_scale.BEGIN / 4, 0, 10]


# ---- resume, and graphs


def test_a_resumed_run_is_the_unbroken_one(
    backend: Callable[..., Ops], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "INTERVAL", 4)
    for ending in ("", "snapshot_format: HDF5"):
        text = f"base_lr: 1e-5 momentum: 0.9 snapshot: 7 {ending}"
        whole = trained(backend(), 14, STEEP, text)
        path = "s_iter_7.solverstate" + (".h5" if ending else "")
        assert whole.loss_scale.state()[2] not in (0, 14)
        assert_equal(trained(backend(), 7, STEEP, text, resume=path), whole)


def test_a_state_of_fp32_goes_on_in_fp16(backend: Callable[..., Ops]) -> None:
    text = "base_lr: 0.01 snapshot: 2"
    trained(backend("fp32"), 2, LENET, text)
    solver = trained(backend(), 2, LENET, text, resume="s_iter_2.solverstate")
    assert solver.loss_scale.state() == [loss_scale.BEGIN, 2, 0]
    trained(backend("fp32"), 1, LENET, text, resume="s_iter_4.solverstate")


def test_graphs_scale_as_steps_do(
    backend: Callable[..., Ops], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "INTERVAL", 3)
    text = "base_lr: 1e-5 momentum: 0.9 iter_size: 2"
    captured = trained(backend(), 10, STEEP, text)
    monkeypatch.setattr(capture, "WARM_UP", 99)
    assert_equal(trained(backend(), 10, STEEP, text), captured)
    scale, _, skipped = captured.loss_scale.state()
    assert skipped
    assert scale * 2**skipped > loss_scale.BEGIN  # it rose again


def test_iterations_wait_for_nothing(host_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    downloads: list[int] = []
    download = HostRuntime.download
    monkeypatch.setattr(
        HostRuntime, "download", lambda *args: downloads.append(1) or download(*args)
    )
    ops, counts = CudaOps(HostRuntime(host_folder), precision="fp16"), []
    solver = made(ops, STEEP, "base_lr: 1e-5", callbacks=[StopOnNan()])
    for iterations in (2, 2, 20):
        downloads.clear()
        solver.step(iterations)
        counts.append(len(downloads))
    assert counts[1] == counts[2] <= 2

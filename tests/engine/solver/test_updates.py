"""Update rules against their formulas in float64, and what resuming makes of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import caffepy.layers  # noqa: F401 - registers the layer types
from caffepy.engine.core.errors import SnapshotError
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.snapshot import read_snapshot
from caffepy.engine.solver.solver import Solver
from tests.engine.solver.running import (
    Settings,
    filled,
    gradients,
    parameters,
    run_solver,
    text_settings,
)

# Rates and decays of all kinds; `scale` and `shift` share one blob by name.
NET = """
name: "updates"
layer { name: "data" type: "Input" top: "x" top: "y"
  input_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  param { lr_mult: 2 decay_mult: 0.5 } param { decay_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" }
    bias_filler { value: 0.5 } } }
layer { name: "frozen" type: "InnerProduct" bottom: "ip" top: "frozen"
  param { lr_mult: 0 } param { lr_mult: 0 decay_mult: 0 }
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "scale" type: "Scale" bottom: "frozen" top: "scale" param { name: "w" }
  scale_param { filler { value: 0.7 } } }
layer { name: "shift" type: "Bias" bottom: "scale" top: "shift" param { name: "w" } }
layer { name: "loss" type: "EuclideanLoss" bottom: "shift" bottom: "y" top: "loss" }
"""
LR_MULTS, DECAY_MULTS = (2, 1, 0, 0, 1), (0.5, 0, 1, 0, 1)

# Bit-equal layers in float64, and sums in another order.
RTOL, ATOL = 1e-9, 1e-12


@dataclass
class Hyper:
    """The numbers of a solver, as it holds them."""

    base_lr: float = 0.1
    momentum: float = 0.9
    momentum2: float = 0.999
    rms_decay: float = 0.9
    delta: float = 1e-3
    weight_decay: float = 0.01
    local_gw_ratio: float = 0.02
    larc_eta: float = 0.02

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            setattr(self, name, float(np.float32(value)))


@dataclass
class Gradient:
    """What a rule starts from, for one parameter."""

    weights: np.ndarray
    raw: np.ndarray  # clipped and divided by iter_size
    penalty: np.ndarray  # W, or its sign
    decay: float
    rate: float
    lr_mult: float
    done: int  # iterations, this one included

    @property
    def full(self) -> np.ndarray:
        return self.raw + self.decay * self.penalty


History = list[np.ndarray]
Reference = Callable[[Gradient, History, Hyper], tuple[np.ndarray, History]]


def sgd(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    velocity = h.momentum * past[0] + g.rate * g.lr_mult * g.full
    return velocity, [velocity]


def nesterov(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    velocity = h.momentum * past[0] + g.rate * g.lr_mult * g.full
    return (1 + h.momentum) * velocity - h.momentum * past[0], [velocity]


def adagrad(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    squares = past[0] + g.full**2
    return g.rate * g.lr_mult * g.full / (np.sqrt(squares) + h.delta), [squares]


def rmsprop(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    squares = h.rms_decay * past[0] + (1 - h.rms_decay) * g.full**2
    return g.rate * g.lr_mult * g.full / (np.sqrt(squares) + h.delta), [squares]


def adadelta(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    squares = h.momentum * past[0] + (1 - h.momentum) * g.full**2
    step = g.full * np.sqrt((past[1] + h.delta) / (squares + h.delta))
    updates = h.momentum * past[1] + (1 - h.momentum) * step**2
    return g.rate * g.lr_mult * step, [squares, updates]


def moments(term: np.ndarray, g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    mean = h.momentum * past[0] + (1 - h.momentum) * term
    squares = h.momentum2 * past[1] + (1 - h.momentum2) * term**2
    correction = math.sqrt(1 - h.momentum2**g.done) / (1 - h.momentum**g.done)
    return correction * mean / (np.sqrt(squares) + h.delta), [mean, squares]


def adam(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    step, new = moments(g.full, g, past, h)
    return g.rate * g.lr_mult * step, new


def adamw(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    step, new = moments(g.raw, g, past, h)
    return g.rate * g.lr_mult * (step + g.decay * g.penalty), new


def ratio(weights: np.ndarray, gradient: np.ndarray, eta: float, decay: float) -> float:
    size, slope = np.linalg.norm(weights), np.linalg.norm(gradient)
    return float(eta * size / (slope + decay * size)) if size and slope else 1.0


def moved(rate: float, g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    velocity = h.momentum * past[0] + rate * g.full
    return velocity, [velocity]


def lars(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    local = ratio(g.weights, g.raw, h.local_gw_ratio, g.decay)
    return moved(g.rate * g.lr_mult * local, g, past, h)


def local_lr_auto(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    local = ratio(g.weights, g.full, h.local_gw_ratio, h.weight_decay)
    return moved(g.rate * local if g.lr_mult else 0, g, past, h)


def larc_scale(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    local = ratio(g.weights, g.raw, h.larc_eta, 0)
    return moved(g.rate * local if g.lr_mult else 0, g, past, h)


def larc_clip(g: Gradient, past: History, h: Hyper) -> tuple[np.ndarray, History]:
    local = ratio(g.weights, g.raw, h.larc_eta, 0)
    return moved(min(g.rate, local) if g.lr_mult else 0, g, past, h)


# What the solver says -> (how many history values per parameter, the formula).
RULES: dict[str, tuple[int, Reference]] = {
    'type: "SGD"': (1, sgd),
    'type: "Nesterov"': (1, nesterov),
    'type: "AdaGrad"': (1, adagrad),
    'type: "RMSProp"': (1, rmsprop),
    'type: "AdaDelta"': (2, adadelta),
    'type: "Adam"': (2, adam),
    'type: "AdamW"': (2, adamw),
    'type: "LARS"': (1, lars),
    "local_lr_auto: true": (1, local_lr_auto),
    "larc: true": (1, larc_scale),
    'larc: true larc_policy: "clip"': (1, larc_clip),
}
WITHOUT_MOMENTUM = ('type: "AdaGrad"', 'type: "RMSProp"')


def solver_for(rule: str, hyper: Hyper, more: str = "", ops: Ops | None = None) -> Solver:
    """A solver with a rule, its inputs filled."""
    fields = " ".join(
        f"{name}: {value!r}"
        for name, value in vars(hyper).items()
        if not (name == "momentum" and rule in WITHOUT_MOMENTUM)
    )
    text = f'net_param {{ {NET} }} {rule} {fields} lr_policy: "fixed" random_seed: 1 {more}'
    return filled(Solver(text_settings(text), ops=ops or NumpyOps(np.float64), registry=LAYERS))


def assert_follows(
    solver: Solver, rule: str, hyper: Hyper, rtol: float, atol: float, steps: int = 4
) -> None:
    """Weights, history and kept updates of some iterations are those of the formula."""
    slots, reference = RULES[rule]
    param = solver.param
    count = len(LR_MULTS)
    past = [[np.zeros(one.shape)] * slots for one in parameters(solver)]
    for _ in range(steps):
        weights, slopes = parameters(solver), gradients(solver)
        norm = math.sqrt(sum(float((slope**2).sum()) for slope in slopes)) * param.iter_size
        scale = 1.0
        if 0 <= param.clip_gradients < norm:
            scale = param.clip_gradients / norm
        solver.step(1)
        for index in range(count):
            here = Gradient(
                weights[index],
                slopes[index] * scale,
                np.sign(weights[index]) if param.regularization_type == "L1" else weights[index],
                param.weight_decay * DECAY_MULTS[index],
                param.base_lr,
                LR_MULTS[index],
                solver.iteration,
            )
            update, past[index] = reference(here, past[index], hyper)
            found = solver.net.parameters.learnable[index].blob
            expected = weights[index] - update
            np.testing.assert_allclose(found.data.read(), expected, rtol=rtol, atol=atol)
            if solver.keep_diffs:
                np.testing.assert_allclose(found.diff.read(), update, rtol=rtol, atol=atol)
    history = [value.read() for value in solver.rule.history]
    assert len(history) == slots * count
    for place, found_history in enumerate(history):  # slot by slot
        expected = past[place % count][place // count]
        np.testing.assert_allclose(found_history, expected, rtol=rtol, atol=atol)


def share(low: float = 0.0) -> st.SearchStrategy[float]:
    return st.floats(low, 0.99)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=12)
@given(
    hyper=st.builds(
        Hyper,
        base_lr=st.floats(1e-3, 0.5),
        momentum=share(),
        momentum2=share(0.5),
        rms_decay=share(),
        delta=st.floats(1e-4, 0.1),
        weight_decay=st.floats(0, 0.3),
        local_gw_ratio=st.floats(1e-3, 0.1),
        larc_eta=st.floats(1e-3, 0.1),
    ),
    more=st.sampled_from(
        ["", 'regularization_type: "L1"', "iter_size: 3", "clip_gradients: 0.5 iter_size: 2"]
    ),
    keep_diffs=st.booleans(),
)
def test_a_rule_is_what_its_formula_says(
    rule: str, hyper: Hyper, more: str, keep_diffs: bool
) -> None:
    solver = solver_for(rule, hyper, more + (" snapshot_diff: true" if keep_diffs else ""))
    assert_follows(solver, rule, hyper, RTOL, ATOL)


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_is_the_same_on_every_backend(rule: str, ops: Ops) -> None:
    hyper = Hyper()
    assert_follows(solver_for(rule, hyper, ops=ops), rule, hyper, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_frozen_parameters_never_move(rule: str) -> None:
    solver = solver_for(rule, Hyper(weight_decay=0.3))
    before = parameters(solver)
    solver.step(3)
    after = parameters(solver)
    for index, lr_mult in enumerate(LR_MULTS):
        assert np.array_equal(before[index], after[index]) == (lr_mult == 0)


# ---- resuming

NOISE = """
layer { name: "data" type: "DummyData" top: "x" top: "y"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 3 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "gaussian" std: 1 } } }
"""
RUN = 'base_lr: 0.05 lr_policy: "fixed" weight_decay: 0.01 random_seed: 3 max_iter: 6 snapshot: 3 '


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    start = NET.index('layer { name: "ip"')
    Path("net.prototxt").write_text(NOISE + NET[start:])
    return tmp_path


def training(rule: str, more: str = "") -> Settings:
    momentum = "" if rule in WITHOUT_MOMENTUM else "momentum: 0.8"
    text = f'net: "net.prototxt" {RUN} {momentum} {rule} snapshot_prefix: "s" {more}'
    Path("solver.prototxt").write_text(text)
    return Settings.read("solver.prototxt")


@pytest.mark.parametrize("ending", ["", ".h5"])
@pytest.mark.parametrize("rule", RULES)
def test_a_resumed_run_is_bit_equal_for_each_rule(rule: str, ending: str, folder: Path) -> None:
    more = "snapshot_format: HDF5" if ending else ""
    whole = run_solver(training(rule, more)).solver
    state = read_snapshot(Path(f"s_iter_3.solverstate{ending}"))
    assert len(state.history) == RULES[rule][0] * len(LR_MULTS)
    resumed = run_solver(training(rule, more), resume=f"s_iter_3.solverstate{ending}").solver
    for ours, theirs in zip(parameters(resumed), parameters(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for past, expected in zip(resumed.rule.history, whole.rule.history, strict=True):
        np.testing.assert_array_equal(past.read(), expected.read())


def test_a_state_of_another_number_of_histories_is_refused(folder: Path) -> None:
    run_solver(training('type: "SGD"'))
    state = read_snapshot(Path("s_iter_3.solverstate"))
    solver = Solver(training('type: "Adam"'), ops=NumpyOps(), registry=LAYERS)
    with pytest.raises(SnapshotError, match=r"expected 10 blobs \(2 for each of 5 .*Adam\), got 5"):
        solver.rule.check_history(state.history, "s")


@pytest.mark.parametrize("rule", ['type: "SGD"', 'type: "AdaGrad"'])
def test_a_frozen_parameter_takes_part_in_the_history_where_it_does_in_caffe(
    rule: str, folder: Path
) -> None:
    """Weight decay counts as a gradient; with SGD it is multiplied by the rate, 0, first."""
    solver = run_solver(training(rule)).solver
    frozen = solver.rule.past(0, 2).read()
    assert frozen.any() == (rule == 'type: "AdaGrad"')

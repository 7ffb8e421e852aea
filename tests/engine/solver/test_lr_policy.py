"""Learning rate policies, warm-up and floors; what they keep in a snapshot."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caffepy.engine.core.errors import PrototxtError
from caffepy.engine.snapshot import read_snapshot
from caffepy.engine.solver.lr_policy import make_policy
from caffepy.proto.caffe_pb2 import SolverState
from tests.engine.solver.running import Run, Settings, run_solver, text_settings


def rates(solver_text: str, iterations: Sequence[int], losses: Sequence[float] = ()) -> list[float]:
    """The rates of some iterations, all of them asked for in order; losses: of each iteration."""
    coming = iter(losses)
    policy = make_policy(text_settings(solver_text), lambda: next(coming))
    every = [policy.rate(iteration) for iteration in range(max(iterations) + 1)]
    return [every[iteration] for iteration in iterations]


@pytest.mark.parametrize(
    ("solver_text", "expected"),
    [
        ('lr_policy: "fixed"', {0: 0.5, 1000: 0.5}),
        ('lr_policy: "step" gamma: 0.1 stepsize: 10', {0: 0.5, 9: 0.5, 10: 0.05, 25: 0.005}),
        ('lr_policy: "exp" gamma: 0.9', {0: 0.5, 3: 0.5 * 0.9**3}),
        ('lr_policy: "inv" gamma: 0.1 power: 0.75', {0: 0.5, 10: 0.5 * 2**-0.75}),
        ('lr_policy: "multistep" gamma: 0.1 stepvalue: 2 stepvalue: 4', {1: 0.5, 2: 0.05, 4: 5e-3}),
        ('lr_policy: "poly" power: 2 max_iter: 10', {0: 0.5, 5: 0.125, 10: 0, 11: 0}),
        (
            'lr_policy: "sigmoid" gamma: -0.2 stepsize: 5',
            {0: 0.5 / (1 + math.exp(-1)), 5: 0.25, 100000: 0},
        ),
        (
            'lr_policy: "cosine" max_iter: 10',
            {0: 0.5, 3: 0.25 * (1 + math.cos(0.3 * math.pi)), 5: 0.25, 10: 0, 14: 0},
        ),
        (
            'lr_policy: "multifixed" stagelr: 0.3 stagelr: 0.2 stageiter: 4 stageiter: 6',
            {0: 0.3, 4: 0.3, 5: 0.2, 6: 0.2, 7: 0.2, 100: 0.2},
        ),
        (
            'lr_policy: "step" gamma: 0.1 stepsize: 4 warmup_iter: 5 warmup_start_lr: 0.1',
            {0: 0.1, 1: 0.18, 4: 0.42, 5: 0.05, 8: 0.005},
        ),
        ('lr_policy: "fixed" warmup_iter: 4', {0: 0, 1: 0.125, 3: 0.375, 4: 0.5}),
        (
            'lr_policy: "fixed" rampup_interval: 4 rampup_lr: 0.1',
            {0: 0.1, 1: 0.1 + 0.4 / 16, 2: 0.2, 3: 0.1 + 0.4 * 9 / 16, 4: 0.5, 5: 0.5},
        ),
        (
            'lr_policy: "cosine" max_iter: 12 min_lr: 0.1 warmup_iter: 2',
            {0: 0, 1: 0.25, 2: 0.5, 7: 0.3, 12: 0.1, 20: 0.1},
        ),
        ('lr_policy: "poly" power: 1 max_iter: 10 min_lr: 0.1', {0: 0.5, 5: 0.3, 10: 0.1, 11: 0.1}),
        ('lr_policy: "step" gamma: 0.1 stepsize: 10 min_lr: 0.02', {0: 0.5, 10: 0.05, 20: 0.02}),
        ('lr_policy: "fixed" rampup_interval: 4 min_lr: 0.2', {0: 0.2, 3: 0.28125, 4: 0.5}),
    ],
)  # fmt: skip
def test_rates_follow_the_formula(solver_text: str, expected: dict[int, float]) -> None:
    found = rates(f"base_lr: 0.5 {solver_text}", list(expected))
    assert found == pytest.approx(list(expected.values()), rel=1e-6)


# What a solver says besides base_lr -> the rate by iteration, written out once more.
CLOSED: dict[str, Callable[[int], float]] = {
    'lr_policy: "fixed"': lambda it: 1,
    'lr_policy: "step" gamma: 0.5 stepsize: 700': lambda it: 0.5 ** (it // 700),
    'lr_policy: "step" gamma: 0.5 stepsize: 9000': lambda it: 1,
    'lr_policy: "exp" gamma: 0.999': lambda it: float(np.float32(0.999)) ** it,
    'lr_policy: "exp" gamma: 1.001': lambda it: float(np.float32(1.001)) ** it,
    'lr_policy: "inv" gamma: 0.0625 power: 0.75': lambda it: (1 + 0.0625 * it) ** -0.75,
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 0 stepvalue: 900': lambda it: (
        0.25 if it >= 900 else 0.5
    ),
    'lr_policy: "multistep" gamma: 0.5 stepvalue: 900 stepvalue: 9': lambda it: (
        0.25 if it > 900 else 0.5 if it == 900 else 1
    ),
    'lr_policy: "poly" power: 1.5': lambda it: (1 - it / 4000) ** 1.5,
    'lr_policy: "poly" power: 0': lambda it: 1,
    'lr_policy: "sigmoid" gamma: -0.0625 stepsize: 2000': lambda it: (
        1 / (1 + math.exp(0.0625 * (it - 2000)))
    ),
    'lr_policy: "sigmoid" gamma: 0.0625 stepsize: 0': lambda it: 1 / (1 + math.exp(-0.0625 * it)),
    'lr_policy: "cosine"': lambda it: (1 + math.cos(math.pi * it / 4000)) / 2,
    'lr_policy: "multifixed" stagelr: 3 stagelr: 2 stageiter: 0 stageiter: 80': lambda it: (
        3 if it == 0 else 2
    ),
}


@pytest.mark.parametrize("policy", CLOSED)
@pytest.mark.parametrize("beginning", ["", "warmup_iter: 300", "rampup_interval: 300"])
def test_a_policy_keeps_to_its_formula_for_thousands_of_iterations(
    policy: str, beginning: str
) -> None:
    length = 300 if beginning else 0
    found = rates(f"base_lr: 1 {policy} max_iter: 4000 {beginning}", range(4000))
    for iteration, rate in enumerate(found):
        expected = CLOSED[policy](iteration)
        if iteration < length:
            expected = (iteration / length) ** (2 if "rampup" in beginning else 1)
        elif "cosine" in policy and length:
            done = (iteration - length) / (4000 - length)
            expected = (1 + math.cos(math.pi * done)) / 2
        elif "multistep" in policy and iteration == length > 0:
            continue  # one step only, of those that the beginning passed over
        assert rate == pytest.approx(expected, rel=1e-6, abs=1e-12), iteration


@pytest.mark.parametrize("policy", [*CLOSED, 'lr_policy: "fixed" warmup_iter: 9 min_lr: 0.5'])
@pytest.mark.parametrize("resumed_at", [1, 8, 901])
def test_a_policy_goes_on_from_its_state(policy: str, resumed_at: int) -> None:
    settings = text_settings(f"base_lr: 1 {policy} max_iter: 4000")
    whole, resumed = make_policy(settings), make_policy(settings)
    for iteration in range(resumed_at):
        whole.rate(iteration)
    resumed.current_step = whole.current_step
    resumed.restore(whole.state())
    for iteration in range(resumed_at, resumed_at + 1000):
        assert resumed.rate(iteration) == whole.rate(iteration)


@pytest.mark.parametrize(
    ("policy", "last"),
    [
        ('"exp" gamma: 10', 38),
        ('"step" gamma: 1e30 stepsize: 3', 5),
        ('"inv" gamma: -0.25 power: 0.5', 3),
        ('"inv" gamma: -0.25 power: 2', 3),
        ('"poly" power: -1 max_iter: 6', 5),
    ],
)
def test_a_rate_that_is_not_finite_is_refused_by_its_iteration(policy: str, last: int) -> None:
    text = f"base_lr: 1 lr_policy: {policy}"
    rates(text, [last])
    with pytest.raises(
        PrototxtError, match=f"lr_policy: .*finite learning rate in iteration {last + 1}, got inf"
    ):
        rates(text, [last + 1])


def test_a_power_of_a_negative_number_is_refused() -> None:
    policy = make_policy(text_settings('base_lr: 1 lr_policy: "inv" gamma: -1 power: 0.5'))
    with pytest.raises(PrototxtError, match=r"in iteration 2, got nan\. Correct the policy's"):
        policy.rate(2)


def test_steps_out_of_order_are_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    rates('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 3', [0])
    assert not caplog.text
    rates('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 9 stepvalue: 3', [0])
    assert "stepvalue: expected growing iterations, got 9, 3: a step waits" in caplog.text


def test_multistep_takes_one_step_per_iteration_as_caffe_does() -> None:
    text = 'base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 3 stepvalue: 3'
    assert rates(text, [2, 3, 4, 5]) == [1, 0.5, 0.25, 0.25]


def test_the_step_is_part_of_the_state() -> None:
    settings = text_settings('base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 3')
    policy = make_policy(settings)
    policy.current_step = 1
    assert policy.rate(0) == 0.5


@pytest.mark.parametrize(
    ("solver_text", "message"),
    [
        ("base_lr: 1", "solver: lr_policy: expected one of cosine, exp, .*got none"),
        ('lr_policy: "stepp"', "lr_policy: .*got 'stepp'. Did you mean 'step'?"),
        ('lr_policy: "step" gamma: 0.1', "stepsize: lr_policy 'step' needs it: .*got none"),
        ('lr_policy: "step" gamma: 0.1 stepsize: 0', "stepsize: .*got 0"),
        ('lr_policy: "step" stepsize: 3', "gamma: lr_policy 'step' needs it"),
        ('lr_policy: "exp"', "gamma: lr_policy 'exp' needs it"),
        ('lr_policy: "multistep" stepvalue: 3', "gamma: lr_policy 'multistep' needs it"),
        ('lr_policy: "multistep" gamma: 0.1', "stepvalue: lr_policy 'multistep' needs it"),
        ('lr_policy: "poly" max_iter: 9', "power: lr_policy 'poly' needs it"),
        ('lr_policy: "inv" gamma: 1', "power: lr_policy 'inv' needs it"),
        ('lr_policy: "sigmoid" gamma: 1', "stepsize: lr_policy 'sigmoid' needs it"),
        ('lr_policy: "step" gamma: 0.1 stepsize: -5', "expected a value above 0, got -5"),
        ('lr_policy: "poly" power: 1', "max_iter: lr_policy 'poly' needs it"),
        ('lr_policy: "cosine"', "max_iter: lr_policy 'cosine' needs it"),
        ('lr_policy: "plateau" gamma: 0.1', "plateau_winsize: lr_policy 'plateau' needs it"),
        ('lr_policy: "plateau" plateau_winsize: 9', "gamma: lr_policy 'plateau' needs it"),
        (
            'lr_policy: "plateau" gamma: 0.1 plateau_winsize: 5 plateau_winsize: 0',
            "plateau_winsize: expected at least 1, got 0",
        ),
        ('lr_policy: "multifixed" stagelr: 1', "stageiter: lr_policy 'multifixed' needs it"),
        ('lr_policy: "multifixed" stageiter: 1', "stagelr: lr_policy 'multifixed' needs it"),
        (
            'lr_policy: "multifixed" stagelr: 1 stagelr: 2 stageiter: 5',
            r"stageiter: expected one for each stagelr \(2\), got 1",
        ),
        (
            'lr_policy: "multifixed" stagelr: 1 stagelr: 2 stageiter: 5 stageiter: 5',
            "stageiter: expected growing iterations, got 5, 5",
        ),
        ('lr_policy: "fixed" warmup_iter: -1', "warmup_iter: expected 0 or more, got -1"),
        ('lr_policy: "fixed" min_lr: -0.5', "min_lr: expected 0 or more, got -0.5"),
        ('lr_policy: "fixed" base_lr: 0.1 min_lr: 0.5', "min_lr: expected at most base_lr, 0.1"),
        (
            'lr_policy: "fixed" warmup_iter: 3 rampup_interval: 3',
            "rampup_interval: expected one of warmup_iter and rampup_interval, got both",
        ),
    ],
)
def test_a_policy_that_cannot_work_is_refused(solver_text: str, message: str) -> None:
    with pytest.raises(PrototxtError, match=message):
        make_policy(text_settings(solver_text))


def test_a_rate_of_zero_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    make_policy(text_settings('lr_policy: "fixed"'))
    assert "base_lr: expected a learning rate, got 0: nothing is learnt" in caplog.text


def test_multifixed_does_without_base_lr(caplog: pytest.LogCaptureFixture) -> None:
    text = 'lr_policy: "multifixed" stagelr: 1 stageiter: 5 min_lr: 0.5'
    assert rates(text, [0, 9]) == [1, 1]
    assert not caplog.text
    assert rates(text + " base_lr: 2 warmup_iter: 4", [0, 2, 4]) == [0, 1, 1]
    make_policy(text_settings(text.replace("min_lr: 0.5", "warmup_iter: 4")))
    assert "base_lr: expected a learning rate, got 0" in caplog.text


def test_steps_that_warm_up_passes_over_are_caught_up() -> None:
    text = (
        """base_lr: 1 lr_policy: "multistep" gamma: 0.5 stepvalue: 1 stepvalue: 2 warmup_iter: 4"""
    )
    assert rates(text, [4, 5, 6]) == [0.5, 0.25, 0.25]


@given(
    warmup=st.integers(0, 20),
    policy=st.sampled_from(
        ['"fixed"', '"exp" gamma: 0.9', '"poly" power: 0.5', '"cosine"', '"step" gamma: 0.5']
    ),
    floor=st.floats(0.001, 0.1),
)
def test_a_rate_stays_between_its_floor_and_base_lr(warmup: int, policy: str, floor: float) -> None:
    text = (
        f"base_lr: 0.5 lr_policy: {policy} max_iter: 25 stepsize: 4 warmup_iter: {warmup} "
        f"warmup_start_lr: 0.1 min_lr: {floor}"
    )
    found = rates(text, range(30))
    assert min(found) >= np.float32(floor)
    assert max(found) <= np.float32(0.5)
    if warmup:
        assert found[0] == pytest.approx(0.1)


# ---- plateau

PLATEAU = 'base_lr: 1 lr_policy: "plateau" gamma: 0.5 plateau_winsize: 3 plateau_winsize: 2'


def test_plateau_drops_when_no_minimum_came_for_a_window() -> None:
    losses = [5, 4, 4, 4, 4, 4.5, 3, 3, 3, 3, 3, 3, 3, 3]
    #         minimum at 1; drop at 4; minimum at 6; drop at 8; there is no third window
    found = rates(PLATEAU, range(len(losses)), losses)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.5, *[0.25] * 6]


def test_plateau_counts_from_a_drop_as_from_a_minimum() -> None:
    losses = [5, 6, 6, 6, 6, 6, 6]  # drops at 3 and, two iterations later, at 5
    assert rates(PLATEAU, range(len(losses)), losses) == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]


def test_plateau_never_takes_nan_for_a_minimum() -> None:
    losses = [math.nan, math.nan, math.nan, math.nan]
    assert rates(PLATEAU, range(4), losses) == [1, 1, 1, 0.5]


def test_plateau_says_what_it_does(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    rates(PLATEAU + " display: 2", range(6), [5, 4, 4, 4, 4, 4])
    assert caplog.messages == [
        "Plateau Status: Iteration 0, current minimum_loss = 5",
        "Plateau Status: Iteration 2, current minimum_loss = 4",
        "Plateau Status: Iteration 4, step = 1",
        "Plateau Status: Iteration 4, current minimum_loss = 4",
    ]


# The loss is a mean of random numbers, which goes nowhere: minima become rare.
NET = """
name: "noise"
layer { name: "data" type: "DummyData" top: "x" top: "y"
  dummy_data_param { shape { dim: 2 dim: 2 } shape { dim: 2 dim: 2 }
    data_filler { type: "gaussian" std: 1 } data_filler { type: "gaussian" std: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 lr_policy: "plateau" gamma: 0.5 plateau_winsize: 4
plateau_winsize: 4 plateau_winsize: 4 average_loss: 3 random_seed: 1 max_iter: 20 snapshot: 1
snapshot_prefix: "s"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return tmp_path


def trained(ending: str, resume: str | None = None) -> Run:
    Path("solver.prototxt").write_text(SOLVER + ("snapshot_format: HDF5" if ending else ""))
    return run_solver(Settings.read("solver.prototxt"), resume=resume)


@pytest.mark.parametrize("ending", ["", ".h5"])
def test_plateau_goes_on_where_a_snapshot_left_it(ending: str, folder: Path) -> None:
    whole = trained(ending).history.rates
    assert len(set(whole.values())) == 4  # all drops happened
    last = read_snapshot(Path(f"s_iter_20.solverstate{ending}"))
    for iteration in range(1, 19, 3):
        resumed = trained(ending, f"s_iter_{iteration}.solverstate{ending}").history.rates
        assert resumed == {key: rate for key, rate in whole.items() if key >= iteration}
        again = read_snapshot(Path(f"s_iter_20.solverstate{ending}"))
        assert (again.policy, again.current_step) == (last.policy, last.current_step)


def test_the_state_holds_the_fields_of_the_ssd_fork(folder: Path) -> None:
    trained("")
    trained(".h5")
    state = SolverState()
    state.ParseFromString(Path("s_iter_20.solverstate").read_bytes())
    with h5py.File("s_iter_20.solverstate.h5") as file:
        assert file["minimum_loss"].dtype == np.float32
        assert file["iter_last_event"].dtype == np.int32
        assert file["minimum_loss"][0] == np.float32(state.minimum_loss) > 0
        assert file["iter_last_event"][0] == state.iter_last_event > 0


def test_a_state_that_a_fork_wrote_is_gone_on_from(folder: Path) -> None:
    trained("")
    state = SolverState()
    state.ParseFromString(Path("s_iter_5.solverstate").read_bytes())
    state.ClearField("caffepy_state")
    state.minimum_loss, state.iter_last_event, state.current_step = 1e-3, 3, 1
    Path("fork.solverstate").write_bytes(state.SerializeToString())
    resumed = trained("", "fork.solverstate").history.rates
    drops = [later for later in range(6, 20) if resumed[later] < resumed[later - 1]]
    assert drops == [7, 11]  # windows of 4 after the last event, since no loss is that small
    state.ClearField("minimum_loss")
    state.ClearField("iter_last_event")
    Path("bvlc.solverstate").write_bytes(state.SerializeToString())
    assert len(trained("", "bvlc.solverstate").history.rates) == 15

"""Learning rate policies."""

from __future__ import annotations

import math

import pytest

from caffepy.engine.core.errors import PrototxtError
from caffepy.engine.solver.lr_policy import make_policy
from tests.engine.solver.running import text_settings


def rates(solver_text: str, iterations: list[int]) -> list[float]:
    """The rates of some iterations, all of them asked for in order."""
    policy = make_policy(text_settings(solver_text))
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
    ],
)  # fmt: skip
def test_rates_follow_the_formula(solver_text: str, expected: dict[int, float]) -> None:
    found = rates(f"base_lr: 0.5 {solver_text}", list(expected))
    assert found == pytest.approx(list(expected.values()), rel=1e-6)


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
        ("base_lr: 1", "solver: lr_policy: expected one of exp, .*got none"),
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
    ],
)
def test_a_policy_that_cannot_work_is_refused(solver_text: str, message: str) -> None:
    with pytest.raises(PrototxtError, match=message):
        make_policy(text_settings(solver_text))


def test_a_rate_of_zero_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    make_policy(text_settings('lr_policy: "fixed"'))
    assert "base_lr: it is 0, so nothing will be learnt" in caplog.text

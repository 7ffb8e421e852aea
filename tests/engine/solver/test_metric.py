"""Metric: which output of which test net, and which way is better."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from caffepy.engine.core.errors import CaffepyError, NetError
from caffepy.engine.net import Net
from caffepy.engine.solver.callbacks import TestResult
from caffepy.engine.solver.metric import Metric
from caffepy.engine.solver.scores import Output
from tests.engine.solver.running import make_solver

NET = """
layer { name: "in" type: "Input" top: "x" top: "y" input_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "x" bottom: "y" top: "cost" }
layer { name: "accuracy" type: "Accuracy" bottom: "x" bottom: "y" top: "acc/top-1"
  include { stage: "one" } }
layer { name: "sum" type: "Power" bottom: "x" top: "err_or" include { stage: "two" } }
layer { name: "error" type: "Power" bottom: "x" top: "abs_Error" include { stage: "two" } }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 5 test_interval: 1
test_iter: 1 test_iter: 1 test_state { stage: "one" } test_state { stage: "two" }
"""


@pytest.fixture
def test_nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Net]:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return make_solver(SOLVER).test_nets


@pytest.mark.parametrize(
    ("text", "net", "name", "direction"),
    [
        ("acc/top-1", 0, "acc/top-1", "max"),
        ("acc/top-1:min", 0, "acc/top-1", "min"),
        (" cost ", 0, "cost", "min"),  # it has a loss weight
        ("test1/cost", 1, "cost", "min"),
        ("abs_Error", 1, "abs_Error", "min"),
        ("err_or", 1, "err_or", "max"),
        ("test0/acc/top-1:max", 0, "acc/top-1", "max"),
    ],
)
def test_a_name_finds_its_output(
    text: str, net: int, name: str, direction: str, test_nets: list[Net]
) -> None:
    metric = Metric.parse(text)
    metric.check(test_nets)
    assert (metric.net, metric.name, metric.direction) == (net, name, direction)
    assert str(metric) == f"{metric.wanted}:{direction}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "acc/top1",
            r"metric 'acc/top1': expected an output of a test net \('test0/acc/top-1', 'test0/cost'"
            r".*, got another name. Did you mean 'acc/top-1'\?",
        ),
        ("x", "Use one of these"),  # a blob, but no output
        ("test2/cost", "expected an output of a test net"),
        ("cost:up", "expected an output of a test net"),  # a name may hold a colon
    ],
)
def test_a_name_that_no_test_net_has_is_refused(
    text: str, message: str, test_nets: list[Net]
) -> None:
    with pytest.raises(NetError, match=message):
        Metric.parse(text).check(test_nets)


def test_a_solver_without_test_nets_has_no_metric() -> None:
    with pytest.raises(NetError, match="expected a test net that gives it, got a solver without"):
        Metric.parse("loss").check([])


@pytest.mark.parametrize("text", ["", ":max", " "])
def test_no_name_is_refused(text: str) -> None:
    with pytest.raises(CaffepyError, match="expected NAME, NAME:max or NAME:min, got no name"):
        Metric.parse(text)


def test_the_value_is_the_mean_of_the_elements_in_the_tests_of_its_net() -> None:
    metric = Metric("a", "max", "a", net=1)
    found = [Output(0, "a", 1.0), Output(1, "b", 9.0), Output(2, "a", 4.0)]
    assert metric.value(TestResult(3, 1, found)) == 2.5
    assert metric.value(TestResult(3, 0, found)) is None


@pytest.mark.parametrize(("direction", "better", "worse"), [("max", 2.0, 1.0), ("min", 1.0, 2.0)])
def test_better_is_larger_or_smaller_and_finite(
    direction: str, better: float, worse: float
) -> None:
    metric = Metric("a", direction)
    assert metric.is_better(better, worse)
    assert not metric.is_better(worse, better)
    assert not metric.is_better(better, better)
    assert metric.is_better(worse, None)
    for none in (math.nan, math.inf, -math.inf):
        assert not metric.is_better(none, None)
        assert not metric.is_better(none, worse)

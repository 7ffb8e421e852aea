"""EarlyStop: ends a run whose tests get no better, also across a snapshot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.solver.callbacks import TestResult
from caffepy.engine.solver.early_stop import EarlyStop
from caffepy.engine.solver.scores import Output
from tests.engine.solver.running import make_solver

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } data_filler { value: 1 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""  # noqa: E501
# Nothing is learnt, so that no test is better than the first.
SOLVER = """
net: "net.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 40 test_iter: 1 test_interval: 2
random_seed: 1 snapshot_prefix: "s"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    return tmp_path


def stopped_at(stop: EarlyStop, scores: Sequence[float], start: int = 0) -> int | None:
    """The number of the test after which the run is asked to stop, with tests from `start` on."""
    asked: list[bool] = []
    net: Any = SimpleNamespace(outputs=["accuracy"], loss_weights={})
    solver: Any = SimpleNamespace(
        test_nets=[net],
        iteration=0,
        settings=SimpleNamespace(param=SimpleNamespace(max_iter=1000)),
        request_stop=lambda: asked.append(True),
    )
    stop.check(solver)
    stop.on_start(solver)
    for number, score in enumerate(scores, start):
        solver.iteration = number * 10
        result = TestResult(solver.iteration, 0, [Output(0, "accuracy", score)])
        stop.on_tested(solver, result)
        if asked:
            return number
    return None


@pytest.mark.parametrize(
    ("wanted", "scores", "number"),
    [
        ("accuracy:2", [0.1, 0.2, 0.2, 0.1, 0.9], 3),
        ("accuracy:2", [0.1, 0.2, 0.1, 0.3, 0.1, 0.4], None),
        ("accuracy:1", [0.5, 0.5], 1),
        ("accuracy:min:2", [0.5, 0.4, 0.45, 0.41, 0.1], 3),
        ("accuracy:2", [float("nan"), float("nan"), 0.1], 1),
        ("accuracy:2", [float("inf"), 0.1, 0.2, 0.1, 0.1], 4),
        ("accuracy:2", [0.1, float("nan"), 0.2, float("nan"), float("nan")], 4),
        ("test0/accuracy:1", [0.5, 0.4], 1),
    ],
)
def test_patience_counts_tests_since_the_best(
    wanted: str, scores: list[float], number: int | None
) -> None:
    assert stopped_at(EarlyStop.parse(wanted), scores) == number


@pytest.mark.parametrize("split", range(1, 6))
def test_a_resumed_run_counts_on(split: int) -> None:
    scores = [0.1, 0.3, 0.2, 0.25, 0.26, 0.9]
    first, second = EarlyStop.parse("accuracy:3"), EarlyStop.parse("accuracy:3")
    if stopped_at(first, scores[:split]) is None:
        second.restore(first.state())
        assert stopped_at(second, scores[split:], split) == 4


def test_less_patience_ends_a_resumed_run_at_once() -> None:
    first, second = EarlyStop.parse("accuracy:3"), EarlyStop.parse("accuracy:1")
    assert stopped_at(first, [0.2, 0.1]) is None
    second.restore(first.state())
    asked: list[int] = []
    net: Any = SimpleNamespace(outputs=["accuracy"], loss_weights={})
    solver: Any = SimpleNamespace(test_nets=[net], request_stop=lambda: asked.append(1))
    second.check(solver)
    second.on_start(solver)
    assert asked


def test_more_patience_goes_on() -> None:
    first, second = EarlyStop.parse("accuracy:1"), EarlyStop.parse("accuracy:3")
    assert stopped_at(first, [0.2, 0.1]) == 1
    second.restore(first.state())
    assert stopped_at(second, [0.1, 0.1, 0.1], 2) == 3


def test_another_metric_begins_to_count_anew(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "caffepy")
    first, second = EarlyStop.parse("loss:1"), EarlyStop.parse("accuracy:1")
    first.restore({**first.state(), "waited": 1})
    second.restore(first.state())
    assert stopped_at(second, [0.5, 0.6]) is None
    assert "counting those of accuracy begins here" in caplog.text


@pytest.mark.parametrize("given", ["accuracy", "accuracy:0", "accuracy:-1", ":3", "accuracy:max"])
def test_a_text_without_metric_or_patience_is_refused(given: str) -> None:
    with pytest.raises(CaffepyError, match=r"expected METRIC:PATIENCE, .* as in accuracy:5"):
        EarlyStop.parse(given)


def test_a_solver_stops_early_with_a_snapshot_and_the_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "caffepy")
    solver = make_solver(SOLVER + "snapshot: 3", callbacks=[EarlyStop.parse("loss:3")])
    solver.solve()
    assert solver.iteration == 6
    assert Path("s_iter_6.solverstate").is_file()
    assert "loss has not got better in 3 tests; the best was 1, in iteration 0." in caplog.text
    assert caplog.messages[-1] == "Optimization stopped early."
    resumed = make_solver(
        SOLVER, callbacks=[EarlyStop.parse("loss:3")], resume="s_iter_6.solverstate"
    )
    resumed.solve()
    assert resumed.iteration == 6


def test_all_test_nets_are_tested_before_the_stop() -> None:
    solver = make_solver(
        SOLVER + "test_iter: 1 snapshot_after_train: false",
        callbacks=[early := EarlyStop.parse("test0/loss:1")],
    )
    results: list[int] = []
    early.on_tested, plain = (  # type: ignore[method-assign]
        lambda solver, result: (results.append(result.net), plain(solver, result)),
        early.on_tested,
    )
    solver.solve()
    assert results == [0, 1, 0, 1]
    assert solver.iteration == 2


def test_a_metric_that_no_test_gives_is_refused_before_training() -> None:
    solver = make_solver(SOLVER, callbacks=[EarlyStop.parse("accuracy:3")])
    with pytest.raises(CaffepyError, match=r"metric 'accuracy': expected an output .*'loss'"):
        solver.solve()
    assert not list(Path().glob("s_*"))

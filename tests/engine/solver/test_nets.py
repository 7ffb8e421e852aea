"""The nets of a solver that is refused: none of them stays open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.net import Net
from tests.engine.solver.running import make_solver, run_solver, text_settings

NET = """
layer { name: "data" type: "DummyData" top: "x" top: "y"
  dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 dim: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" param { lr_mult: -1 }
  inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" random_seed: 1 max_iter: 1 snapshot_prefix: "s"
"""
TESTS = "test_iter: 1 test_iter: 1 test_interval: 5"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("net.prototxt").write_text(NET)
    Path("narrow.prototxt").write_text(NET.replace("num_output: 2", "num_output: 1"))
    Path("empty.prototxt").write_text('name: "empty"')


@pytest.mark.parametrize(
    ("fields", "options", "count", "message"),
    [
        ('weights: "absent.caffemodel"', {}, 1, "there is no such file"),
        (f'{TESTS} test_net: "narrow.prototxt"', {}, 1, "as many elements"),
        (f'{TESTS} test_net: "empty.prototxt"', {}, 2, "at least one layer"),
        (f"{TESTS} larc: true", {}, 3, "lr_mult from 0 up"),
        (TESTS, {"resume": "s_iter_1.solverstate"}, 3, "its weights do not fit"),
    ],
)
def test_a_solver_that_is_refused_closes_the_nets_that_it_has_made(
    fields: str, options: dict[str, Any], count: int, message: str
) -> None:
    made: list[Net] = []
    closed: list[Net] = []

    class Watched(Net):
        def close(self) -> None:
            super().close()
            closed.append(self)

    def make_net(*args: Any, **named: Any) -> Net:
        made.append(Watched(*args, **named))
        return made[-1]

    if "resume" in options:
        run_solver(text_settings(SOLVER))
        Path("net.prototxt").write_text(NET.replace("dim: 3", "dim: 5"))
    with pytest.raises(CaffepyError, match=message):
        make_solver(SOLVER + fields, make_net=make_net, **options)
    assert len(made) == count
    assert all(net in closed for net in made)

"""A training that goes on asks for no memory: each iteration finds all that it needs."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import caffepy.layers  # noqa: F401 - registers the layer types
from benchmarks.nets import NETS
from caffepy.engine.core.log import GlogFormatter
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.solver.finite import StopOnNan
from caffepy.engine.solver.metrics_log import MetricsLog
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.solver import Solver
from caffepy.proto.caffe_pb2 import NetParameter, SolverParameter
from tests.allocations import large_allocations
from tests.conftest import onednn_ops

SMALL = {"lenet": 8, "cifar10_quick": 8, "siamese": 8, "squeezenet": 1}  # nets and batch sizes
# Where numpy is asked for an address, which makes a dictionary, the interpreter itself fetches
# memory now and then: so often in 100 iterations at the most.
STRAY = {"address": 20}
WARM_UP = 3  # iterations: what is recorded, replayed, and found in memory that was given back


class Training:
    """A training as `caffepy train` runs it; a data layer seems to have just written its batch."""

    def __init__(self, net: NetParameter, ops: Ops, folder: Path, display: int = 0) -> None:
        param = SolverParameter(
            net_param=net, base_lr=1e-4, momentum=0.9, weight_decay=5e-4, lr_policy="fixed",
            max_iter=1 << 30, random_seed=1, snapshot_prefix=f"{folder}/run", display=display,
        )  # fmt: skip
        self.solver = Solver(
            Settings(param),
            ops=ops,
            registry=LAYERS,
            make_net=functools.partial(Net, keep=False),
            callbacks=[StopOnNan(), MetricsLog()],
        )
        self.run(WARM_UP)

    def run(self, iterations: int) -> None:
        for _ in range(iterations):
            for top in self.solver.net.tops[0]:
                top.data.modify()
            self.solver.step(1)


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[Path]:
    """Where the log goes."""
    logger = logging.getLogger("caffepy")
    before = logger.handlers[:], logger.level
    handler = logging.FileHandler(tmp_path / "log")
    handler.setFormatter(GlogFormatter())
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    yield tmp_path / "log"
    handler.close()
    logger.handlers[:] = before[0]
    logger.setLevel(before[1])


@pytest.mark.parametrize("name", SMALL)
def test_an_iteration_asks_for_no_memory(name: str, tmp_path: Path) -> None:
    training = Training(NETS[name].param(SMALL[name]), onednn_ops(), tmp_path)
    assert not large_allocations(lambda: training.run(2))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_hundred_iterations_ask_for_no_memory(name: str, tmp_path: Path) -> None:
    training = Training(NETS[name].param(), onednn_ops(), tmp_path)
    found = large_allocations(lambda: training.run(100))
    assert not {
        line: times for line, times in found.items() if times > STRAY.get(line.split()[-1], 0)
    }


def test_a_display_asks_for_no_large_memory(tmp_path: Path, log_file: Path) -> None:
    training = Training(NETS["lenet"].param(8), onednn_ops(), tmp_path, display=1)
    before = log_file.read_text().count("loss = ")
    assert not large_allocations(lambda: training.run(3))
    assert log_file.read_text().count("loss = ") == before + 6


def test_memory_that_is_given_back_at_once_is_found() -> None:
    def small() -> None:
        for _ in range(10):
            np.empty(1000, np.float32)

    def large() -> None:
        np.zeros(5000, np.uint8)

    def in_a_thread() -> None:
        thread = threading.Thread(target=large)
        thread.start()
        thread.join()

    assert not large_allocations(small)
    for run in (large, in_a_thread):
        (line,) = large_allocations(run)
        assert line.endswith(" large")

"""What the log says of passes as graphs."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.passes.graphs import CHANGES
from tests.nets import make_net

FRONT = """name: "n"
    layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "made" type: "DummyData" top: "keep" dummy_data_param { shape { dim: 2 }
      data_filler { type: "constant" value: 1 } } }
"""
CHAIN = (
    FRONT
    + """
    layer { name: "a" type: "TanH" bottom: "x" top: "y" }
    layer { name: "k" type: "ReLU" bottom: "keep" top: "k" }
"""
)
FILTERED = (
    FRONT
    + """
    layer { name: "a" type: "TanH" bottom: "x" top: "y" }
    layer { name: "some" type: "Filter" bottom: "y" bottom: "keep" top: "z" }
    layer { name: "b" type: "TanH" bottom: "z" top: "o" }
"""
)


def graph_lines(
    ops: Ops, text: str, caplog: pytest.LogCaptureFixture, rows: tuple[int, ...]
) -> list[str]:
    """The lines about graphs of passes with so many samples each."""
    net = make_net(text, ops)
    with caplog.at_level(logging.INFO, "caffepy"):
        for count in rows:
            net.blobs["x"].reshape((count, 3))
            net.blobs["x"].data.write()[...] = np.arange(3)
            net.forward()
    return [one for one in caplog.messages if "CUDA graphs" in one]


def test_a_net_says_once_that_it_runs_as_graphs(
    cuda_runtime: CudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    ops = CudaOps(cuda_runtime)
    lines = graph_lines(ops, CHAIN, caplog, (2,) * 5)
    assert lines == ["Net 'n' (TRAIN): passes run as CUDA graphs."]


def test_layers_that_need_the_host_are_named(
    cuda_runtime: CudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    ops = CudaOps(cuda_runtime)
    lines = graph_lines(ops, FILTERED, caplog, (2,) * 5)
    assert lines == [
        "Net 'n' (TRAIN): passes run as several CUDA graphs, between layers that need the host: "
        "'some' (Filter)."
    ]


def test_a_layer_that_changes_shapes_in_every_pass_is_named(
    cuda_runtime: CudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    ops = CudaOps(cuda_runtime)
    lines = graph_lines(ops, CHAIN, caplog, tuple(range(2, 4 + CHANGES)))
    assert lines == [
        "Net 'n' (TRAIN): layer 'in' (Input) changes the shapes of its tops from pass to pass, "
        f"from ({1 + CHANGES}, 3) to ({2 + CHANGES}, 3) now: such passes run launch by launch, "
        "without CUDA graphs."
    ]


def test_shapes_that_change_now_and_then_do_not_prevent_graphs(
    cuda_runtime: CudaRuntime, caplog: pytest.LogCaptureFixture
) -> None:
    rows = tuple(count for count in range(2, 4 + CHANGES) for _ in range(4))
    lines = graph_lines(CudaOps(cuda_runtime), CHAIN, caplog, rows)
    assert lines == ["Net 'n' (TRAIN): passes run as CUDA graphs."]


def test_the_cpu_says_nothing_of_graphs(caplog: pytest.LogCaptureFixture) -> None:
    assert not graph_lines(NumpyOps(), CHAIN, caplog, tuple(range(2, 6 + CHANGES)))

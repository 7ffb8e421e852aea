"""Runs of equal seed, machine and number of threads are equal bit for bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from caffepy.engine.ops.onednn.library import available

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

ROOT = Path(__file__).resolve().parents[2]
XAVIER = 'weight_filler { type: "xavier" }'
NET = f"""
layer {{ name: "data" type: "DummyData" top: "x" top: "label" dummy_data_param {{
  shape {{ dim: 8 dim: 3 dim: 20 dim: 20 }} shape {{ dim: 8 }}
  data_filler {{ type: "gaussian" }} data_filler {{ type: "constant" value: 2 }} }} }}
layer {{ name: "conv1" type: "Convolution" bottom: "x" top: "conv1"
  convolution_param {{ num_output: 20 kernel_size: 5 {XAVIER} }} }}
layer {{ name: "norm" type: "BatchNorm" bottom: "conv1" top: "conv1" }}
layer {{ name: "scale" type: "Scale" bottom: "conv1" top: "conv1" }}
layer {{ name: "relu" type: "ReLU" bottom: "conv1" top: "conv1" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv1" top: "pool"
  pooling_param {{ kernel_size: 3 stride: 2 }} }}
layer {{ name: "lrn" type: "LRN" bottom: "pool" top: "lrn" }}
layer {{ name: "conv2" type: "Convolution" bottom: "lrn" top: "conv2"
  convolution_param {{ num_output: 32 kernel_size: 3 group: 2 {XAVIER} }} }}
layer {{ name: "drop" type: "Dropout" bottom: "conv2" top: "conv2" }}
layer {{ name: "ip1" type: "InnerProduct" bottom: "conv2" top: "ip1"
  inner_product_param {{ num_output: 1200 {XAVIER} }} }}
layer {{ name: "ip2" type: "InnerProduct" bottom: "ip1" top: "ip2"
  inner_product_param {{ num_output: 5 {XAVIER} }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip2" bottom: "label" top: "loss" }}
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 momentum: 0.9 weight_decay: 0.001 lr_policy: "fixed" max_iter: 6
display: 1 snapshot_prefix: "run" random_seed: 5
"""


def train(folder: Path, **variables: str) -> tuple[list[str], list[bytes]]:
    """The losses of a run in a process of its own, and the files that it leaves."""
    folder.mkdir()
    (folder / "net.prototxt").write_text(NET)
    (folder / "solver.prototxt").write_text(SOLVER)
    command = "-m caffepy train --solver solver.prototxt --engine onednn --threads 2"
    run = subprocess.run(
        [sys.executable, *command.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    names = "run_iter_6.caffemodel", "run_iter_6.solverstate"
    return re.findall(r"loss = \S+", run.stderr), [(folder / name).read_bytes() for name in names]


def test_two_processes_do_the_same(tmp_path: Path) -> None:
    first, files = train(tmp_path / "a")
    # Another allocator puts what Python makes, arrays included, at other addresses.
    second, others = train(tmp_path / "b", PYTHONMALLOC="malloc")
    assert len(first) > 6
    assert first == second
    assert files == others

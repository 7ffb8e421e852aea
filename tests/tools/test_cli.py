"""What the command line meets outside: closed streams, and names that are no UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
NET = (
    'layer { name: "d" type: "DummyData" top: "x" top: "y" dummy_data_param {'
    " shape { dim: 2 dim: 3 } } }"
    ' layer { name: "ip" type: "InnerProduct" bottom: "x" top: "z"'
    " inner_product_param { num_output: 3 } }"
    ' layer { name: "loss" type: "EuclideanLoss" bottom: "z" bottom: "y" top: "loss" }'
)
SOLVER = 'net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed" max_iter: 2 snapshot_prefix: "a"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    return tmp_path


def shell(command: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of shell in which `caffepy` is the command."""
    caffepy = f"'{sys.executable}' -m caffepy"
    return subprocess.run(
        command.replace("caffepy", caffepy),
        shell=True,
        check=False,
        cwd=folder,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@POSIX
@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_training_needs_no_standard_streams(folder: Path, closed: str) -> None:
    trained = shell(f"caffepy train --solver solver.prototxt {closed}", folder)
    assert trained.returncode == 0, trained.stdout
    assert {"a_iter_2.caffemodel", "a_iter_2.solverstate"} <= set(os.listdir(folder))


@POSIX
def test_a_name_that_is_no_utf8_is_refused_as_such(folder: Path) -> None:
    refused = shell(
        "caffepy train --solver solver.prototxt --set snapshot_prefix=$(printf 'm\\366del')", folder
    )
    assert refused.returncode == 1
    assert refused.stderr.decode().splitlines()[-1] == (
        r"caffepy: 'm\udcf6del': expected a name in UTF-8, got other bytes. Rename the file or "
        "folder."
    )

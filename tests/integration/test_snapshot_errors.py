"""Snapshots that cannot be written: the old one stays, and nobody is left in the dark."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from caffepy.engine.solver.snapshot_files import SnapshotFiles
from tests.integration.refusals import Run, assert_refused

ROOT = Path(__file__).resolve().parents[2]
NET = """
name: "n"
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  shape { dim: 2 dim: 40 } shape { dim: 2 dim: 50 } data_filler { type: "gaussian" } } }
layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
  inner_product_param { num_output: 50 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
"""
SOLVER = """
net: "net.prototxt" base_lr: 0.01 lr_policy: "fixed" snapshot: 2 max_iter: 6 random_seed: 1
display: 1 snapshot_prefix: "s"
"""
# A limit on the size of files does to a process what a full disk does: EFBIG in place of ENOSPC.
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)),) * 2)
from caffepy.tools.cli import main
main()
"""


def train_limited(limit: int, *options: str) -> tuple[int, str]:
    """Trains where no file can be larger than `limit` bytes; status and log."""
    command = [sys.executable, "-c", LIMITED, str(limit), "train", "--solver", "solver.prototxt"]
    done = subprocess.run(
        [*command, "--engine", "numpy", "--snapshot", "auto", *options],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


@pytest.mark.skipif(os.name != "posix", reason="needs limits on the size of files")
@pytest.mark.parametrize("hdf5", [False, True])
def test_a_full_disk_costs_new_snapshots_only(hdf5: bool, run: Run) -> None:
    Path("net.prototxt").write_text(NET)
    Path("solver.prototxt").write_text(SOLVER + "snapshot_format: HDF5" * hdf5)
    status, _ = run("train", "--solver", "solver.prototxt", "--iterations", "2")
    assert status == 0
    old = SnapshotFiles("s", 2, hdf5)
    before = [old.weights.read_bytes(), old.state.read_bytes()]
    files = sorted(Path().iterdir())

    def assert_as_before() -> None:
        assert sorted(Path().iterdir()) == files
        assert [old.weights.read_bytes(), old.state.read_bytes()] == before

    # no file of a snapshot finds room
    status, log = train_limited(len(before[0]) // 2)
    assert status == 1
    failed = f"s_iter_4{old.weights.name[8:]}: cannot be written: File too large."
    assert f"{failed} Check the folder, its rights and the free space." in log
    assert f"Training goes on without this snapshot; the last one is '{old.state}'." in log
    assert "caffepy: s_iter_6" in log  # the last snapshot: its weights would be lost
    assert log.rstrip().endswith(f"This snapshot is lost; the last one is '{old.state}'.")
    assert_as_before()

    # one of its files finds room, the other one does not
    sizes = [len(content) for content in before]
    status, log = train_limited(sum(sizes) // 2, "--on-snapshot-error", "stop")
    assert status == 1
    larger = "caffemodel" if sizes[0] > sizes[1] else "solverstate"
    assert f"caffepy: s_iter_4.{larger}" in log
    assert "Iteration 4," not in log
    assert_as_before()

    # there is room again
    status, log = train_limited(1 << 30)
    assert status == 0
    assert f"The newest good snapshot is {old.state}" in log
    assert SnapshotFiles("s", 6, hdf5).complete


@pytest.mark.parametrize(
    ("option", "wanted"),
    [
        ("type=SGD", "expected 4 blobs (1 for each of 4 parameters of a net trained by SGD)"),
        (
            "net.ip1.inner_product_param.num_output=9",
            "layer 'ip1', blob 0: expected shape (9, 16), as the net",
        ),
    ],
)
def test_a_snapshot_of_caffe_for_another_solver_or_net_is_refused(
    option: str, wanted: str, golden: Path, run: Run
) -> None:
    shutil.copytree(golden / "solvers" / "resume_adam_hdf5", Path(), dirs_exist_ok=True)
    options = ("--solver", "solver.prototxt", "--snapshot", "snap_iter_6.solverstate.h5")
    assert_refused(run, wanted, "train", *options, "--set", option)


def test_a_truncated_snapshot_is_refused(golden: Path, run: Run) -> None:
    shutil.copytree(golden / "solvers" / "resume_sgd", Path(), dirs_exist_ok=True)
    content = Path("snap_iter_6.solverstate").read_bytes()
    Path("bad.solverstate").write_bytes(content[: len(content) // 2])
    options = ("--solver", "solver.prototxt", "--snapshot", "bad.solverstate")
    assert_refused(run, "bad.solverstate: byte", "train", *options)

"""Solvers against Caffe's recorded runs: log, losses, rates, tests, weights, history, files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.snapshot import read_snapshot
from caffepy.proto import weights
from caffepy.proto.caffe_pb2 import NetParameter, SolverState
from tests.devices import DEVICES, device
from tests.engine.solver.running import (
    CASES,
    assert_same_lines,
    caffe_lines,
    expectations,
    golden_run,
)

# A dozen iterations amplify the last bits in which sums of another order differ.
LOSS_RTOL, LOSS_ATOL = 2e-5, 2e-6
WEIGHT_RTOL, WEIGHT_ATOL = 1e-4, 1e-5
RATE_RTOL = 1e-6  # float32 powers

NAMES = sorted(path.name for path in CASES.iterdir())
RESUMED = [name for name in NAMES if name.startswith("resume_")]


@pytest.fixture(scope="module", params=["numpy", *DEVICES])
def engine(request: pytest.FixtureRequest) -> Ops:
    """The engines that are held to Caffe's numbers here, one object of each for all runs."""
    if request.param == "numpy":
        return NumpyOps()
    return CudaOps(device(request), precision="fp32")


@pytest.mark.parametrize("case", NAMES)
def test_log_lines_are_those_of_caffe(case: str, engine: Ops) -> None:
    assert_same_lines(
        golden_run(case, ops=engine).lines,
        caffe_lines(CASES / case / "log.txt"),
        LOSS_RTOL,
        LOSS_ATOL,
    )


@pytest.mark.parametrize("case", NAMES)
def test_losses_and_rates_of_each_iteration_are_those_of_caffe(case: str, engine: Ops) -> None:
    run, expected = golden_run(case, ops=engine), expectations(case)
    if run.solver.param.iter_size == 1:  # the recorded one is that of the last batch only
        np.testing.assert_allclose(
            list(run.history.losses.values()), expected["loss"], rtol=LOSS_RTOL, atol=LOSS_ATOL
        )
    for iteration, rate in enumerate(expected["lr_exact"]):
        if rate is not None:
            np.testing.assert_allclose(run.history.rates[iteration], rate, rtol=RATE_RTOL)


@pytest.mark.parametrize("case", NAMES)
def test_test_outputs_are_those_of_caffe(case: str, engine: Ops) -> None:
    tests = golden_run(case, ops=engine).history.tests
    expected = expectations(case)["tests"]
    assert [(test.iteration, test.net) for test in tests] == [
        (test["iter"], test["net"]) for test in expected
    ]
    for ours, theirs in zip(tests, expected, strict=True):
        for output, recorded in zip(ours.outputs, theirs["outputs"], strict=True):
            assert (output.index, output.name) == (recorded["index"], recorded["name"])
            np.testing.assert_allclose(
                output.value, recorded["value"], rtol=LOSS_RTOL, atol=LOSS_ATOL
            )
            np.testing.assert_allclose(output.loss_weight, recorded.get("loss_weight", 0))
        if ours.loss is not None:
            np.testing.assert_allclose(
                ours.loss, theirs["test_loss"], rtol=LOSS_RTOL, atol=LOSS_ATOL
            )


@pytest.mark.parametrize("case", NAMES)
def test_snapshots_hold_what_caffe_wrote(case: str, engine: Ops) -> None:
    run = golden_run(case, ops=engine)
    for theirs in sorted((CASES / case).glob("snap_iter_*")):
        assert_same_snapshot(run.folder / theirs.name, theirs)


@pytest.mark.parametrize("case", RESUMED)
def test_a_state_of_caffe_goes_on_as_in_caffe(case: str, engine: Ops) -> None:
    expected = expectations(case)["resume"]
    run = golden_run(case, expected["snapshot"], ops=engine)
    lines = caffe_lines(CASES / case / "log_resume.txt")
    hdf5 = expected["snapshot"].endswith(".h5")  # then Caffe does not say that it restores
    ours = [line for line in run.lines if not (hdf5 and "restoring history" in line)]
    assert_same_lines(ours, lines, LOSS_RTOL, LOSS_ATOL)
    for theirs in sorted((CASES / case).glob("resumed_iter_*")):
        name = theirs.name.replace("resumed", "snap")
        assert_same_snapshot(run.folder / name, theirs)


def assert_same_snapshot(ours: Path, theirs: Path) -> None:
    """Files of the same structure whose numbers agree."""
    if ".solverstate" in theirs.name:
        found, expected = read_snapshot(ours), read_snapshot(theirs)
        assert found.iteration == expected.iteration
        assert found.learned_net.replace("resumed", "snap") == expected.learned_net
        assert found.current_step == expected.current_step
        compare(found.history, expected.history, theirs.name)
    if theirs.name.endswith(".h5"):
        assert_same_hdf5(ours, theirs)
    elif ".caffemodel" in theirs.name:
        compare(
            [blob.data for layer in weights.read(ours) for blob in layer.blobs],
            [blob.data for layer in weights.read(theirs) for blob in layer.blobs],
            theirs.name,
        )
        assert described(ours) == described(theirs)
    else:
        found, expected = SolverState(), SolverState()
        found.ParseFromString(ours.read_bytes())
        expected.ParseFromString(theirs.read_bytes())
        for state in (found, expected):
            for blob in state.history:
                blob.ClearField("data")
            state.ClearField("caffepy_state")
        assert found == expected


def assert_same_hdf5(ours: Path, theirs: Path) -> None:
    """The same groups and datasets, of the same types and numbers."""
    with h5py.File(ours) as found, h5py.File(theirs) as expected:
        names: list[str] = []
        expected.visit(names.append)
        others: list[str] = []
        found.visit(others.append)
        assert set(others) - {"caffepy_state"} == set(names)
        for name in names:
            if isinstance(expected[name], h5py.Dataset):
                assert found[name].dtype == expected[name].dtype
                assert found[name].shape == expected[name].shape
                if expected[name].dtype.kind == "f":
                    compare([found[name][()]], [expected[name][()]], name)


def described(path: Path) -> NetParameter:
    """What a caffemodel says about its net, without the numbers."""
    net = NetParameter()
    net.ParseFromString(path.read_bytes())
    for layer in net.layer:
        for blob in layer.blobs:
            blob.ClearField("data")
    return net


def compare(found: list[np.ndarray], expected: list[np.ndarray], what: str) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=WEIGHT_RTOL, atol=WEIGHT_ATOL, err_msg=what)

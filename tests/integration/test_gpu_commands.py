"""The commands on a GPU, and what they say where it cannot be used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from caffepy.engine.ops.cuda import runtime
from caffepy.engine.ops.cuda.port import CudaRuntime
from caffepy.proto.caffe_pb2 import NetParameter
from tests.host_runtime import HostRuntime
from tests.integration.refusals import Run

NET = """name: "tiny"
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 }
  shape { dim: 4 dim: 3 dim: 6 dim: 6 } shape { dim: 4 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "y" top: "acc" include { phase: TEST } }
"""
SOLVER = """net: "net.prototxt" base_lr: 0.02 lr_policy: "fixed" momentum: 0.9 max_iter: 6
display: 1 test_iter: 2 test_interval: 3 snapshot: 3 snapshot_prefix: "s" random_seed: 3
"""
GPU = "--gpu", "0", "--precision", "fp32"
CPU = "--engine", "numpy"
# Sums in another order, of float32 numbers, through six updates.
RTOL, ATOL = 1e-4, 1e-6


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A solver and its net, on the CPU and on GPUs 0 and 3."""
    (tmp_path / "net.prototxt").write_text(NET)
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    (tmp_path / "gpu.prototxt").write_text(SOLVER + "solver_mode: GPU\n")
    (tmp_path / "third.prototxt").write_text(SOLVER + "solver_mode: GPU\ndevice_id: 3\n")
    return tmp_path


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a GPU."""
    monkeypatch.setattr(runtime, "available", lambda: "there is no NVIDIA GPU. Look at nvidia-smi.")


def weights(path: Path) -> dict[str, list[float]]:
    """The numbers of a caffemodel by layer."""
    net = NetParameter.FromString(path.read_bytes())
    return {
        layer.name: [number for blob in layer.blobs for number in blob.data]
        for layer in net.layer
        if layer.blobs
    }


def train(run: Run, *arguments: str) -> dict[str, list[float]]:
    """The weights after a run to the end."""
    status, printed = run("train", "--solver", "solver.prototxt", *arguments)
    assert status == 0, printed
    return weights(Path("s_iter_6.caffemodel"))


def assert_alike(found: dict[str, list[float]], expected: dict[str, list[float]]) -> None:
    assert found.keys() == expected.keys()
    for name, numbers in expected.items():
        assert found[name] == pytest.approx(numbers, RTOL, ATOL)


def test_training_gives_the_weights_of_the_cpu(run: Run, case: Path, one_gpu: CudaRuntime) -> None:
    assert_alike(train(run, *GPU), train(run, *CPU))


@pytest.mark.parametrize(("before", "after"), [(GPU, GPU), (CPU, GPU), (GPU, CPU)])
def test_a_run_goes_on_from_a_snapshot_of_either_engine(
    run: Run, case: Path, one_gpu: CudaRuntime, before: tuple[str, ...], after: tuple[str, ...]
) -> None:
    unbroken = train(run, *before)
    Path("s_iter_6.caffemodel").unlink()
    resumed = train(run, *after, "--snapshot", "s_iter_3.solverstate")
    if before == after:
        assert resumed == unbroken
    else:
        assert_alike(resumed, unbroken)


def test_a_run_logs_what_it_runs_on(run: Run, case: Path, one_gpu: CudaRuntime) -> None:
    status, printed = run("train", "--solver", "gpu.prototxt", *GPU)
    assert status == 0, printed
    lines = [line.split("] ", 1)[-1] for line in printed.splitlines()]
    wanted = [
        "Use GPU with device ID 0",
        f"GPU 0: {one_gpu.properties().name}",
        "Engine: CUDA, float32, products in fp32",
        "Net 'tiny' (TRAIN): passes run as CUDA graphs.",
    ]
    assert [line for line in lines if line in wanted] == wanted
    assert any("free on the GPU (data" in line for line in lines)
    by = one_gpu.dnn if isinstance(one_gpu.dnn, str) else one_gpu.dnn.version
    assert any(line.startswith("Convolutions: by c") and line.endswith(by) for line in lines)


def test_a_runs_record_names_the_gpu(run: Run, case: Path, one_gpu: CudaRuntime) -> None:
    train(run, *GPU, "--deterministic")
    record = json.loads(Path("s_run.json").read_text())
    assert record["engine"] == "cuda"
    assert record["gpu"]["name"] == one_gpu.properties().name
    assert record["gpu"]["precision"] == "fp32"
    assert record["gpu"]["deterministic"] is True
    assert "driver" in record["gpu"]["versions"]
    command = Path("s_resolved_solver.prototxt").read_text().splitlines()[2]
    assert command.endswith("s_resolved_solver.prototxt --gpu 0 --precision fp32 --deterministic")
    status, printed = run(*command.split()[2:])
    assert status == 0, printed


def test_solver_mode_chooses_the_gpu_and_options_count_more(
    run: Run, case: Path, one_gpu: CudaRuntime
) -> None:
    for options, engine in (((), "cuda"), (CPU, "numpy")):
        assert run("train", "--solver", "gpu.prototxt", "--iterations", "1", *options)[0] == 0
        assert json.loads(Path("s_run.json").read_text())["engine"] == engine


def test_weights_are_scored(run: Run, case: Path, one_gpu: CudaRuntime) -> None:
    train(run, *CPU)
    arguments = "--model", "net.prototxt", "--weights", "s_iter_6.caffemodel", "--iterations", "2"
    assert run("test", *arguments, *GPU)[0] == 0


@pytest.mark.parametrize("fused", [(), ("--fused",)])
def test_a_net_is_timed_by_the_gpus_clock(
    run: Run, case: Path, one_gpu: CudaRuntime, fused: tuple[str, ...]
) -> None:
    status, printed = run("time", "--model", "net.prototxt", "--iterations", "2", *GPU, *fused)
    assert status == 0, printed
    title = "whole step, not watched" if fused else "Average Forward-Backward: "
    found = re.search(rf"{title} *([0-9.]+)", printed)
    assert found is not None, printed
    assert float(found[1]) > 0
    if isinstance(one_gpu, HostRuntime):  # each piece of work takes it 1 ms
        assert float(found[1]).is_integer()


@pytest.mark.parametrize(
    ("arguments", "status", "wanted"),
    [
        (["--gpu", "1"], 1, "--gpu 1: expected GPU 0, the only one, got '1'. `caffepy device_qu"),
        (["--gpu", "0,1"], 1, "--gpu 0,1: expected GPU 0, the only one, got '0,1'."),
        (["--gpu", "x"], 1, "--gpu x: expected GPU 0, the only one, got 'x'."),
        (["--gpu", "-1"], 1, "--gpu -1: expected GPU 0, the only one, got '-1'."),
        (["--gpu", "0", "--engine", "numpy"], 2, "--gpu and --engine: expected one of them, got"),
        (["--gpu", "0", "--precision", "int8"], 2, "'int8' is not one of"),
        (["--gpu", "all", "--iterations", "1"], 0, ""),
        (["--gpu", "", "--engine", "numpy", "--iterations", "1"], 0, ""),  # an unset variable
    ],
)
def test_a_gpu_that_is_not_there_is_refused(
    run: Run, case: Path, one_gpu: CudaRuntime, arguments: list[str], status: int, wanted: str
) -> None:
    ended, printed = run("time", "--model", "net.prototxt", *arguments)
    assert (ended, wanted in printed) == (status, True), printed


@pytest.mark.parametrize("gpu", ["all", "0,1"])
def test_several_gpus_are_refused(
    run: Run, case: Path, one_gpu: CudaRuntime, monkeypatch: pytest.MonkeyPatch, gpu: str
) -> None:
    monkeypatch.setattr(runtime, "count", lambda: 2)
    status, printed = run("train", "--solver", "solver.prototxt", "--gpu", gpu)
    assert status == 1
    assert f"--gpu {gpu}: expected one GPU, got 2: this version of caffepy runs on one." in printed
    assert printed.endswith("Name it: --gpu 0.")


def test_a_solvers_device_is_looked_for(run: Run, case: Path, one_gpu: CudaRuntime) -> None:
    status, printed = run("train", "--solver", "third.prototxt")
    assert status == 1
    assert "third.prototxt:4:1: device_id: expected GPU 0, the only one, got '3'." in printed


def test_without_a_gpu_options_and_solver_modes_are_refused(
    run: Run, case: Path, no_gpu: None
) -> None:
    status, printed = run("train", "--solver", "solver.prototxt", "--gpu", "0")
    assert (status, printed) == (
        1,
        "caffepy: --gpu 0: expected a GPU that can be used, got none: there is no NVIDIA GPU. Look "
        "at nvidia-smi. Or leave it away to run on the CPU.",
    )
    status, printed = run("train", "--solver", "gpu.prototxt")
    assert (status, printed) == (
        1,
        "caffepy: gpu.prototxt:3:1: solver_mode: expected a GPU that can be used, got none: there "
        "is no NVIDIA GPU. Look at nvidia-smi. Or set solver_mode: CPU, or choose an engine of the "
        "CPU with --engine.",
    )
    assert run("train", "--solver", "gpu.prototxt", *CPU)[0] == 0


def test_doctor_tells_of_the_gpu(run: Run, one_gpu: CudaRuntime) -> None:
    status, printed = run("doctor")
    assert status == 0, printed
    assert f"GPU 0                 {one_gpu.properties().name}, compute capability" in printed
    assert "cuda                  engine on GPU 0; trains" in printed


def test_doctor_says_why_there_is_no_gpu(run: Run, no_gpu: None) -> None:
    status, printed = run("doctor")
    assert status == 0, printed
    assert "there is no NVIDIA GPU. Look at nvidia-smi." in printed

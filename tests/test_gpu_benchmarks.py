"""The benchmarks of a GPU, on the host runtime: what they compute and print; times are not looked
at."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from benchmarks import gpu_kernels, gpu_pipeline, gpu_train_step
from benchmarks.gpu_contenders import EAGER, GRAPHS, OURS
from benchmarks.gpu_train_step import Result
from caffepy.engine.ops.cuda.backend import CudaOps
from tests.host_runtime import HostRuntime


def test_steps_on_a_gpu_are_timed_against_pytorch(
    host_runtime: HostRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [OURS, *([EAGER] if importlib.util.find_spec("torch") else [])]
    results = gpu_train_step.time_net(
        "lenet", names, lambda: CudaOps(host_runtime, precision="fp32"), batch=2,
        precision="fp32", device="cpu", rounds=1, seconds=1e-4,
    )  # fmt: skip
    assert list(results) == names
    for one in results.values():
        assert one.loss == pytest.approx(results[OURS].loss, rel=1e-5)
    table = gpu_train_step.GpuTable(markdown=True, batch=2)
    table.add("lenet", results)
    assert "| LeNet (2) | caffepy |" in capsys.readouterr().out


def test_kernels_are_held_against_a_copy(host_runtime: HostRuntime) -> None:
    # Each piece of work takes 1 ms there.
    lines = list(gpu_kernels.memory_lines(CudaOps(host_runtime), (2, 4, 5, 5), 1))
    shares = {line[:34].strip(): line[34:].split() for line in lines}
    assert len(lines) == 2 * len(gpu_kernels.kernels((1, 1, 1, 1))) + len(gpu_kernels.SLOTS)
    assert shares["ReLU forward"][-2:] == ["100.0", "%"]
    assert shares["ReLU backward"][-2:] == ["150.0", "%"]
    assert shares["Pooling AVE 3x3 stride 2 forward"][-3:] == ["58.0", "%", "*"]
    assert shares["update sgd"][-2:] == ["250.0", "%"]


def test_products_are_told_in_floating_point_operations(
    host_runtime: HostRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = 'type: "InnerProduct" inner_product_param { num_output: 5000 bias_term: false }'
    monkeypatch.setattr(
        gpu_kernels, "works", lambda batch: [gpu_kernels.Work("product", fields, (batch, 200))]
    )
    (line,) = gpu_kernels.product_lines(CudaOps(host_runtime, precision="fp32"), 50, 1)
    # 2 * 50 * 200 * 5000 operations forward in 1 ms, twice as many back in 2
    assert " ".join(line.split()) == (
        "product fp32 1.000 ms 0.1 Tflop/s backward 2.000 ms 0.1 Tflop/s"
    )


def test_a_gpu_is_busy_where_no_batch_is_waited_for(host_folder: Path) -> None:
    def make_ops(keeps: bool) -> CudaOps:
        return CudaOps(HostRuntime(host_folder), precision="fp32", keep_data=keeps)

    device, *ways = gpu_pipeline.run("lenet", make_ops, 3, 2, 10)
    assert device.startswith("on the device ")
    for line, way in zip(ways, gpu_pipeline.WAYS, strict=True):
        assert line.startswith(f"{way} ")
        assert line.endswith("busy 100.0 %")


def test_the_mean_over_nets_stands_beside_its_aim(capsys: pytest.CaptureFixture[str]) -> None:
    table = gpu_train_step.GpuTable(markdown=False)
    for net, ours in (("lenet", 1.0), ("siamese", 4.0)):
        times = {OURS: ours, EAGER: 4.0, GRAPHS: 0.5}
        table.add(net, {name: Result([ms], None, 0.0) for name, ms in times.items()})
    table.end()
    lines = capsys.readouterr().out.splitlines()[-5:]
    assert lines == [
        "2.00 times as fast as torch eager (geometric mean of 2; aim 1.2: reached)",
        "  lowest 1.00 (siamese)",
        "0.25 times as fast as torch graphs (geometric mean of 2; aim 0.95: missed)",
        "  lowest 0.12 (siamese)",
        "4.00 times as fast as torch eager, where launches dominate (geometric mean of 1; aim 3: "
        "reached)",
    ]

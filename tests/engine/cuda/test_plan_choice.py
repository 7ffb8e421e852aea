"""The choice among cuDNN's plans, for which a stand-in stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.value import Value
from caffepy.engine.ops.cuda import frontend, plan_choice
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.frontend import Frontend
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests.cuda_parity import compare_engines
from tests.fake_cudnn import OFFERED, STREAM, FakeCudnn
from tests.host_runtime import HostEvent, HostRuntime
from tests.window_cases import images, layer

GEOMETRY = ConvolutionGeometry((2, 3, 5, 4), 4, (3, 3), (1, 1), (1, 1), (1, 1))
RTOL, ATOL = 2e-5, 1e-5  # float32 against float64


@pytest.fixture
def cudnn(monkeypatch: pytest.MonkeyPatch) -> FakeCudnn:
    """The stand-in, as `import cudnn` gives it."""
    fake = FakeCudnn()
    fake.install(monkeypatch)
    return fake


def ops_of(folder: Path, precision: str = "fp32", deterministic: bool = False) -> CudaOps:
    """The engine with cuDNN."""
    dnn = frontend.begin(STREAM)
    assert isinstance(dnn, Frontend), dnn
    runtime = HostRuntime(folder, dnn=dnn)
    return CudaOps(runtime, precision=precision, deterministic=deterministic)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch, cudnn: FakeCudnn) -> set[int]:
    """Plans that take long; all others take as long as each other."""
    found: set[int] = set()
    between = HostEvent.milliseconds_since

    def told(self: HostEvent, earlier: Any) -> float:
        return between(self, earlier) + 100 * (cudnn.executed[-1][1] in found)

    monkeypatch.setattr(HostEvent, "milliseconds_since", told)
    return found


def forward(ops: CudaOps, geometry: ConvolutionGeometry = GEOMETRY) -> None:
    """A forward pass by a new op."""
    x, w, out = Value(geometry.shape), Value(geometry.weight_shape), Value(geometry.out_shape)
    x.write()[...], w.write()[...] = images(*x.shape), images(*w.shape)
    op: Any = ops.convolution(geometry)
    op.forward(x, w, None, out=out)


def test_the_fastest_of_the_plans_is_taken(
    cudnn: FakeCudnn, slow: set[int], host_folder: Path
) -> None:
    slow |= {1, 2, 3, 5, 6}
    ops = ops_of(host_folder, "tf32")
    forward(ops)
    tried = len(cudnn.executed)
    assert cudnn.executed[-1] == ("y", 4)
    assert {index for _, index in cudnn.executed} == set(range(1, 1 + plan_choice.TRIED))
    forward(ops)  # an op that is built again
    assert cudnn.executed[tried:] == [("y", 4)]


def test_a_plan_that_fails_is_passed_over(cudnn: FakeCudnn, host_folder: Path) -> None:
    cudnn.failing |= {1, 2}
    for deterministic, taken in ((False, 3), (True, 3)):
        forward(ops_of(host_folder, "tf32", deterministic))
        assert cudnn.executed[-1] == ("y", taken)


def test_deterministic_runs_time_nothing(
    cudnn: FakeCudnn, slow: set[int], host_folder: Path
) -> None:
    slow |= {2}
    forward(ops_of(host_folder, "tf32", deterministic=True))
    assert cudnn.executed == [("y", 2)] * 2


def test_after_many_choices_by_time_first_guesses_are_taken(
    cudnn: FakeCudnn, slow: set[int], host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_choice, "KEPT", 1)
    slow |= {1}
    ops = ops_of(host_folder, "tf32")
    other = ConvolutionGeometry((2, 3, 5, 5), 4, (3, 3), (1, 1), (1, 1), (1, 1))
    for geometry, taken in ((GEOMETRY, 2), (other, 1)):
        forward(ops, geometry)
        assert cudnn.executed[-1] == ("y", taken)


def test_choices_are_few(
    cudnn: FakeCudnn, host_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan_choice, "KEPT", 1)
    ops = ops_of(host_folder, deterministic=True)
    other = ConvolutionGeometry((2, 3, 5, 5), 4, (3, 3), (1, 1), (1, 1), (1, 1))
    for geometry in (GEOMETRY, other, other, GEOMETRY):
        forward(ops, geometry)
    assert len(cudnn.executed) == 3 * 2 + 1


def test_products_of_the_images_are_taken_where_they_are_faster(
    cudnn: FakeCudnn, slow: set[int], host_folder: Path
) -> None:
    pointwise = ConvolutionGeometry((2, 3, 5, 4), 4, (1, 1), (1, 1), (0, 0), (1, 1))
    cudnn.executed.append(("none", 0))
    slow |= set(range(1, len(OFFERED)))
    ops = ops_of(host_folder)
    forward(ops, pointwise)
    tried = len(cudnn.executed)
    assert tried > 1
    forward(ops, pointwise)
    assert len(cudnn.executed) == tried
    compare_engines(
        NumpyOps(np.float64),
        ops,
        layer("Convolution", "num_output: 4 kernel_size: 1"),
        [images(2, 3, 5, 4)],
        rtol=RTOL,
        atol=ATOL,
    )

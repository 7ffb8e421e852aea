"""caffepy device_query, with a stand-in for cupy."""

from __future__ import annotations

import re
import sys

import pytest

from tests.fake_cupy import FakeGpu
from tests.integration.refusals import Run, assert_refused

TOLD = """\
Device id:                     1
Major revision number:         9
Minor revision number:         0
Name:                          Fake GPU
Total global memory:           85000000000
Total shared memory per block: 49152
Total registers per block:     65536
Warp size:                     32
Maximum memory pitch:          2147483647
Maximum threads per block:     1024
Maximum dimension of block:    1024, 1024, 64
Maximum dimension of grid:     2147483647, 65535, 65535
Clock rate:                    1980000
Total constant memory:         65536
Texture alignment:             512
Concurrent copy and execution: Yes
Number of multiprocessors:     2
Kernel execution timeout:      No"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeGpu:
    fake = FakeGpu()
    fake.install(monkeypatch)
    return fake


def test_a_gpu_is_told_of_in_caffes_lines(run: Run, fake: FakeGpu) -> None:
    status, printed = run("device_query", "-gpu", "1")
    assert status == 0
    lines = [re.sub(r"^I.*?\] ", "", line) for line in printed.splitlines()]
    assert lines == ["Querying GPUs 1", *TOLD.splitlines()]
    assert not fake.streams  # nothing was set up to be used


@pytest.mark.parametrize(("gpu", "indices"), [("all", "01"), ("1,0", "10")])
def test_several_gpus_come_one_after_the_other(
    gpu: str, indices: str, run: Run, fake: FakeGpu
) -> None:
    _, printed = run("device_query", "--gpu", gpu)
    assert re.findall(r"Device id: +(\d)", printed) == list(indices)


@pytest.mark.parametrize("gpu", ["2", "0,2", "-1", "zero", ","])
def test_a_gpu_that_is_not_there_is_refused(gpu: str, run: Run, fake: FakeGpu) -> None:
    assert_refused(run, f"got '{gpu}'. Give one of them", "device_query", f"--gpu={gpu}")


def test_without_a_gpu_the_reason_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert_refused(run, "got none: cupy is not installed. Install caffepy", "device_query")

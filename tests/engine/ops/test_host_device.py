"""HostRuntime as a device: memory apart from the host's, graphs, events, copies ahead, products."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError, OutOfMemoryError
from tests.host_kernels import kernel, on_device, on_host
from tests.host_runtime import HostRuntime


@pytest.fixture
def runtime(host_folder: Path) -> HostRuntime:
    return HostRuntime(host_folder)


# ---- memory


def test_the_host_cannot_use_an_array_of_the_device(runtime: HostRuntime) -> None:
    buffer = on_device(runtime, np.arange(3.0))
    for use in (
        lambda: np.asarray(buffer),
        lambda: np.float64(buffer),
        lambda: np.ones(3) + buffer,
        lambda: np.copyto(np.ones(3), buffer),
        lambda: buffer[0],
        lambda: buffer[::2],
        lambda: list(buffer),
    ):
        with pytest.raises((AssertionError, TypeError)):
            use()


def test_buffers_are_poisoned_sliced_and_viewed(runtime: HostRuntime) -> None:
    buffer = runtime.allocate(4, np.float32)
    assert np.isnan(on_host(runtime, buffer)).all()
    assert (buffer.size, buffer.dtype, buffer.nbytes) == (4, np.float32, 16)
    runtime.clear(buffer[:2])
    runtime.upload(np.array([[1.0, 2.0]], np.float32).T, buffer[2:])
    assert on_host(runtime, buffer).tolist() == [0, 0, 1, 2]
    assert on_host(runtime, buffer[2:3].view(np.uint8)).tolist() == [0, 0, 128, 63]
    runtime.copy(buffer[2:], buffer[:2])
    target = np.empty((2, 2), np.float32)
    runtime.download(buffer, target.T)
    assert target.tolist() == [[1, 1], [2, 2]]


def test_memory_is_counted_and_ends(host_folder: Path) -> None:
    runtime = HostRuntime(host_folder, limit=100)
    kept = runtime.allocate(15, np.float32)[:2]
    assert runtime.memory() == (40, 100)
    with pytest.raises(OutOfMemoryError, match="expected 44 bytes to be free, got 40 of 100"):
        runtime.allocate(11, np.float32)
    del kept
    assert runtime.memory() == (100, 100)
    assert runtime.properties().total_memory == 100


# ---- graphs, events, the second stream

TWICE = kernel("for (size_t i = threadIdx.x; i < count; i += blockDim.x) out[i] *= 2;")


def test_captured_work_is_done_at_each_launch(runtime: HostRuntime) -> None:
    program = runtime.build(TWICE, "f.cu", "float")
    x, out = (
        on_device(runtime, np.array([1, 2, 3], np.int32)),
        on_device(runtime, np.zeros(3, np.int32)),
    )

    def work() -> None:
        assert runtime.capturing
        runtime.copy(x, out)
        for _ in range(2):
            runtime.launch_rows(program, "f", 1, [np.uint64(3), out])
        runtime.clear(x[2:])

    graph = runtime.capture(work)
    assert not runtime.capturing
    assert (len(graph), on_host(runtime, out).tolist()) == (4, [0, 0, 0])
    graph.launch()
    assert on_host(runtime, out).tolist() == [4, 8, 12]
    runtime.upload(np.array([5, 6, 7], np.int32), x)
    graph.launch()
    graph.launch()
    assert on_host(runtime, out).tolist() == [20, 24, 0]


@pytest.mark.parametrize(
    "work",
    [
        lambda gpu, x: gpu.allocate(1, np.int8),
        lambda gpu, x: gpu.upload(np.zeros(2), x),
        lambda gpu, x: gpu.download(x, np.zeros(2)),
        lambda gpu, x: gpu.synchronize(),
        lambda gpu, x: gpu.record(),
        lambda gpu, x: gpu.upload_ahead(gpu.pinned((2,), float), x),
        lambda gpu, x: gpu.capture(lambda: None),
        lambda gpu, x: gpu.build(TWICE, "f.cu", "float"),
    ],
)
def test_what_the_host_waits_for_cannot_be_captured(work: Any, runtime: HostRuntime) -> None:
    x = on_device(runtime, np.zeros(2))
    with pytest.raises(DeviceError, match=r"graph: .* expected work that can be captured"):
        runtime.capture(lambda: work(runtime, x))
    assert not runtime.capturing
    work(runtime, x)


def test_a_graph_does_not_keep_the_memory_it_uses(runtime: HostRuntime) -> None:
    x = runtime.allocate(2, np.int32)
    graph = runtime.capture(partial(runtime.clear, x))
    graph.launch()
    del x
    with pytest.raises(DeviceError, match="got a buffer that was given back"):
        graph.launch()


def test_a_copy_ahead_is_there_when_it_was_waited_for(runtime: HostRuntime) -> None:
    first, second = runtime.pinned((2,), np.float32), runtime.pinned((2, 2), np.float32)
    buffers = [on_device(runtime, np.zeros(2, np.float32)) for _ in range(2)]
    events = [runtime.upload_ahead(first, buffers[0]), runtime.upload_ahead(second[1], buffers[1])]
    first[:] = 1  # too early
    second[:] = 2
    assert np.isnan([on_host(runtime, each) for each in buffers]).all()
    runtime.wait_for(events[0])
    assert on_host(runtime, buffers[0]).tolist() == [1, 1]
    assert np.isnan(on_host(runtime, buffers[1])).all()
    runtime.synchronize()
    assert on_host(runtime, buffers[1]).tolist() == [2, 2]
    runtime.wait_for(events[0])


def test_a_copy_ahead_needs_pinned_memory(runtime: HostRuntime) -> None:
    with pytest.raises(AssertionError, match="expected pinned memory"):
        runtime.upload_ahead(np.zeros(2), runtime.allocate(2, np.float64))


def test_events_count_the_work_between_them(runtime: HostRuntime) -> None:
    x = runtime.allocate(2, np.int32)
    graph = runtime.capture(lambda: [runtime.clear(x) for _ in range(3)] and None)
    start = runtime.record()
    runtime.clear(x)
    graph.launch()
    assert runtime.record().milliseconds_since(start) == 4

"""CupyRuntime: what it asks of cupy, for which a stand-in stands; on a GPU, what comes out."""

from __future__ import annotations

import builtins
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError, OutOfMemoryError
from caffepy.engine.ops.cuda import cublas, nvrtc, runtime
from caffepy.engine.ops.cuda.nvrtc import BLOCK
from caffepy.engine.ops.cuda.port import Convolution, Product
from caffepy.engine.ops.cuda.runtime import BLOCKS_PER_MULTIPROCESSOR, CupyRuntime
from caffepy.engine.ops.cuda.staging import MOST_BYTES
from tests.fake_cublas import FakeCublas
from tests.fake_cudnn import FakeCudnn
from tests.fake_cupy import ATTRIBUTES, CUDADriverError, CUDARuntimeError, Event, FakeGpu

MOST_BLOCKS = BLOCKS_PER_MULTIPROCESSOR * ATTRIBUTES["MultiProcessorCount"]
F4 = np.dtype(np.float32)
SOURCE = """extern "C" __global__ void twice(size_t count, T* x) {
  for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; i += gridDim.x * blockDim.x)
    x[i] *= 2;
}
extern "C" __global__ void row_sums(size_t count, int row, const T* x, T* out) {
  __shared__ T parts[BLOCK];
  for (size_t i = blockIdx.x; i < count; i += gridDim.x) {
    T sum = 0;
    for (int j = threadIdx.x; j < row; j += BLOCK) sum += x[i * row + j];
    parts[threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
      for (int j = 1; j < BLOCK; ++j) sum += parts[j];
      out[i] = sum;
    }
    __syncthreads();
  }
}"""


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> FakeGpu:
    """The stand-in for cupy, as `import cupy` gives it."""
    fake = FakeGpu()
    fake.install(monkeypatch)
    monkeypatch.setattr(cublas, "load", lambda major: FakeCublas(fake.stream))
    monkeypatch.setenv("CAFFEPY_KERNEL_CACHE", str(tmp_path / "kernels"))
    return fake


@pytest.fixture(params=["fake", pytest.param("gpu", marks=pytest.mark.gpu)])
def gpu(request: pytest.FixtureRequest) -> CupyRuntime:
    """A runtime on the stand-in, or on a real GPU; kernels run on the latter only."""
    if request.param == "gpu":
        found: CupyRuntime = request.getfixturevalue("gpu_runtime")
        return found
    request.getfixturevalue("fake")
    return CupyRuntime()


def sent(gpu: CupyRuntime, content: Any, dtype: Any = F4) -> Any:
    """A buffer with that content."""
    source = np.asarray(content, dtype)
    buffer = gpu.allocate(source.size, source.dtype)
    gpu.upload(source, buffer)
    return buffer


def back(gpu: CupyRuntime, buffer: Any) -> np.ndarray:
    """What is in a buffer."""
    found = np.empty(buffer.size, buffer.dtype)
    gpu.download(buffer, found)
    return found


# ---- what there is


def test_without_cupy_the_extra_to_install_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    reason = "cupy is not installed. Install caffepy[cuda12], or caffepy[cuda13] where the driver "
    assert str(runtime.available()).startswith(reason)
    with pytest.raises(
        DeviceError, match=r"^GPU: expected one that can be used, got none: cupy is"
    ):
        runtime.count()


@pytest.mark.parametrize(
    "error",
    [ModuleNotFoundError("No module named 'numpy'", name="numpy"), ImportError("libnvrtc.so.12")],
)
def test_a_cupy_that_does_not_load_says_what_it_lacks(
    error: ImportError, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported = builtins.__import__

    def refusing(name: str, *rest: Any) -> Any:
        if name == "cupy":
            raise error
        return imported(name, *rest)

    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.setattr(builtins, "__import__", refusing)
    assert f"cupy does not load: {error}. Install" in str(runtime.available())


@pytest.mark.parametrize(
    ("status", "driver", "devices", "message"),
    [
        (35, 0, 0, "there is no NVIDIA driver. Install one for CUDA 12.9"),
        (35, 11040, 0, "the driver is for CUDA 11.4, and cupy for CUDA 12.9"),
        (100, 12090, 0, "there is no NVIDIA GPU. Look at nvidia-smi"),
        (0, 12090, 0, "there is no NVIDIA GPU. Look at nvidia-smi"),
        (999, 12090, 1, "CUDA does not start: cudaError999"),
    ],
)
def test_what_is_missing_is_named(
    status: int, driver: int, devices: int, message: str, fake: FakeGpu
) -> None:
    fake.status, fake.driver, fake.devices = status, driver, devices
    assert message in str(runtime.available())
    with pytest.raises(DeviceError, match=message):
        CupyRuntime()


def test_a_gpu_that_is_not_there_is_refused(fake: FakeGpu) -> None:
    assert runtime.available() is None
    assert runtime.count() == 2
    for index in (2, -1):
        with pytest.raises(DeviceError, match=f"^--gpu {index}: expected 0 to 1, got {index}"):
            CupyRuntime(index)


def test_the_properties_are_those_of_the_device(fake: FakeGpu) -> None:
    told = CupyRuntime(1).properties()
    assert (told.index, told.name, told.major, told.minor) == (1, "Fake GPU", 9, 0)
    assert told.max_threads == (1024, 1024, 64)
    assert told.max_grid == (2147483647, 65535, 65535)
    assert told.concurrent_copy
    assert not told.kernel_timeout


# ---- memory


def test_what_is_sent_comes_back(gpu: CupyRuntime) -> None:
    content = np.arange(12, dtype=F4).reshape(3, 4)
    buffer = sent(gpu, content.T)  # brought into C order
    np.testing.assert_array_equal(back(gpu, buffer), content.T.reshape(-1))
    found = np.empty((4, 3), F4).T
    gpu.download(buffer, found)
    np.testing.assert_array_equal(found, content.T.reshape(3, 4))


def test_slices_and_views_are_the_same_memory(gpu: CupyRuntime) -> None:
    buffer = sent(gpu, [1, 2, 3, 4])
    gpu.clear(buffer[1:3])
    np.testing.assert_array_equal(back(gpu, buffer), [1, 0, 0, 4])
    gpu.copy(buffer[:1], buffer[3:])
    np.testing.assert_array_equal(back(gpu, buffer.view(np.uint32)[2:]), [0, 0x3F800000])


def test_empty_buffers_are_nothing_special(gpu: CupyRuntime) -> None:
    buffer = sent(gpu, [])
    gpu.clear(buffer)
    gpu.copy(buffer, gpu.allocate(0, F4))
    assert back(gpu, buffer).size == 0


def test_memory_that_is_not_there_is_told_in_bytes(gpu: CupyRuntime) -> None:
    free, total = gpu.memory()
    assert 0 < free <= total
    with pytest.raises(OutOfMemoryError, match=r"memory: expected 3\.6 TiB free") as told:
        gpu.allocate(10**12, F4)
    assert told.value.asked == 4 * 10**12
    assert 0 < told.value.free <= total


@pytest.mark.parametrize("count", [1, 3, MOST_BYTES // 4, MOST_BYTES // 4 + 1])
def test_what_is_uploaded_may_be_changed_at_once(
    count: int, fake: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = CupyRuntime()
    work = fake.streams[0]
    late: list[Callable[[], Any]] = []

    def finish(*_: Any) -> None:
        while late:
            late.pop(0)()

    monkeypatch.setattr(work, "queue", late.append)
    monkeypatch.setattr(work, "synchronize", finish)
    monkeypatch.setattr(Event, "synchronize", finish)
    source, buffers = np.zeros(count, F4), [gpu.allocate(count, F4) for _ in range(9)]
    for number, buffer in enumerate(buffers):  # more than staging has room for
        source[...] = number
        gpu.upload(source, buffer)
    finish()
    for number, buffer in enumerate(buffers):
        np.testing.assert_array_equal(back(gpu, buffer), np.full(count, number))


def test_small_uploads_are_not_waited_for(fake: FakeGpu) -> None:
    gpu = CupyRuntime()
    buffer = gpu.allocate(2, F4)
    fake.asked.clear()
    gpu.upload(np.zeros(2, F4), buffer)
    assert "synchronize" not in fake.asked


# ---- work

needs_nvrtc = pytest.mark.skipif(nvrtc.available() is not None, reason=str(nvrtc.available()))


@needs_nvrtc
@pytest.mark.parametrize(
    ("count", "blocks", "rows"),
    [(1, 1, 1), (BLOCK + 1, 2, MOST_BLOCKS), (10**9, MOST_BLOCKS, MOST_BLOCKS)],
)
def test_grids_cover_what_there_is_up_to_what_the_gpu_holds(
    count: int, blocks: int, rows: int, fake: FakeGpu
) -> None:
    gpu = CupyRuntime(1)
    program = gpu.build(SOURCE, "sums.cu", "float")
    x, out = gpu.allocate(8, F4), gpu.allocate(8, F4)
    gpu.launch(program, "twice", count, [np.uint64(count), x])
    gpu.launch_rows(program, "row_sums", count, [np.uint64(count), np.int32(8), x, out])
    gpu.launch(program, "twice", 1, [np.uint64(1), x])
    first, second, _ = fake.launches
    assert (first.kernel, first.blocks, first.threads) == ("twice", blocks, BLOCK)
    assert (second.kernel, second.blocks, second.threads) == ("row_sums", rows, BLOCK)
    assert second.types == [np.uint64, np.int32, "buffer", "buffer"]
    assert first.stream is second.stream is fake.streams[0]
    assert [each for each in fake.asked if "function" in each] == [
        "function twice", "function row_sums",
    ]  # fmt: skip


@needs_nvrtc
def test_errors_of_a_source_name_its_line(fake: FakeGpu) -> None:
    with pytest.raises(DeviceError, match=r"^sums.cu:3: NVRTC for sm_90: .* 'x\[i\] \*= two;'"):
        CupyRuntime().build(SOURCE.replace("*= 2", "*= two"), "sums.cu", "float")


@needs_nvrtc
def test_errors_of_cuda_name_the_device_and_the_call(fake: FakeGpu) -> None:
    gpu = CupyRuntime(1)
    program = gpu.build(SOURCE, "sums.cu", "float")
    with pytest.raises(DeviceError, match=r"^GPU 1: launch: expected success, got CUDA_ERROR"):
        gpu.launch(program, "thrice", 1, [np.uint64(1)])


def test_each_call_is_made_on_the_device_of_the_runtime(fake: FakeGpu) -> None:
    first, second = CupyRuntime(0), CupyRuntime(1)
    for gpu in (first, second, first):
        np.testing.assert_array_equal(back(gpu, sent(gpu, [1])), 1)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_products_go_to_cublas(precision: str, gpu: CupyRuntime) -> None:
    a, b, out = sent(gpu, np.arange(6)), sent(gpu, np.arange(6)), sent(gpu, [1] * 4)
    gpu.multiply(Product(2, 2, 3, add=True), a, b, out, precision)
    np.testing.assert_array_equal(back(gpu, out), [11, 14, 29, 41])
    gpu.multiply(Product(0, 2, 3), a, b, out)
    gpu.multiply(Product(2, 2, 3, batch=0), a, b, out)
    np.testing.assert_array_equal(back(gpu, out), [11, 14, 29, 41])


def test_products_of_nothing_are_zeros(gpu: CupyRuntime) -> None:
    nothing, out = gpu.allocate(0, F4), sent(gpu, [1] * 8)
    gpu.multiply(Product(2, 1, 0, add=True, batch=2, out_step=4, out_row=2), nothing, nothing, out)
    np.testing.assert_array_equal(back(gpu, out), [1] * 8)
    gpu.multiply(Product(2, 1, 0, batch=2, out_step=4, out_row=2), nothing, nothing, out)
    np.testing.assert_array_equal(back(gpu, out), [0, 1] * 4)


def test_convolutions_go_to_cudnn_in_the_stream_of_all_work(
    fake: FakeGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cudnn", None)
    assert "nvidia-cudnn-frontend is not installed" in str(CupyRuntime().dnn)
    cudnn = FakeCudnn()
    cudnn.install(monkeypatch)
    gpu = CupyRuntime()
    cudnn.stream = fake.streams[-2].ptr  # the last is that of copies
    assert not isinstance(gpu.dnn, str)
    sizes = (1, 1), (0, 0), (1, 1)
    asked = Convolution("y", (1, 1, 2, 2), (1, 1, 1, 2), (1, 1, 2, 1), *sizes, "fp32")
    plan, *_ = gpu.dnn.plans(asked, 1)
    x, w, y = sent(gpu, [1, 2, 3, 4]), sent(gpu, [10, 1]), sent(gpu, [0, 0])
    gpu.convolve(plan, [x, w, y], gpu.allocate(plan.workspace, np.dtype(np.uint8)))
    np.testing.assert_array_equal(back(gpu, y), [12, 34])


# ---- graphs


def test_captured_work_is_done_at_each_launch_and_not_before(gpu: CupyRuntime) -> None:
    a, total = sent(gpu, [1, 2]), sent(gpu, [0, 0])
    one = sent(gpu, [1])

    def run() -> None:
        assert gpu.capturing
        gpu.multiply(Product(2, 1, 1, add=True), a, one, total)

    gpu.multiply(Product(2, 1, 1, add=True), a, one, total)  # what cuBLAS loads at first use
    gpu.clear(total)
    graph = gpu.capture(run)
    assert not gpu.capturing
    np.testing.assert_array_equal(back(gpu, total), [0, 0])
    for _ in range(3):
        graph.launch()
    np.testing.assert_array_equal(back(gpu, total), [3, 6])


def test_memory_of_a_graph_is_its_own_as_long_as_it_lives(gpu: CupyRuntime) -> None:
    out = sent(gpu, [0])

    def run() -> None:
        scratch = gpu.allocate(1, F4)  # nobody else holds it
        gpu.clear(scratch)
        gpu.copy(scratch, out)

    graph = gpu.capture(run)
    other = sent(gpu, [5])
    graph.launch()
    np.testing.assert_array_equal(back(gpu, out), [0])
    np.testing.assert_array_equal(back(gpu, other), [5])


@pytest.mark.parametrize("work", ["upload", "download"])
def test_work_with_the_host_cannot_be_captured(work: str, gpu: CupyRuntime) -> None:
    buffer, host = sent(gpu, [1]), np.zeros(1, F4)
    given = (host, buffer) if work == "upload" else (buffer, host)
    with pytest.raises(DeviceError, match=f"{work}: expected work that can be captured"):
        gpu.capture(lambda: getattr(gpu, work)(*given))
    assert not gpu.capturing
    np.testing.assert_array_equal(back(gpu, buffer), [1])  # the stream works as before


def test_waiting_for_what_is_captured_is_an_error_that_names_it(gpu: CupyRuntime) -> None:
    with pytest.raises(DeviceError, match="synchronize: expected success, got"):
        gpu.capture(gpu.synchronize)
    gpu.synchronize()


def test_a_capture_that_fails_in_the_end_says_so(gpu: CupyRuntime) -> None:
    def run() -> None:
        with pytest.raises(DeviceError):
            gpu.synchronize()

    with pytest.raises(DeviceError, match="capture: expected success, got"):
        gpu.capture(run)
    np.testing.assert_array_equal(back(gpu, sent(gpu, [1])), [1])


# ---- time and the second stream


def test_events_measure_time_between_them(gpu: CupyRuntime) -> None:
    first = gpu.record()
    gpu.clear(gpu.allocate(1000, F4))
    assert gpu.record().milliseconds_since(first) > 0


def test_batches_that_come_ahead_are_there_after_the_wait(gpu: CupyRuntime) -> None:
    batch = gpu.pinned((2, 3), np.dtype(np.uint8))
    batch[...] = np.arange(6).reshape(2, 3)
    buffer = gpu.allocate(6, batch.dtype)
    event = gpu.upload_ahead(batch, buffer)
    gpu.wait_for(event)
    np.testing.assert_array_equal(back(gpu, buffer), np.arange(6))
    assert gpu.pinned((0, 3), F4).shape == (0, 3)


def test_a_copy_ahead_waits_for_the_work_queued_before(fake: FakeGpu) -> None:
    gpu = CupyRuntime()
    work, copies = fake.streams
    event = gpu.upload_ahead(gpu.pinned((1,), F4), gpu.allocate(1, F4))
    assert copies.waits[0].time is not None
    assert fake.asked[-1] == f"copy 1 in stream {copies.ptr}"
    gpu.wait_for(event)
    assert len(work.waits) == 1


def test_copies_ahead_go_on_while_another_thread_captures(gpu: CupyRuntime) -> None:
    buffer, out = gpu.allocate(2, F4), sent(gpu, [1, 1])
    batch = gpu.pinned((2,), F4)
    batch[...] = 7
    events: list[Any] = []

    def run() -> None:
        thread = threading.Thread(target=lambda: events.append(gpu.upload_ahead(batch, buffer)))
        thread.start()
        thread.join()
        gpu.clear(out)

    graph = gpu.capture(run)
    gpu.wait_for(events[0])
    np.testing.assert_array_equal(back(gpu, buffer), [7, 7])
    np.testing.assert_array_equal(back(gpu, out), [1, 1])
    graph.launch()
    np.testing.assert_array_equal(back(gpu, out), [0, 0])


# ---- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("element", ["float", "double"])
def test_kernels_run(element: str, gpu_runtime: CupyRuntime) -> None:
    gpu, dtype = gpu_runtime, np.dtype(element if element == "double" else F4)
    program = gpu.build(SOURCE, "sums.cu", element)
    content = np.arange(7 * 1009, dtype=dtype)
    x, out = sent(gpu, content, dtype), gpu.allocate(7, dtype)
    gpu.launch(program, "twice", content.size, [np.uint64(content.size), x])
    gpu.launch_rows(program, "row_sums", 7, [np.uint64(7), np.int32(1009), x, out])
    np.testing.assert_array_equal(back(gpu, x), 2 * content)
    np.testing.assert_allclose(back(gpu, out), 2 * content.reshape(7, 1009).sum(1), 1e-6)


@pytest.mark.gpu
def test_numbers_below_the_normal_ones_are_kept(gpu_runtime: CupyRuntime) -> None:
    gpu = gpu_runtime
    x = sent(gpu, [1e-39])
    gpu.launch(gpu.build(SOURCE, "sums.cu", "float"), "twice", 1, [np.uint64(1), x])
    np.testing.assert_array_equal(back(gpu, x), np.float32(2e-39))


@pytest.mark.gpu
def test_tf32_rounds_what_fp32_does_not(gpu_runtime: CupyRuntime) -> None:
    gpu, n = gpu_runtime, 256
    content = np.random.default_rng(0).standard_normal((2, n, n)).astype(F4)
    a, b, out = sent(gpu, content[0]), sent(gpu, content[1]), gpu.allocate(n * n, F4)
    exact = content[0].astype(np.float64) @ content[1].astype(np.float64)
    errors = {}
    for precision in ("fp32", "tf32"):
        gpu.multiply(Product(n, n, n), a, b, out, precision)
        errors[precision] = np.abs(back(gpu, out).reshape(n, n) - exact).max()
    assert errors["fp32"] < 1e-4 < errors["tf32"] < 0.1


def test_the_errors_of_the_stand_in_are_those_that_are_caught(fake: FakeGpu) -> None:
    assert set(CupyRuntime()._errors) == {CUDARuntimeError, CUDADriverError}

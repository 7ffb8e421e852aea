"""HostRuntime: kernels whose threads work together, and the mistakes that it finds in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError
from tests.host_compiler import BLOCK, working_together
from tests.host_kernels import kernel, on_device, on_host, rows
from tests.host_runtime import HostRuntime

PORTABLE = ("-DSHIM_UCONTEXT",)  # the way in which threads take turns on other processors


@pytest.fixture(params=[(), PORTABLE], ids=["", "portable"])
def runtime(request: pytest.FixtureRequest, host_folder: Path) -> HostRuntime:
    return HostRuntime(host_folder, options=request.param)


@pytest.fixture
def fast(host_folder: Path) -> HostRuntime:
    return HostRuntime(host_folder)


C_TYPES = {np.int32: "int", np.float32: "float", np.float64: "double", np.uint64: "size_t"}


def each_thread(
    runtime: HostRuntime, body: str, dtype: Any = np.int32, before: str = "", results: int = 1
) -> np.ndarray:
    """What the threads of one block write to `out[t]`, `out[BLOCK + t]`, ...: (results, BLOCK)."""
    out = runtime.allocate(results * BLOCK, dtype)
    source = kernel(f"const int t = threadIdx.x; {body}", f"{C_TYPES[dtype]}* out", before)
    rows(runtime, source, [out])
    return on_host(runtime, out).reshape(results, BLOCK)


# ---- threads of a block


def test_threads_see_what_others_wrote_before_a_barrier(runtime: HostRuntime) -> None:
    source = kernel(
        """__shared__ int turned[BLOCK];
        for (size_t row = blockIdx.x; row < count; row += gridDim.x) {
          turned[BLOCK - 1 - threadIdx.x] = threadIdx.x + row;
          __syncthreads();
          out[row * BLOCK + threadIdx.x] = turned[threadIdx.x];
          __syncthreads();
        }"""
    )
    count = 7  # more rows than blocks
    out = runtime.allocate(count * BLOCK, np.int32)
    rows(runtime, source, [out], count)
    expected = np.arange(count)[:, None] + np.arange(BLOCK)[::-1]
    np.testing.assert_array_equal(on_host(runtime, out).reshape(expected.shape), expected)


@pytest.mark.parametrize("shift", ["BLOCK - 1", "1"])
def test_a_missing_barrier_shows_in_the_results(shift: str, fast: HostRuntime) -> None:
    source = kernel(
        f"""__shared__ int turned[BLOCK];
        turned[threadIdx.x] = threadIdx.x;
        out[blockIdx.x * BLOCK + threadIdx.x] = turned[(threadIdx.x + {shift}) % BLOCK];"""
    )
    out = fast.allocate(2 * BLOCK, np.int32)
    rows(fast, source, [out], 2)
    assert -1 in on_host(fast, out)  # what shared memory is filled with


def test_shared_memory_starts_anew_in_each_block(fast: HostRuntime) -> None:
    source = kernel(
        """__shared__ int kept[4];
        if (threadIdx.x == 0) {
          out[blockIdx.x] = kept[3];
          kept[3] = 5;
        }"""
    )
    out = fast.allocate(3, np.int32)
    rows(fast, source, [out], 3)
    assert on_host(fast, out).tolist() == [-1] * 3


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64, np.uint64])
def test_shuffles_give_what_the_other_lane_gave(dtype: Any, runtime: HostRuntime) -> None:
    t = np.arange(BLOCK)
    lane, warp = t % 32, t // 32 * 32
    expected = {
        "__shfl_sync(~0u, x, 3)": warp + 3,
        "__shfl_sync(~0u, x, t + 1)": warp + (lane + 1) % 32,
        "__shfl_sync(~0u, x, 1, 8)": t // 8 * 8 + 1,
        "__shfl_up_sync(~0u, x, 2)": np.where(lane < 2, t, t - 2),
        "__shfl_up_sync(~0u, x, 1, 4)": np.where(t % 4 < 1, t, t - 1),
        "__shfl_down_sync(~0u, x, 16)": np.where(lane < 16, t + 16, t),
        "__shfl_down_sync(~0u, x, 1, 4)": np.where(t % 4 < 3, t + 1, t),
        "__shfl_xor_sync(~0u, x, 5)": t ^ 5,
        "__shfl_xor_sync(~0u, x, 5, 16)": t ^ 5,
    }
    body = "".join(f"out[{i} * BLOCK + t] = {call};\n" for i, call in enumerate(expected))
    found = each_thread(runtime, f"{C_TYPES[dtype]} x = t;\n{body}", dtype, results=len(expected))
    for row, (call, wanted) in zip(found, expected.items(), strict=True):
        np.testing.assert_array_equal(row, wanted, call)


def test_a_shuffle_from_a_lane_that_takes_no_part_gives_nan(fast: HostRuntime) -> None:
    body = """out[t] = 0;
    if (t % 2 == 0) out[t] = __shfl_sync(0x55555555u, (float)t, t + (t < 32));"""
    (found,) = each_thread(fast, body, np.float32)
    assert np.isnan(found[:32:2]).all()
    np.testing.assert_array_equal(found[32::2], np.arange(32, 64, 2))


def test_votes(runtime: HostRuntime) -> None:
    t = np.arange(BLOCK)
    body = """out[t] = __ballot_sync(~0u, t % 3 == 0) >> t % 32 & 1;
    out[BLOCK + t] = __any_sync(~0u, t == 33) != 0;
    out[2 * BLOCK + t] = __all_sync(~0u, t < 32) != 0;"""
    found = each_thread(runtime, body, results=3)
    np.testing.assert_array_equal(found, [t % 3 == 0, t >= 32, t < 32])


def test_a_sum_of_a_block_by_shuffles_and_shared_memory(runtime: HostRuntime) -> None:
    before = """
    template <class V> __device__ __forceinline__ V warp_sum(V value) {
      for (int offset = 16; offset; offset /= 2) value += __shfl_down_sync(~0u, value, offset);
      return value;
    }
    template <class V> __device__ V sum(V value) {
      __shared__ V parts[BLOCK / 32];
      value = warp_sum(value);
      if (threadIdx.x % warpSize == 0) parts[threadIdx.x / warpSize] = value;
      __syncthreads();
      V whole = 0;
      for (int i = 0; i < BLOCK / 32; ++i) whole += parts[i];
      return whole;
    }"""
    (found,) = each_thread(runtime, "out[t] = sum<double>(t * t);", np.float64, before)
    np.testing.assert_array_equal(found, np.sum(np.arange(BLOCK) ** 2))


def test_lanes_of_a_mask_go_on_without_the_others(runtime: HostRuntime) -> None:
    (found,) = each_thread(
        runtime,
        """int x = t;
        if (t % 32 < 16)
          for (int i = 0; i < 3; ++i) x = __shfl_xor_sync(0xffffu, x, 1 << i);
        __syncwarp();
        out[t] = __shfl_xor_sync(~0u, x, 16);""",
    )
    t = np.arange(BLOCK)
    given = np.where(t % 32 < 16, t ^ 7, t)
    np.testing.assert_array_equal(found, given[t ^ 16])


def test_atomics_count_every_thread(fast: HostRuntime) -> None:
    out = on_device(fast, np.array([0, -5, 99, 7, 0], np.int32))
    body = """atomicAdd(&out[0], 2); atomicMax(&out[1], (int)threadIdx.x);
    atomicMin(&out[2], (int)threadIdx.x); atomicCAS(&out[3], 7, 8); atomicExch(&out[4], 3);"""
    rows(fast, kernel(body), [out], 2)
    assert on_host(fast, out).tolist() == [2 * 2 * BLOCK, BLOCK - 1, 0, 8, 3]


# ---- mistakes in kernels


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "if (threadIdx.x < 5) __syncthreads();",
            "f.cu:3: block 0: thread 0 waits for the others, but thread 63 has ended",
        ),
        (
            "if (threadIdx.x < 5)\n__syncthreads();\nelse\n__syncthreads();",
            "f.cu:4: block 0: thread 0 waits for the others, but thread 63 waits at f.cu:6",
        ),
        (
            "for (int i = 0; i <= threadIdx.x; ++i) __syncthreads();",
            "thread 1 waits for the others, but thread 0 has ended",
        ),
        ("if (threadIdx.x % 2) __shfl_sync(~0u, 1, 0); else __syncthreads();", "waits at f.cu:3"),
        (
            "__shfl_sync(threadIdx.x < 2 ? 1u : ~1u, 1, 0);",
            "f.cu:3: block 0, thread 1: expected a mask with the thread's lane, got another",
        ),
        ("if (threadIdx.x == 9) __trap();", "f.cu:3: block 0, thread 9: stopped by __trap"),
        (
            "__shared__ int few[8]; few[threadIdx.x] = 0; out[0] = few[0];",
            "block 0, thread 8: expected an index within the array, got another",
        ),
        (
            "out[0] = 5 / (int)threadIdx.x;",
            "block 0, thread 0: expected a divisor other than 0, got 0",
        ),
        (
            "out[0] = (int)(1e10f + threadIdx.x);",
            "f.cu:3: block 0, thread 0: expected a number that the integer can hold, got another",
        ),
        (
            "out[0] = 1 << (threadIdx.x + 20);",
            "block 0, thread 12: expected a shift by fewer bits than there are, got more",
        ),
        (
            "*(float4*)(out + threadIdx.x) = make_float4(1, 2, 3, 4);",
            "block 0, thread 1: expected an aligned address, got another",
        ),
        (
            "out[BLOCK + threadIdx.x] = 1;",
            "expected writes within the buffers, got one behind it, at that of parameter 'out'",
        ),
        ("out[-1 - (int)threadIdx.x] = 1;", "got one before it, at that of parameter 'out'"),
        (
            "volatile char much[70000]; for (int i = 0; i < 70000; ++i) much[i] = 1;",
            "expected at most 65536 bytes of local memory",
        ),
    ],
)
def test_a_kernel_that_does_what_it_may_not_is_named(
    body: str, message: str, runtime: HostRuntime
) -> None:
    out = runtime.allocate(BLOCK, np.int32)
    with pytest.raises(DeviceError) as error:
        rows(runtime, kernel(body), [out])
    assert str(error.value).startswith("f.cu: kernel 'f': ")
    assert message in str(error.value)
    rows(runtime, kernel("__syncthreads();"), [runtime.allocate(1, np.int32)])  # it goes on


def test_a_kernel_without_a_grid_stride_loop_leaves_elements_out(fast: HostRuntime) -> None:
    program = fast.build(kernel("out[blockIdx.x * blockDim.x + threadIdx.x] = 1;"), "f.cu", "float")
    out = fast.allocate(100, np.int32)
    fast.launch(program, "f", 100, [np.uint64(100), out])
    assert on_host(fast, out).tolist() == [1] * 12 + [-1] * 88


def test_kernels_that_work_together_are_found_through_what_they_call() -> None:
    source = """
    #define WAIT() \\
      __syncthreads()
    __device__ void waits() { if (true) { WAIT(); } }  // __shared__
    struct Sum { __device__ void all() { __shared__ int x; } };
    /* BLOCK */ __device__ const int table[] = {1, 2};
    extern "C" __global__ void __launch_bounds__(256) alone(int n) { n = table[0]; }
    extern "C" __global__ void calls(int n) { waits(); }
    extern "C" __global__ void holds(int n) { Sum sum; }
    extern "C" __global__ void knows(int n) { n = BLOCK; }"""
    kernels = {"alone", "calls", "holds", "knows"}
    assert working_together(source) & kernels == kernels - {"alone"}


def test_mathematics_follows_cuda(fast: HostRuntime) -> None:
    cases = {
        "max(1.0f, NAN)": 1,
        "min(NAN, 2.0f)": 2,
        "fmax(-INFINITY, -3.0f)": -3,
        "max(3, 4u)": 4,
        "min(-1LL, 2LL)": -1,
        "rsqrt(4.0f)": 0.5,
        "pow(2.0f, 3)": 8,
        "isnan(NAN) + isinf(-INFINITY) + isfinite(1.0) + signbit(-0.0f)": 4,
        "__umulhi(0x80000000u, 6u)": 3,
        "__umul64hi(1ull << 63, 10ull)": 5,
        "__mul64hi(-1LL, 2LL)": -1,
        "__float2int_rn(2.5f)": 2,
        "__float2int_rz(-2.5f)": -2,
        "__double2int_rd(-2.5)": -3,
        "__float2uint_rn(-2.0f)": 0,
        "__float2int_rn(3e9f) == 2147483647": 1,
        "__float2int_rn(NAN)": 0,
        "__clz(1) + __popc(7u) + __ffs(8)": 38,
        "__int_as_float(0x40000000)": 2,
        "__double_as_longlong(__longlong_as_double(12LL))": 12,
        "fma(2.0f, 3.0f, 4.0f) + __fmul_rn(2, 2) + __dadd_rn(1, 1)": 16,
        "make_float4(1, 2, 3, 4).w": 4,
        "abs(-2.5f) + abs(-2)": 4.5,
        "sizeof(uchar4) + alignof(float4)": 20,
    }
    body = "".join(f"out[{i}] = {case};\n" for i, case in enumerate(cases))
    (found,) = each_thread(fast, body, np.float32)
    assert dict(zip(cases, found.tolist(), strict=False)) == cases

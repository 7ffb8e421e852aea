"""CUDA source in an op: what is sent to a runtime, and that the numbers are the numpy body's."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.record import recorded, step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Op, Ops
from caffepy.engine.ops.cuda import nvrtc
from caffepy.engine.ops.kernels import Kernels, signatures
from caffepy.engine.ops.numpy.backend import NumpyOps
from tests import host_compiler
from tests.host_runtime import HostRuntime

LOOP = "for (size_t i = blockIdx.x * blockDim.x + threadIdx.x; i < count; " + (
    "i += gridDim.x * blockDim.x)"
)
SOURCE = f"""
__device__ T squared(T x) {{ return x * x; }}

extern "C" __global__ void axpy(size_t count, T factor, const T* x, T* out) {{
  {LOOP}  // any grid
    out[i] = factor * squared(x[i]) + cos(x[i]);
}}

extern "C" __global__ void gather(int count, int stride, bool negate, const T* x, T* add_w) {{
  {LOOP.replace("size_t", "int")}
    add_w[i] += (negate ? -1 : 1) * x[i * stride];
}}
"""


class Axpy(Op):
    """factor x^2 + cos(x), and a strided sum; by numpy, or by the kernels above."""

    def __init__(self, ops: Ops, factor: float) -> None:
        super().__init__(ops)
        self.factor = factor
        self.kernels = Kernels(ops, SOURCE, "axpy.cu")

    @step(reads="x", writes="out")
    def forward(self, x: Value, *, out: Value) -> None:
        if self.kernels:
            self.kernels.launch("axpy", x.count, self.factor, x, out)
        else:
            source = x.read().copy()
            out.write()[...] = self.ops.dtype.type(self.factor) * source**2 + np.cos(source)

    @step(reads="x", adds="add_w")
    def gather(self, x: Value, *, add_w: Value) -> None:
        if self.kernels:
            self.kernels.launch("gather", add_w.count, 2, True, x, add_w)
        else:
            w = add_w.modify()
            w -= x.read().reshape(-1)[: 2 * w.size : 2]


def make_value(content: Any, ops: Ops) -> Value:
    value = Value(np.shape(content), ops.dtype)
    value.write()[...] = content
    return value


@pytest.fixture(params=["host", pytest.param("cupy", marks=pytest.mark.gpu)])
def runtime(request: pytest.FixtureRequest) -> Any:
    """What runs kernels: g++ everywhere, cupy where there is a GPU."""
    if request.param == "host":
        return HostRuntime(request.getfixturevalue("host_folder"))
    return request.getfixturevalue("gpu_runtime")


@pytest.fixture
def kernel_ops(host_folder: Path) -> NumpyOps:
    """A float32 backend that runs kernels on the host."""
    ops = NumpyOps()
    ops.runtime = HostRuntime(host_folder)
    return ops


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [0, 1, 12, 13, 1009])
def test_kernels_give_the_numbers_of_the_numpy_body(count: int, dtype: Any, runtime: Any) -> None:
    content = np.random.default_rng(0).standard_normal(count)
    results = []
    for one in (None, runtime):
        ops = NumpyOps(dtype)
        ops.runtime = one
        x, w = make_value(content, ops), make_value(np.ones(count // 2), ops)
        out = Value((count,), dtype)
        op = Axpy(ops, 0.3)
        op.forward(x, out=out)
        op.gather(x, add_w=w)
        op.gather(x, add_w=w)
        op.forward(x, out=x)  # in place
        results.append([value.read().copy() for value in (x, w, out)])
    tolerance = 50 * np.finfo(dtype).eps  # the same operations, by another library's cosine
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_a_recorded_launch_runs_again_on_what_is_there_then(kernel_ops: NumpyOps) -> None:
    x, out = make_value([0.0, 1.0], kernel_ops), Value((2,))
    op = Axpy(kernel_ops, 2.0)
    steps = recorded(kernel_ops, lambda: op.forward(x, out=out))
    x.write()[...] = [2.0, 3.0]
    for each in steps:
        each()
    np.testing.assert_allclose(out.read(), 2 * np.array([4.0, 9.0]) + np.cos([2.0, 3.0]), 1e-6)


def test_values_are_brought_to_the_device_and_stay_there(kernel_ops: NumpyOps) -> None:
    x, out = make_value([1.0], kernel_ops), Value((1,))
    Axpy(kernel_ops, 1.0).forward(x, out=out)
    assert out.fresh_layout is kernel_ops.runtime.layout


def test_a_source_is_compiled_once(kernel_ops: NumpyOps, tmp_path: Path) -> None:
    kernel_ops.runtime = HostRuntime(tmp_path)
    for factor in (1.0, 2.0):
        x = make_value([1.0], kernel_ops)
        Axpy(kernel_ops, factor).forward(x, out=Value((1,)))
    assert len(list(tmp_path.iterdir())) == 1


def test_the_signature_of_a_kernel_is_read_past_comments() -> None:
    source = """extern "C" __global__ void __launch_bounds__(256)
    f(unsigned long long count, // of x, elements
      const T * __restrict__ x, /* (N, C) */ float alpha, T* add_out) {}"""
    (parameters,) = signatures(source, "f.cu").values()
    told = [(one.name, one.type, one.pointer, one.const) for one in parameters]
    assert told == [
        ("count", "unsigned long long", False, False),
        ("x", "T", True, True),
        ("alpha", "float", False, False),
        ("add_out", "T", True, False),
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("void f(int n) {}", r"f.cu: expected a kernel, .*, got none"),
        (
            'extern "C" __global__ void f(const T* x) {}',
            "kernel 'f': expected the count of elements as first parameter, .* got 'x'",
        ),
        (
            'extern "C" __global__ void f(int count, short x) {}',
            "kernel 'f': parameter 'short x': expected one of the types T, float",
        ),
        ('extern "C" __global__ void f() {}', "parameter '': expected one of the types"),
    ],
)
def test_a_source_that_cannot_be_launched_is_refused(source: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        Kernels(NumpyOps(), source, "f.cu")


@pytest.mark.parametrize(
    ("kernel", "count", "arguments", "message"),
    [
        ("axpi", 2, (), "kernel 'axpi': expected one of axpy, gather, got another name"),
        ("axpy", 2, (1.0,), r"expected 3 argument\(s\) behind the count, got 1"),
        ("axpy", 2, ("x", "y", "out"), "parameter 'factor': expected a number, got a Value"),
        ("axpy", 2, (1.0, 2.0, "out"), "parameter 'x': expected a Value, got a float"),
        ("axpy", 2, (1.0, "double", "out"), "expected a Value of float32, got one of float64"),
        ("axpy", -1, (1.0, "x", "out"), "'count': expected a whole number from 0 to 18446"),
        ("gather", 2, (1 << 31, False, "x", "out"), "'stride': expected a whole number from -214"),
        ("gather", 2, (1.5, False, "x", "out"), "'stride': expected a whole number .*, got 1.5"),
        ("gather", 2, (math.nan, False, "x", "out"), "'stride': expected a whole .*, got nan"),
    ],
)
def test_arguments_that_do_not_fit_the_kernel_are_refused(
    kernel: str, count: int, arguments: Any, message: str, kernel_ops: NumpyOps
) -> None:
    values = {
        "x": make_value([1.0, 2.0], kernel_ops),
        "y": make_value([1.0, 2.0], kernel_ops),
        "out": Value((2,)),
        "double": Value((2,), np.float64),
    }
    given = [values.get(each, each) for each in arguments]
    with pytest.raises(DeviceError, match=message):
        Kernels(kernel_ops, SOURCE).launch(kernel, count, *given)


WRONG = SOURCE.replace("squared(x[i])", "squard(x[i])")


def test_what_the_compiler_says_is_shown_with_the_line(kernel_ops: NumpyOps) -> None:
    x = make_value([1.0], kernel_ops)
    with pytest.raises(DeviceError, match=r"^axpy.cu:6: g\+\+: .* an error in 'out\[i\] = factor"):
        Kernels(kernel_ops, WRONG, "axpy.cu").launch("axpy", 1, 1.0, x, x)


needs_nvrtc = pytest.mark.skipif(nvrtc.available() is not None, reason=str(nvrtc.available()))


@needs_nvrtc
@pytest.mark.parametrize("element", ["float", "double"])
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_nvrtc_compiles_without_a_gpu(arch: str, element: str) -> None:
    ptx = nvrtc.compile_ptx(SOURCE, "axpy.cu", arch=arch, element=element).decode()
    assert f".target {arch}" in ptx
    assert ".visible .entry axpy(" in ptx
    assert ".visible .entry gather(" in ptx


@needs_nvrtc
def test_nvrtc_says_what_is_wrong_in_which_line() -> None:
    with pytest.raises(DeviceError) as error:
        nvrtc.compile_ptx(WRONG, "axpy.cu")
    first, *rest = str(error.value).split("\n")
    assert first == (
        "axpy.cu:6: NVRTC for sm_80: expected source that compiles, got an error in 'out[i] = "
        "factor * squard(x[i]) + cos(x[i]);'. Correct the kernel."
    )
    assert rest[0] == 'axpy.cu(6): error: identifier "squard" is undefined'


@needs_nvrtc
def test_nvrtc_refuses_an_unknown_architecture() -> None:
    with pytest.raises(DeviceError, match="NVRTC for sm_1: expected source that compiles"):
        nvrtc.compile_ptx(SOURCE, arch="sm_1")


def test_a_long_log_is_cut() -> None:
    message = nvrtc.compile_failure("x", "x.cu", "cc", "\n".join(map(str, range(99))))
    assert message.count("\n") == nvrtc.LOG_LINES + 1
    assert message.endswith("29\n(69 lines more)")


def test_where_nvrtc_is_missing_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(nvrtc.ENVIRONMENT_VARIABLE, str(tmp_path / "none.so"))
    nvrtc._library.cache_clear()
    try:
        with pytest.raises(DeviceError, match="Install nvidia-cuda-nvrtc-cu12, or name the file"):
            nvrtc.compile_ptx(SOURCE)
        assert nvrtc.available() is not None
    finally:
        nvrtc._library.cache_clear()


def test_only_the_gpu_backend_has_a_runtime(ops: Ops) -> None:
    on_gpu = ops.name == "cuda"
    assert (ops.runtime is not None) == on_gpu
    assert bool(Kernels(ops, SOURCE)) == on_gpu


def test_without_a_compiler_the_host_runtime_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_compiler, "COMPILER", "no-such-compiler")
    assert host_compiler.missing() == "needs the compiler no-such-compiler"

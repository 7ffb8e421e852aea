"""HostRuntime: runs CUDA kernels on the CPU, compiled by g++ under a small header.

The threads of a grid run one after the other, so a kernel may not wait for others (no
__syncthreads, no shared memory).
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda.nvrtc import compile_failure
from caffepy.engine.ops.kernels import Parameter, instantiated, signatures

COMPILER = "g++"
# A grid smaller than most counts, so that a kernel without a grid-stride loop is found out.
BLOCKS, THREADS = 3, 4

_HEADER = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <algorithm>
#define __global__
#define __device__ inline
#define __forceinline__
#define __launch_bounds__(...)
struct Dim { unsigned x, y, z; };
static thread_local Dim gridDim{1, 1, 1}, blockDim{1, 1, 1}, blockIdx, threadIdx;
using std::max;
using std::min;
inline float rsqrt(float x) { return 1 / sqrt(x); }
inline double rsqrt(double x) { return 1 / sqrt(x); }
"""


class DeviceLayout:
    """C order in memory of its own, as on a GPU: what is not copied over is not there."""

    def bytes(self, shape: tuple[int, ...], dtype: np.dtype) -> int:
        return 0

    def allocate(
        self, shape: tuple[int, ...], dtype: np.dtype, memory: np.ndarray | None = None
    ) -> np.ndarray:
        return np.full(shape, np.nan, dtype)

    def load(self, plain: np.ndarray, buffer: np.ndarray) -> None:
        np.copyto(buffer, plain)

    def store(self, buffer: np.ndarray, plain: np.ndarray) -> None:
        np.copyto(plain, buffer)

    def convert(self, source: Any, content: Any, buffer: np.ndarray) -> bool:
        return False

    def elements(self, buffer: np.ndarray) -> np.ndarray:
        return buffer.reshape(-1)


DEVICE = DeviceLayout()


def missing() -> str | None:
    """Why there is no HostRuntime here; None where there is."""
    return None if shutil.which(COMPILER) else f"needs the compiler {COMPILER}"


class HostRuntime:
    """A Runtime on host memory. folder: keeps the compiled objects, by the hash of their source."""

    layout = DEVICE

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def build(self, source: str, name: str, element: str) -> ctypes.CDLL:
        launchers = (_launcher(*one) for one in signatures(source, name).items())
        text = "\n".join((_HEADER, instantiated(source, name, element), *launchers))
        path = self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.so"
        if not path.exists():
            self._compile(text, path, source, name)
        return ctypes.CDLL(str(path))

    def launch(self, program: Any, kernel: str, count: int, arguments: Sequence[Any]) -> None:
        sent = []
        for argument in arguments:
            if isinstance(argument, np.generic):
                sent.append(np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item()))
            else:
                assert argument.flags.c_contiguous
                sent.append(ctypes.c_void_p(argument.ctypes.data))
        getattr(program, f"launch_{kernel}")(BLOCKS, THREADS, *sent)

    def _compile(self, text: str, path: Path, source: str, name: str) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            code, built = Path(folder, "code.cpp"), Path(folder, "code.so")
            code.write_text(text, encoding="utf-8")
            command = [COMPILER, "-O1", "-std=c++17", "-shared", "-fPIC", code, "-o", built]
            run = subprocess.run(command, capture_output=True, text=True, check=False)
            if run.returncode:
                raise DeviceError(compile_failure(source, name, COMPILER, run.stderr))
            os.replace(built, path)


def _launcher(kernel: str, parameters: Sequence[Parameter]) -> str:
    """A C function that runs a kernel for all threads of a grid."""
    declared = ", ".join(
        f"{'const ' if one.const else ''}{one.type} {'*' if one.pointer else ''}{one.name}"
        for one in parameters
    )
    names = ", ".join(one.name for one in parameters)
    return (
        f'extern "C" void launch_{kernel}(unsigned blocks_, unsigned threads_, {declared}) {{\n'
        "  gridDim.x = blocks_; blockDim.x = threads_;\n"
        "  for (blockIdx.x = 0; blockIdx.x < blocks_; ++blockIdx.x)\n"
        "    for (threadIdx.x = 0; threadIdx.x < threads_; ++threadIdx.x)\n"
        f"      {kernel}({names});\n"
        "}\n"
    )

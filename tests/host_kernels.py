"""Small kernels on the host runtime, for its own tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tests.host_memory import DeviceArray
from tests.host_runtime import HostRuntime


def kernel(body: str, parameters: str = "int* out", before: str = "") -> str:
    return f"""{before}
extern "C" __global__ void f(size_t count, {parameters}) {{
  {body}
}}"""


def on_device(runtime: HostRuntime, content: Any) -> DeviceArray:
    array = np.asarray(content)
    buffer = runtime.allocate(array.size, array.dtype)
    runtime.upload(array, buffer)
    return buffer


def on_host(runtime: HostRuntime, buffer: DeviceArray) -> np.ndarray:
    target = np.empty(buffer.size, buffer.dtype)
    runtime.download(buffer, target)
    return target


def rows(runtime: HostRuntime, source: str, buffers: Sequence[DeviceArray], count: int = 1) -> None:
    """Launches kernel f by rows."""
    program = runtime.build(source, "f.cu", "float")
    runtime.launch_rows(program, "f", count, [np.uint64(count), *buffers])

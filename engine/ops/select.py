"""Choosing the backend that a run uses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps

if TYPE_CHECKING:
    from caffepy.engine.ops.cuda.port import Dnn

ENGINES = ("auto", "numpy", "onednn")


def make_ops(engine: str = "auto", threads: int | None = None, dtype: Any = np.float32) -> Ops:
    """The backend of that name; logs one line about it.

    engine: "auto" takes oneDNN where it is installed and dtype is float32, else numpy.
    threads: that the backend computes with; all cores by default.
    dtype: of all values, float32 or float64.

    Raises: DeviceError where there is no such engine, or it cannot run here.
    """
    if engine not in ENGINES:
        raise DeviceError(f"engine: expected one of {', '.join(ENGINES)}, got '{engine}'.")
    if threads is not None and threads < 1:
        raise DeviceError(
            f"threads: expected at least 1, got {threads}. Leave it out for all cores."
        )
    dtype = np.dtype(dtype)
    why = "as asked"
    if engine == "auto":
        missing = _why_not_onednn(dtype)
        engine, why = ("onednn", "") if missing is None else ("numpy", missing)
    if engine == "numpy":
        log.info(f"Engine: numpy {np.__version__}, {dtype} ({why})")
        return _numpy_ops(threads, dtype)
    from caffepy.engine.ops.onednn.backend import OneDnnOps

    ops = OneDnnOps(dtype, threads)
    log.info(f"Engine: oneDNN {ops.library.version} of {ops.library.path}, {dtype}")
    return ops


def make_gpu_ops(
    gpu: str = "0",
    precision: str = "tf32",
    deterministic: bool = False,
    dtype: Any = np.float32,
    asked_by: str = "gpu",
    keep_data: bool = False,
    instead: str = "run on the CPU",
) -> Ops:
    """The backend on a GPU; logs what it is.

    gpu: its number, or "all".  precision, deterministic, keep_data: see CudaOps.
    asked_by, instead: what wants it, and what to do without it, for messages.

    Raises: DeviceError where there is none that can be used, or no such one.
    """
    from caffepy.engine.ops.cuda import runtime
    from caffepy.engine.ops.cuda.backend import CudaOps

    reason = runtime.available()
    if reason is not None:
        raise DeviceError(
            f"{asked_by}: expected a GPU that can be used, got none: {reason} Or {instead}."
        )
    device = runtime.CupyRuntime(_chosen(gpu, runtime.count(), asked_by))
    ops = CudaOps(device, dtype, precision, deterministic, keep_data)
    properties = device.properties()
    log.info(f"Use GPU with device ID {properties.index}")
    log.info(f"GPU {properties.index}: {properties.name}")
    log.info(f"Engine: CUDA, {ops.dtype}, products in {ops.precision}")
    log.info(f"Convolutions: {_by(device.dnn, ops.dtype)}")
    return ops


def _by(dnn: Dnn | str, dtype: np.dtype) -> str:
    """What convolutions on a GPU run by."""
    if isinstance(dnn, str):
        return f"by columns. {dnn}"
    return f"by cuDNN {dnn.version}" if dtype == np.float32 else "by columns, as in float64"


def _chosen(gpu: str, count: int, asked_by: str) -> int:
    """The index that a text names. Raises: DeviceError."""
    names = [name.strip() for name in gpu.split(",")]
    indices = list(range(count)) if gpu == "all" else [int(one) for one in names if one.isdigit()]
    there = "GPU 0, the only one" if count == 1 else f"a GPU from 0 to {count - 1}"
    if (gpu != "all" and len(indices) != len(names)) or not all(one < count for one in indices):
        raise DeviceError(
            f"{asked_by}: expected {there}, got '{gpu}'. `caffepy device_query` lists what there "
            "is."
        )
    if len(indices) > 1:
        raise DeviceError(
            f"{asked_by}: expected one GPU, got {len(indices)}: this version of caffepy runs "
            f"on one. Name it: --gpu {indices[0]}."
        )
    return indices[0]


def _why_not_onednn(dtype: np.dtype) -> str | None:
    """None where oneDNN can be used."""
    if dtype != np.float32:
        return f"oneDNN computes in float32, not {dtype}"
    from caffepy.engine.ops.onednn.self_test import usable

    return usable()


def _numpy_ops(threads: int | None, dtype: np.dtype) -> Ops:
    if threads is not None:
        import threadpoolctl

        threadpoolctl.threadpool_limits(threads, user_api="blas")
    return NumpyOps(dtype, threads)

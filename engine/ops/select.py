"""Choosing the backend that a run uses."""

from __future__ import annotations

from typing import Any

import numpy as np

from caffepy.engine.core import log
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.numpy.backend import NumpyOps

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

"""Our backend on a GPU, for benchmarks."""

from __future__ import annotations

from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.select import make_gpu_ops


def gpu_ops(gpu: str, precision: str = "tf32", keep_data: bool = False) -> CudaOps:
    """With memory of its own. Raises: SystemExit where there is no such GPU, with the reason."""
    try:
        ops = make_gpu_ops(gpu, precision, asked_by=f"--gpu {gpu}", keep_data=keep_data)
    except DeviceError as error:
        raise SystemExit(str(error)) from None
    assert isinstance(ops, CudaOps)
    return ops

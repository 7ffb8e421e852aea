"""What CUDA tells of GPUs, through cupy's runtime functions, which `runtime.py` hands over."""

from __future__ import annotations

from typing import Any

from caffepy.engine.ops.cuda.port import DeviceProperties

NO_DEVICE, INSUFFICIENT_DRIVER = 100, 35  # cudaError_t
PACKAGES = "caffepy[cuda12], or caffepy[cuda13] where the driver is for CUDA 13"
NOT_INSTALLED = f"cupy is not installed. Install {PACKAGES}."


def broken(error: ImportError) -> str:
    """What to say of a cupy that cannot be imported."""
    said = " ".join(str(error).split())
    return f"cupy does not load: {said}. Install {PACKAGES}."


def lack(cuda: Any) -> str | None:
    """What is missing for a GPU to be used; None where nothing is."""
    try:
        found = cuda.getDeviceCount()
    except cuda.CUDARuntimeError as error:
        if error.status == INSUFFICIENT_DRIVER:
            return _wrong_driver(cuda)
        if error.status != NO_DEVICE:
            return f"CUDA does not start: {error}. Look at what nvidia-smi says."
        found = 0
    return None if found else "there is no NVIDIA GPU. Look at nvidia-smi and CUDA_VISIBLE_DEVICES."


def properties(cuda: Any, index: int) -> DeviceProperties:
    """What a GPU is."""
    told = cuda.getDeviceProperties(index)

    def attribute(name: str) -> int:
        value: int = cuda.deviceGetAttribute(getattr(cuda, f"cudaDevAttr{name}"), index)
        return value

    # Attributes rather than properties: CUDA 13 has taken some of these out of the latter.
    return DeviceProperties(
        index=index,
        name=told["name"].decode(errors="replace"),
        major=told["major"],
        minor=told["minor"],
        total_memory=told["totalGlobalMem"],
        shared_memory_per_block=attribute("MaxSharedMemoryPerBlock"),
        registers_per_block=attribute("MaxRegistersPerBlock"),
        warp_size=attribute("WarpSize"),
        max_pitch=attribute("MaxPitch"),
        max_threads_per_block=attribute("MaxThreadsPerBlock"),
        max_threads=(
            attribute("MaxBlockDimX"),
            attribute("MaxBlockDimY"),
            attribute("MaxBlockDimZ"),
        ),
        max_grid=(attribute("MaxGridDimX"), attribute("MaxGridDimY"), attribute("MaxGridDimZ")),
        clock_khz=attribute("ClockRate"),
        constant_memory=attribute("TotalConstantMemory"),
        texture_alignment=attribute("TextureAlignment"),
        concurrent_copy=bool(attribute("GpuOverlap")),
        multiprocessors=attribute("MultiProcessorCount"),
        kernel_timeout=bool(attribute("KernelExecTimeout")),
    )


def cuda_versions(cuda: Any) -> dict[str, str]:
    """For which CUDA the driver is, and that cupy runs on."""
    return {
        "driver": f"for CUDA {_version(cuda.driverGetVersion())}",
        "CUDA": _version(cuda.runtimeGetVersion()),
    }


def _wrong_driver(cuda: Any) -> str:
    """What to say where the driver is missing, or older than cupy's CUDA."""
    wanted, driver = _version(cuda.runtimeGetVersion()), cuda.driverGetVersion()
    if not driver:
        return f"there is no NVIDIA driver. Install one for CUDA {wanted} or later."
    return (
        f"the driver is for CUDA {_version(driver)}, and cupy for CUDA {wanted}. Install a later "
        "driver, or the cupy for its CUDA."
    )


def _version(number: int) -> str:
    """12.4 of 12040."""
    return f"{number // 1000}.{number % 1000 // 10}"

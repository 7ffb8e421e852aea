"""Which of the packages that a GPU needs are installed; nothing is imported for that."""

from __future__ import annotations

import importlib.metadata

# What it is: the packages that may bring it, the one for CUDA 12 first.
PACKAGES = {
    "cupy": ("cupy-cuda12x", "cupy-cuda13x", "cupy"),
    "cuBLAS": ("nvidia-cublas-cu12", "nvidia-cublas"),
    "NVRTC": ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc"),
    "cuDNN": ("nvidia-cudnn-cu12", "nvidia-cudnn-cu13"),
    "cuDNN frontend": ("nvidia-cudnn-frontend",),
}


def installed() -> dict[str, str]:
    """`nvidia-cudnn-cu12 9.1.0` by what it is, for each that is a package; conda and the system
    may bring libraries too."""
    found = {}
    for name, packages in PACKAGES.items():
        for package in packages:
            try:
                found[name] = f"{package} {importlib.metadata.version(package)}"
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return found

"""Packaging: maps the top-level folders into the import name `caffepy` (see CONTRIBUTING.md)."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
PARTS = ("engine", "layers", "models", "proto", "tools")

packages = find_packages(str(ROOT), include=["caffepy", "caffepy.*", "caffe", "caffe.*"])
for part in PARTS:  # sub-packages are found, so a new one cannot be missing from the wheel
    packages += [f"caffepy.{part}"]
    packages += [f"caffepy.{part}.{sub}" for sub in find_packages(str(ROOT / part))]

version = re.search(r'__version__ = "(.+)"', (ROOT / "caffepy/__init__.py").read_text())[1]

TEST = [
    "pytest>=8",
    "hypothesis>=6",
    "import-linter>=2",
    "setuptools>=70.1",
    "nvidia-cuda-nvrtc-cu12>=12.2; sys_platform == 'linux' and platform_machine == 'x86_64'",
]
CHECK = ["ruff", "mypy", "types-protobuf"]
PLOT = ["matplotlib>=3.9"]


FRONTEND = "nvidia-cudnn-frontend>=1.10,<1.28"  # later ones bring a compiler that is not used
LINUX = "; sys_platform == 'linux'"
CUDA12 = [
    "cupy-cuda12x>=13.3",
    "nvidia-cublas-cu12",
    "nvidia-cuda-nvrtc-cu12>=12.2",
    "nvidia-cudnn-cu12>=9",
    FRONTEND,
    "nvidia-nccl-cu12" + LINUX,
]
CUDA13 = [
    "cupy-cuda13x>=13.6",
    "nvidia-cublas>=13",
    "nvidia-cuda-nvrtc>=13",
    "nvidia-cudnn-cu13>=9",
    FRONTEND,
    "nvidia-nccl-cu13" + LINUX,
]

setup(
    name="caffepy",
    version=version,
    description="Trains, tests and deploys Caffe prototxt nets: pip install, no compiler",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="BSD-2-Clause",
    python_requires=">=3.10",
    packages=packages,
    package_dir={"caffepy": "caffepy", **{f"caffepy.{part}": part for part in PARTS}},
    package_data={
        "caffepy": ["py.typed"],
        "caffepy.engine.ops.cuda": ["kernels/*.cu", "kernels/*.cuh"],
        "caffepy.models": ["**/*"],
        "caffepy.proto": ["*.proto", "*.pyi"],
    },
    install_requires=[
        "protobuf>=4.21",
        "numpy>=1.24",
        "lmdb>=1.4",
        "h5py>=3.8",
        "opencv-python-headless>=4.7",
        "click>=8.1",
        "rich>=13",
        "threadpoolctl>=3.1",
        "plyvel>=1.5; sys_platform == 'linux' and python_version < '3.13'",
        "onednn-cpu-gomp>=2023.2; sys_platform == 'linux' and platform_machine == 'x86_64'",
    ],
    extras_require={
        "plot": PLOT,
        "cuda12": CUDA12,
        "cuda13": CUDA13,  # the two exclude each other
        "test": [*TEST, *PLOT],
        "check": CHECK,
        "all": [*PLOT, *CUDA12],  # drivers for CUDA 13 run it too
    },
    entry_points={
        "console_scripts": [
            "caffepy=caffepy.tools.cli:main",
            "caffe=caffepy.tools.cli:main",
        ]
    },
)

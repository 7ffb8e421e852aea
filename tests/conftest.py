"""Fixtures that every test may use."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest

from caffepy.engine import extensions, pymodule
from caffepy.engine.core import registry
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda import runtime
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.ops.cuda.port import CudaRuntime, Graph
from caffepy.engine.ops.geometry import ConvolutionGeometry
from caffepy.engine.ops.numpy.backend import NumpyOps
from caffepy.engine.ops.onednn.backend import OneDnnOps
from caffepy.engine.ops.onednn.library import available
from tests import host_compiler
from tests.devices import DEVICES, Noted, Unpooled, device
from tests.host_runtime import HostRuntime
from tests.padded_ops import PaddedOps

TESTS = Path(__file__).resolve().parent


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Skips what reads or writes a LevelDB where there is no plyvel (Python 3.13 and later)."""
    try:
        yield
    except DeviceError as error:
        if importlib.util.find_spec("plyvel") is None and "backend leveldb" in str(error):
            pytest.skip(str(error))
        raise


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what needs a GPU where there is none, but for the test that says so, unless `-m`
    asks for it."""
    if "gpu" in config.option.markexpr or runtime.available() is None:
        return
    left_out = [item for item in items if item.get_closest_marker("gpu") is not None]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item.get_closest_marker("gpu") is None]


@pytest.fixture(scope="session")
def golden() -> Path:
    """Recorded results of Caffe that are part of the repository."""
    return TESTS / "golden"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Data that is too big or not ours to embed: a folder beside the checkout, absent elsewhere."""
    folder = TESTS.parent.parent / "shared"
    if not folder.is_dir():
        pytest.skip(f"needs the data folder {folder}, which is not here")
    return folder


@pytest.fixture
def log_as_before() -> Iterator[None]:
    """Takes back what a command, run in this process, has set in the logger."""
    logger = logging.getLogger("caffepy")
    before = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture(params=["numpy", "padded", "onednn", *DEVICES])
def ops(request: pytest.FixtureRequest) -> Ops:
    """Every backend that a layer must run on, in float32."""
    if request.param == "onednn":
        return onednn_ops()
    if request.param in ("numpy", "padded"):
        return {"numpy": NumpyOps, "padded": PaddedOps}[request.param](np.float32)
    return CudaOps(device(request), np.float32, precision="fp32")


def onednn_ops() -> Ops:
    """The oneDNN backend; skips the test where the library is missing."""
    reason = available()
    if reason is not None:
        pytest.skip(reason)
    return OneDnnOps(np.float32)


@pytest.fixture
def wide_vectors() -> None:
    """Skips the test where oneDNN has no code for AVX-512: on other processors it has other
    layouts, and numpy more of the work, with the same numbers."""
    geometry = ConvolutionGeometry((1, 16, 8, 8), 16, (3, 3), (1, 1), (1, 1), (1, 1), 1)
    op = onednn_ops().convolution(geometry)
    if "avx512" not in op.forward_primitive(False).implementation:
        pytest.skip("needs a processor with AVX-512")


@pytest.fixture(scope="session")
def laid_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages as a wheel lays them out, which tools that read source files can follow."""
    folder = tmp_path_factory.mktemp("packages")
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("caffepy", "caffe"):
        shutil.copytree(TESTS.parent / package, folder / package, ignore=ignore)
    for part in ("engine", "layers", "models", "proto", "tools"):
        shutil.copytree(TESTS.parent / part, folder / "caffepy" / part, ignore=ignore)
    return folder


@pytest.fixture(scope="session")
def host_folder(request: pytest.FixtureRequest) -> Path:
    """Where the host runtime keeps what it compiled; skips the test where it cannot compile."""
    if (reason := host_compiler.missing()) is not None:
        pytest.skip(reason)
    cache = getattr(request.config, "cache", None)  # pytest runs without it where it is told to
    if cache is None:
        temporary: pytest.TempPathFactory = request.getfixturevalue("tmp_path_factory")
        return temporary.mktemp("host_kernels")
    folder: Path = cache.mkdir("host_kernels")
    return folder


@pytest.fixture
def host_runtime(host_folder: Path) -> HostRuntime:
    """A GPU on the CPU."""
    return HostRuntime(host_folder)


@pytest.fixture(scope="session")
def gpu_runtime() -> runtime.CupyRuntime:
    """The first GPU; skips the test where there is none."""
    if (reason := runtime.available()) is not None:
        pytest.skip(reason)
    found = runtime.CupyRuntime()
    if "CAFFEPY_TEST_UNPOOLED" in os.environ:
        found._pool = Unpooled(found._cupy.cuda)
    return found


@pytest.fixture(params=DEVICES)
def cuda_runtime(request: pytest.FixtureRequest) -> CudaRuntime:
    """What the GPU engine runs on: the host everywhere, and a GPU where there is one."""
    return device(request)


@pytest.fixture
def one_gpu(cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch) -> CudaRuntime:
    """The machine's only GPU, as commands and pycaffe see it."""
    monkeypatch.setattr(runtime, "available", lambda: None)
    monkeypatch.setattr(runtime, "count", lambda: 1)
    monkeypatch.setattr(runtime, "CupyRuntime", lambda index: cuda_runtime)
    monkeypatch.setattr(runtime, "properties", lambda index: cuda_runtime.properties())
    return cuda_runtime


@pytest.fixture
def launches(cuda_runtime: CudaRuntime, monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """The graphs that were launched."""
    launched: list[Graph] = []
    capture = cuda_runtime.capture
    monkeypatch.setattr(cuda_runtime, "capture", lambda run: Noted(capture(run), launched))
    return launched


@pytest.fixture
def registry_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes back what is registered besides the tree's layers, and loaded from outside the tree."""
    importlib.import_module("caffepy.layers")
    monkeypatch.setattr(registry, "_classes", dict(registry._classes))
    monkeypatch.setattr(extensions, "_modules", {})
    monkeypatch.setattr(extensions, "_entries", set())


@pytest.fixture
def modules_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Takes back what nets with Python layers import from tmp_path, and do to sys.path."""
    monkeypatch.setattr(sys, "path", sys.path[:])
    for kept in ("_added", "_taken", "_set_aside"):
        monkeypatch.setattr(pymodule, kept, type(getattr(pymodule, kept))())
    yield
    for name, module in list(sys.modules.items()):
        if str(tmp_path) in repr(vars(module).get("__spec__")):
            del sys.modules[name]

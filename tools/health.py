"""What `caffepy doctor` looks at: packages, engines, the machine, and data formats.

Nothing here is imported before it is looked at, so that a broken package is a finding and no
traceback.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffepy.tools import health_gpu
from caffepy.tools.finding import BROKEN, NOTE, Finding


@dataclass(frozen=True)
class Package:
    """module: to import.  distributions: whose it may be, the one to install first.  lost: what
    does not work without it; empty where nothing does."""

    module: str
    distributions: tuple[str, ...]
    lost: str = ""

    @property
    def installed(self) -> dict[str, str]:
        """The versions of the distributions that are there."""
        found = {}
        for name in self.distributions:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        return found


OPENCV = (
    "opencv-python-headless", "opencv-python", "opencv-contrib-python-headless",
    "opencv-contrib-python",
)  # fmt: skip
PACKAGES = (
    Package("numpy", ("numpy",)),
    Package("google.protobuf", ("protobuf",)),
    Package("click", ("click",)),
    Package("rich", ("rich",)),
    Package("threadpoolctl", ("threadpoolctl",)),
    Package("lmdb", ("lmdb",)),
    Package("h5py", ("h5py",)),
    Package("cv2", OPENCV),
    Package("plyvel", ("plyvel",), "LevelDB databases cannot be read"),
    Package("matplotlib", ("matplotlib",), "plot_log draws no pictures"),
)
VARIABLES = (
    "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS", "CAFFEPY_DNNL",
    "ONEDNN_MAX_CPU_ISA", "ONEDNN_VERBOSE", "GLOG_minloglevel", "CUDA_VISIBLE_DEVICES",
)  # fmt: skip
NET = """
layer { name: "data" type: "DummyData" top: "x" top: "y" dummy_data_param {
  data_filler { type: "gaussian" } data_filler { type: "constant" value: 1 }
  shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 } } }
layer { name: "conv" type: "Convolution" bottom: "x" top: "conv"
  convolution_param { num_output: 16 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "y" top: "loss" }
"""  # what each engine trains for two iterations


def examine() -> dict[str, list[Finding]]:
    """All findings, by what they are about."""
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "caffepy": _versions,
        "packages": _packages,
        "engines": _engines,
        "GPU": lambda: health_gpu.findings(_trained),
        "machine": _machine,
        "environment": _environment,
        "data": _data,
    }
    return {title: list(check()) for title, check in checks.items()}


def _versions() -> Iterator[Finding]:
    import caffepy

    yield Finding("caffepy", f"{caffepy.__version__} in {Path(caffepy.__file__).parent}")
    yield Finding("Python", f"{platform.python_version()}, {sys.executable}")
    yield Finding("system", platform.platform())


def _packages() -> Iterator[Finding]:
    for package in PACKAGES:
        yield look_at(package)


def look_at(package: Package) -> Finding:
    """Whether a package can be imported, and whether it is there more than once."""
    installed = package.installed
    versions = " and ".join(f"{name} {version}" for name, version in installed.items())
    state = NOTE if package.lost else BROKEN
    install = f"{sys.executable} -m pip install {package.distributions[0]}"
    try:
        importlib.import_module(package.module)
    except ImportError as error:
        if len(installed) > 1:
            install = _instead_of(package, installed)
        value = f"does not load: {error}" if installed else "not installed"
        lost = f"Without it {package.lost}. " if package.lost else ""
        return Finding(package.module, value, state, f"{lost}Run: {install}")
    if len(installed) > 1:
        remedy = f"They overwrite each other's files. Run: {_instead_of(package, installed)}"
        return Finding(package.module, versions, NOTE, remedy)
    version = installed.get(package.module, versions)  # without a name that is said already
    return Finding(package.module, version or "of no known version")


def _instead_of(package: Package, installed: dict[str, str]) -> str:
    """The commands that leave one of several."""
    pip = f"{sys.executable} -m pip"
    return f"{pip} uninstall -y {' '.join(installed)}; {pip} install {package.distributions[0]}"


def _engines() -> Iterator[Finding]:
    missing: str | None
    try:
        from caffepy.engine.ops.onednn.self_test import usable

        missing = usable()
    except ImportError as error:  # a package is broken, as another finding says
        yield Finding("all", f"do not load: {error}", BROKEN, "Mend the packages first.")
        return
    yield _trained("numpy", _blas())
    if missing is None:
        yield _trained("onednn", _onednn())
        yield Finding("auto takes", "onednn")
    else:
        yield Finding("onednn", "cannot be used", NOTE, missing)
        yield Finding("auto takes", "numpy", NOTE, "Training takes at least twice as long.")


def _blas() -> str:
    """What numpy multiplies matrices with."""
    import numpy as np
    import threadpoolctl

    pools = [
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} thread(s)"
        for pool in threadpoolctl.threadpool_info()
        if pool["user_api"] == "blas"
    ]
    return f"numpy {np.__version__}; {'; '.join(pools) or 'no BLAS that it tells of'}"


def _onednn() -> str:
    """What was found of oneDNN."""
    from caffepy.engine.ops.onednn.binding import Algorithm, Descriptor, Pass, describe
    from caffepy.engine.ops.onednn.library import OPENMP, SEQUENTIAL, library

    found = library()
    image, kernel = Descriptor.any((1, 16, 8, 8)), Descriptor.any((16, 16, 1, 1))
    primitive = describe(
        "convolution_forward", Pass.FORWARD_TRAINING, Algorithm.CONVOLUTION_DIRECT,
        image, kernel, None, image, (1, 1), (0, 0), (0, 0), (0, 0),
    )  # fmt: skip
    runtime = {OPENMP: "OpenMP", SEQUENTIAL: "one thread"}.get(found.cpu_runtime, "TBB")
    threads = "" if found.threads is None else f", {found.threads} thread(s)"
    return (
        f"oneDNN {found.version} of {found.path}; {runtime}{threads}; convolutions by "
        f"{primitive.implementation}; self-test passed"
    )


def _trained(engine: str, value: str) -> Finding:
    """Trains a small net for two iterations."""
    try:
        loss = _train(engine)
    except Exception as error:  # whatever it is, it is the finding
        told = f"training fails: {type(error).__name__}: {error}"
        return Finding(engine, f"{value}; {told}", BROKEN, "Install caffepy again, or report this.")
    if not math.isfinite(loss):
        return Finding(engine, f"{value}; training gives {loss}", BROKEN, "Please report this.")
    return Finding(engine, f"{value}; trains")


def _train(engine: str) -> float:
    """The loss after two iterations."""
    from caffepy.engine.ops.select import make_gpu_ops, make_ops
    from caffepy.engine.solver.settings import Settings
    from caffepy.engine.solver.solver import Solver
    from caffepy.proto import text
    from caffepy.proto.caffe_pb2 import NetParameter, SolverParameter
    from caffepy.tools.common import layer_types

    net = text.parse(NET, NetParameter)
    settings = Settings(
        SolverParameter(net_param=net, base_lr=0.01, lr_policy="fixed", random_seed=1)
    )
    ops = make_gpu_ops() if engine == "cuda" else make_ops(engine)
    solver = Solver(settings, ops=ops, registry=layer_types())
    try:
        solver.step(2)
        return float(solver.net.loss.read())
    finally:
        solver.close()


def _machine() -> Iterator[Finding]:
    from caffepy.engine.machine import allowed_cpus, cpu_limit, memory_bytes

    cpus, limit = allowed_cpus(), cpu_limit()
    value = f"{os.cpu_count()}, of which this process may use {cpus}"
    if limit is None or limit >= cpus:
        yield Finding("CPUs", value)
    else:
        threads = max(1, math.floor(limit))
        remedy = f"More threads than that wait for each other. Give --threads {threads}."
        yield Finding("CPUs", f"{value}, for the time of {limit:g}", NOTE, remedy)
    memory = memory_bytes()
    yield Finding("memory", "unknown" if memory is None else f"{memory / 2**30:.1f} GiB")


def _environment() -> Iterator[Finding]:
    for name in VARIABLES:
        yield Finding(name, os.environ.get(name, "not set"))


def _data() -> Iterator[Finding]:
    """Writes and reads a little of each format."""
    checks: tuple[tuple[str, Callable[[Path], str], str], ...] = (
        ("LMDB", lambda folder: _database(folder, "lmdb"), BROKEN),
        ("LevelDB", lambda folder: _database(folder, "leveldb"), NOTE),
        ("HDF5", _hdf5, BROKEN),
        ("images", _images, BROKEN),
    )
    with tempfile.TemporaryDirectory() as folder:
        for name, check, state in checks:
            try:
                yield Finding(name, check(Path(folder)))
            except Exception as error:  # whatever it is, it is the finding
                remedy = "See the packages above."
                yield Finding(name, f"cannot be used: {error}", state, remedy)


def _database(folder: Path, backend: str) -> str:
    from caffepy.engine.data.db import create_db, open_db

    with create_db(folder / backend, backend) as writer:
        writer.put(b"key", b"value")
    database = open_db(folder / backend, backend)
    try:
        _expect(list(database.records()), [(b"key", b"value")])
    finally:
        database.close()
    return "written and read"


def _hdf5(folder: Path) -> str:
    import h5py

    with h5py.File(folder / "file.h5", "w") as file:
        file["data"] = [1.0, 2.0]
    with h5py.File(folder / "file.h5", "r") as file:
        _expect(file["data"][()].tolist(), [1.0, 2.0])
    return "written and read"


def _images(folder: Path) -> str:
    import numpy as np

    from caffepy.engine.data import images

    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    decoded = images.decode(images.encode(pixels, "png"), "images")
    _expect(decoded.tolist(), pixels.tolist())
    known = [name for name in ("png", "jpg", "bmp", "webp", "tiff") if images.can_encode(name)]
    return f"written and read; {', '.join(known)}"


def _expect(found: Any, wanted: Any) -> None:
    """Raises: ValueError where what was read is not what was written."""
    if found != wanted:
        raise ValueError(f"expected {wanted}, got {found}")

"""RunRecords: what a run was, written beside its snapshots when it begins."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import google.protobuf
import numpy as np

from caffepy import __version__
from caffepy.engine.core import log
from caffepy.engine.core.errors import CaffepyError
from caffepy.engine.files import file_hash, written_whole
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda.backend import CudaOps
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.resolved import input_files, resolved_net, resolved_solver
from caffepy.engine.solver.sources import TRAIN_FIELDS, find_file
from caffepy.proto import text
from caffepy.proto.caffe_pb2 import SolverParameter

HASHED_BYTES = 64 << 20  # larger input files are listed without a hash
_OURS = "Written by caffepy"


def takes_snapshots(param: SolverParameter) -> bool:
    """Whether a run of this solver writes snapshots, and so has a place for its records."""
    return bool(param.snapshot_prefix) and bool(param.snapshot or param.snapshot_after_train)


class RunRecords(Callback):
    """Writes, when training begins, for a snapshot_prefix P:

    P_resolved_solver.prototxt, P_resolved_train.prototxt, P_resolved_test0.prototxt, ...: solver
    and nets as they were built; training by them gives the same run, unless a list of files holds
    names that are relative to a prototxt's folder: those are looked for elsewhere then.
    P_run.json: versions, engine, threads, seed, command line, working directory, time, input files.

    A file of such a name that caffepy did not write stays as it is. What fails to be written is
    warned of.

    command_line: as the process was called.  threads: as asked for, None for all cores.  layers:
    the files or modules with layers of one's own.  on_mismatch: as the solver takes it.
    """

    def __init__(
        self,
        command_line: Sequence[str] = (),
        threads: int | None = None,
        layers: Sequence[str] = (),
        on_mismatch: str = "error",
    ) -> None:
        self._command_line = list(command_line)
        self._threads = threads
        self._layers = layers
        self._on_mismatch = on_mismatch

    def on_start(self, solver: Training) -> None:
        param = solver.settings.param
        prefix = param.snapshot_prefix
        train = Path(f"{prefix}_resolved_train.prototxt")
        tests = [
            Path(f"{prefix}_resolved_test{index}.prototxt")
            for index in range(len(solver.test_nets))
        ]
        path = Path(f"{prefix}_resolved_solver.prototxt")
        head = self._head(path, solver)
        for net_path, net in zip([train, *tests], [solver.net, *solver.test_nets], strict=True):
            _write(net_path, head + text.write(resolved_net(net)))
        resolved = resolved_solver(param, solver.seed, train, tests)
        _write(path, head + text.write(resolved))
        record = json.dumps(self._record(solver), indent=2, default=str)
        _write(Path(f"{prefix}_run.json"), record + "\n")

    def _record(self, solver: Training) -> dict[str, Any]:
        resumed = solver.resumed_from
        return {
            "caffepy": f"{_OURS} {__version__} when training began",
            "python": platform.python_version(),
            "numpy": np.__version__,
            "protobuf": google.protobuf.__version__,
            "platform": platform.platform(),
            "engine": solver.net.ops.name,
            "onednn": _library_version(solver),
            "gpu": _gpu(solver.net.ops),
            "dtype": str(solver.net.ops.dtype),
            "threads": self._threads,
            "cores": os.cpu_count(),
            "seed": solver.seed,
            "command_line": self._command_line,
            "set": [override.text for override in solver.settings.overrides],
            "working_directory": os.getcwd(),
            "started": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
            "process": os.getpid(),
            "resumed_from": None if resumed is None else str(resumed),
            "iteration": solver.iteration,
            "max_iter": solver.settings.param.max_iter,
            "inputs": [_described(path) for path in dict.fromkeys(_inputs(solver))],
        }

    def _head(self, solver_path: Path, solver: Training) -> str:
        """The comment at the top of the resolved files."""
        words = ["caffepy", "train", "--solver", str(solver_path), *_engine(solver.net.ops)]
        for names in self._layers:
            words += ["--layers", names]
        if self._on_mismatch != "error":
            words += ["--on-mismatch", self._on_mismatch]
        path = _python_path((solver.net, *solver.test_nets))
        lines = (
            f"{_OURS} {__version__} when training began: what this run was made of.",
            f"Trains the same again, in {os.getcwd()}:",
            f"  {path}{shlex.join(words)}",
        )
        return "".join("# " + " ".join(line.splitlines()) + "\n" for line in lines)


def _python_path(nets: Sequence[Net]) -> str:
    """What begins a command so that the modules of Python layers are found which lie beside the
    prototxts that the run was begun with; '' where there is no need."""
    folders = [
        str(folder.resolve())
        for net in nets
        if any(layer.type == "Python" for layer in net.layers)
        for folder in net.context.folders
        if folder.resolve() != Path().resolve()
    ]
    if not folders:
        return ""
    earlier = os.environ.get("PYTHONPATH")
    places = [*dict.fromkeys(folders), *([earlier] if earlier else [])]
    return f"PYTHONPATH={shlex.quote(os.pathsep.join(places))} "


def _library_version(solver: Training) -> str | None:
    """The version of the library behind the engine, where it has one."""
    library = getattr(solver.net.ops, "library", None)
    return None if library is None else str(library.version)


def _gpu(ops: Ops) -> dict[str, Any] | None:
    """The GPU that an engine runs on, and how; None on the CPU."""
    if not isinstance(ops, CudaOps):
        return None
    about = ops.runtime.properties()
    return {
        "index": about.index,
        "name": about.name,
        "compute_capability": f"{about.major}.{about.minor}",
        "memory_bytes": about.total_memory,
        "precision": ops.precision,
        "deterministic": ops.deterministic,
        "versions": ops.runtime.versions(),
    }


def _engine(ops: Ops) -> list[str]:
    """The options that choose an engine."""
    if not isinstance(ops, CudaOps):
        return ["--engine", ops.name]
    index = ops.runtime.properties().index
    words = ["--gpu", str(index), "--precision", ops.precision]
    return [*words, "--deterministic"] if ops.deterministic else words


def _inputs(solver: Training) -> Iterator[Path]:
    """The files that the run begins with."""
    settings, param = solver.settings, solver.settings.param
    if settings.path is not None:
        yield settings.path
    named = [getattr(param, field) for field in TRAIN_FIELDS if not field.endswith("_param")]
    for name in [*named, *param.test_net]:
        found = find_file(name, settings.folders) if name else None
        if found is not None:
            yield found
    for names in param.weights:
        yield from (Path(name.strip()) for name in names.split(",") if name.strip())
    if solver.resumed_from is not None:
        yield solver.resumed_from
    for net in (solver.net, *solver.test_nets):
        yield from input_files(net)


def _described(path: Path) -> dict[str, Any]:
    """Size and, up to HASHED_BYTES, hash of a file; of a folder the size of its files."""
    size = digest = None
    try:
        if path.is_dir():
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        else:
            size = path.stat().st_size
            digest = file_hash(path) if size <= HASHED_BYTES else None
    except OSError as error:
        log.warning(f"{path}: cannot be read: {error.strerror}. The run's record lacks its hash.")
    return {"path": str(path), "bytes": size, "sha256": digest}


def _write(path: Path, content: str) -> None:
    """Writes a record; leaves a file alone that is none."""
    try:
        if path.exists() and not _is_ours(path):
            log.warning(
                f"{path}: expected a file that caffepy wrote, or none, got another one. It stays "
                "as it is, and the record of this run is not written: rename it, or choose another "
                "snapshot_prefix."
            )
            return
        with written_whole(path) as temporary:
            temporary.write_bytes(content.encode("utf-8", "surrogateescape"))
    except CaffepyError as error:
        log.warning(f"{error} Training goes on without this record.")
    except OSError as error:
        log.warning(
            f"{path}: cannot be written: {error.strerror or error}. Training goes on without this "
            "record; check the folder, its rights and the free space."
        )


def _is_ours(path: Path) -> bool:
    with open(path, "rb") as file:
        return _OURS.encode() in b"".join(file.readline(200) for _ in range(2))

"""What pycaffe's functions set for the whole process: mode, seed, log; and its small helpers."""

from __future__ import annotations

import logging
import operator
import os
import time
from dataclasses import dataclass
from typing import NoReturn

from caffepy.engine import extensions
from caffepy.engine.core import log
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.random import seed_from_system
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.base import Ops
from caffepy.engine.ops.cuda import runtime as gpu_runtime
from caffepy.engine.ops.cuda.backend import PRECISIONS
from caffepy.engine.ops.select import make_gpu_ops, make_ops


@dataclass
class _Process:
    """seed: what set_random_seed gave.  nets_seeded: how many nets and solvers took one from it.
    gpu: whether nets run on one.  device: which.  precision, deterministic: as for the command
    line.  ops: the backend on it, made with the first net.  gpu_is_told: whether the log says that
    there is none."""

    seed: int | None = None
    nets_seeded: int = 0
    gpu: bool = False
    device: int = 0
    precision: str = "tf32"
    deterministic: bool = False
    ops: Ops | None = None
    gpu_is_told: bool = False


_process = _Process()


# ---- what runs nets


def set_mode_cpu() -> None:
    """Nets that are made from now on run on the CPU, as they do without a word."""
    _process.gpu = False


def set_mode_gpu(precision: str = "tf32", deterministic: bool = False) -> None:
    """Nets that are made from now on run on the GPU. Where there is none that can be used, warns
    once that they run on the CPU all the same, with the same numbers.

    precision: of convolutions and products, "fp32", "tf32", "fp16" or "bf16".
    deterministic: the same bits in every run, where that is slower too.
    Differs: pycaffe's takes no arguments. Nets that were made before stay where they are.

    Raises: DeviceError for another precision.
    """
    if precision not in PRECISIONS:
        raise DeviceError(
            f"set_mode_gpu: precision: expected one of {', '.join(PRECISIONS)}, got '{precision}'. "
            "Choose one of them."
        )
    if (precision, deterministic) != (_process.precision, _process.deterministic):
        _process.precision, _process.deterministic, _process.ops = precision, deterministic, None
    reason = gpu_runtime.available()
    _process.gpu = reason is None
    if reason is not None and not _process.gpu_is_told:
        log.start_unless_set_up()
        log.warning(
            f"set_mode_gpu: expected a GPU that can be used, got none: nets run on the CPU. "
            f"{reason} Or call set_mode_cpu instead."
        )
        _process.gpu_is_told = True


def set_device(device_id: int) -> None:
    """Chooses the GPU for nets that are made from now on. Raises: TypeError where it is no
    number."""
    device = operator.index(device_id)
    if device != _process.device:
        _process.device, _process.ops = device, None


def begin(ops: Ops | None) -> Ops:
    """What each net and solver starts with: the log, layers of installed packages, the backend."""
    log.start_unless_set_up()
    extensions.load_installed()
    if ops is not None:
        return ops
    if not _process.gpu:
        return make_ops()
    if _process.ops is None:  # one for all nets, so that they share parameters on the device
        _process.ops = make_gpu_ops(
            str(_process.device),
            _process.precision,
            _process.deterministic,
            asked_by=f"set_device({_process.device})",
            instead="call set_mode_cpu",
        )
    return _process.ops


def layer_type_list() -> list[str]:
    """The types of layers that a prototxt may name."""
    return list(LAYERS)


# ---- random numbers


def set_random_seed(seed: int) -> None:
    """Makes the random numbers of the nets and solvers that are built from now on repeatable: the
    same ones in the same order have the same numbers. A solver's random_seed counts more."""
    _process.seed = operator.index(seed)
    _process.nets_seeded = 0


def given_seed() -> int | None:
    """The seed of the next net or solver, another one for each; None without set_random_seed."""
    if _process.seed is None:
        return None
    seed = _process.seed + 0x9E3779B9 * _process.nets_seeded
    _process.nets_seeded += 1
    return seed & 0x7FFFFFFF


def next_seed() -> int:
    """`given_seed`, or one from the operating system."""
    seed = given_seed()
    return seed_from_system() if seed is None else seed


# ---- the log


def init_log(level: int = 0, stderr: bool = True) -> None:
    """Sends log lines from a level on to stderr: 0 info, 1 warning, 2 error, 3 and more none.

    stderr: False leaves only errors there.
    Differs: Caffe writes its lines to files in the folder for temporary files otherwise.
    """
    log.start(log.glog_level(level) if stderr else logging.ERROR)


class Timer:
    """Measures how long something takes: start(), stop(), then ms."""

    def __init__(self) -> None:
        self._started: float | None = None
        self._elapsed_ms = 0.0

    def start(self) -> None:
        """Begins to measure, unless it has begun."""
        if self._started is None:
            self._started = time.perf_counter()

    def stop(self) -> None:
        """Ends measuring, if it has begun."""
        if self._started is not None:
            self._elapsed_ms = (time.perf_counter() - self._started) * 1e3
        self._started = None

    @property
    def ms(self) -> float:
        """Milliseconds from the last start to its stop; a running timer is stopped first."""
        self.stop()
        return self._elapsed_ms


# ---- several processes


def solver_count() -> int:
    """How many processes train one net together: 1."""
    return 1


def set_solver_count(count: int) -> None:
    """Raises: DeviceError for more than one."""
    if operator.index(count) != 1:
        _refuse_parallel(f"set_solver_count({count})")


def solver_rank() -> int:
    """Which of these processes this is: 0."""
    return 0


def set_solver_rank(rank: int) -> None:
    """Raises: DeviceError for another one than the first."""
    if operator.index(rank) != 0:
        _refuse_parallel(f"set_solver_rank({rank})")


def set_multiprocess(multiprocess: bool) -> None:
    """Accepted: it says how data are shared among several processes, and there is one."""


def has_nccl() -> bool:
    """Whether processes can train together by NCCL: they cannot."""
    return False


class NCCL:
    """What exchanges parameters and gradients among processes. There is one, so it does nothing:
    scripts for several GPUs run with one. `set_solver_count` refuses more."""

    def __init__(self, solver: object, uid: bytes) -> None:
        """solver: whose net it is for.  uid: as from `new_uid`."""

    @staticmethod
    def new_uid() -> bytes:
        """A name for the processes that belong together."""
        return os.urandom(16)

    def bcast(self) -> None:
        """Gives the parameters to the other processes: there are none."""


def _refuse_parallel(what: str) -> NoReturn:
    raise DeviceError(
        f"{what}: expected one process, got several: this version of caffepy does not train in "
        "parallel. Run the script with one."
    )

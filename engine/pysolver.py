"""Solvers as pycaffe shows them: one class per type, run step by step from Python."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable
from typing import ClassVar

from caffepy.engine import net as engine_net
from caffepy.engine import pymode, table
from caffepy.engine.core import log
from caffepy.engine.core.registry import LAYERS
from caffepy.engine.ops.base import Ops
from caffepy.engine.pybuild import FileName
from caffepy.engine.pycopy import Uncopied
from caffepy.engine.pynet import Net
from caffepy.engine.solver import solver as engine
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.settings import Settings
from caffepy.engine.usercode import raising_as_user
from caffepy.proto.caffe_pb2 import SolverParameter


class Solver(Uncopied):
    """A solver of a prototxt file; what `get_solver` gives for types that have no class of theirs.

        solver = caffe.SGDSolver("solver.prototxt")
        solver.net.copy_from("before.caffemodel")
        solver.step(100)

    Called itself it trains by the type that the file names. In a `with` it ends its threads and
    files at once.

    net, test_nets: its nets.
    solver_mode in the file says nothing: nets run on what the process has chosen.
    Differs: a class with another type than the file's trains with its own, as in Caffe, but says
    so in the log.
    """

    type: ClassVar[str] = ""  # whatever the file says

    def __init__(
        self,
        solver_file: FileName,
        *,
        ops: Ops | None = None,
        on_mismatch: str = "error",
        dialect: str = "",
    ) -> None:
        """Builds the nets. ops: the backend; oneDNN's where it is installed, by default.
        on_mismatch: as for Net.copy_from, for the file's `weights`.  dialect: as for Net.

        Raises: CaffepyError where they cannot be built.
        """
        settings = Settings.read(solver_file)
        self._take_type(settings)
        backend = pymode.begin(ops)
        seed = pymode.given_seed() if settings.param.random_seed < 0 else None
        self._solver = raising_as_user(
            lambda: engine.Solver(
                settings,
                ops=backend,
                registry=LAYERS,
                make_net=functools.partial(engine_net.Net, dialect=dialect),
                seed=seed,
                honour_mode=False,
                keep_diffs=True,
                on_mismatch=on_mismatch,
            )
        )
        self.net: Net = Net.of(self._solver.net)
        self.test_nets: list[Net] = [Net.of(net) for net in self._solver.test_nets]

    def _take_type(self, settings: Settings) -> None:
        """Makes the class's type that of the settings."""
        param = settings.param
        if not self.type or param.type == self.type:
            return
        if param.HasField("type"):
            log.warning(
                f"{settings.where('type')}: expected {self.type}, the type of "
                f"{type(self).__name__}, got {param.type}: it trains by {self.type}. Call "
                "get_solver to have the file's."
            )
        param.type = self.type

    # ---- what it is at

    @property
    def iter(self) -> int:
        """How many updates are done."""
        return self._solver.iteration

    @property
    def lr(self) -> float:
        """The learning rate of the next iteration."""
        policy = copy.copy(self._solver.policy)  # asking the solver's own could count as a step
        return policy.rate(self._solver.iteration)

    @property
    def param(self) -> SolverParameter:
        """The solver's parameters; max_iter, display, base_lr and others may be changed."""
        return self._solver.param

    # ---- running

    def solve(self, resume_file: FileName | None = None) -> None:
        """Trains until max_iter, with the tests and snapshots that are due.

        resume_file: a .solverstate to go on from.
        Raises: CaffepyError; what the user's own layers and callbacks raise.
        """
        if resume_file:
            self.restore(resume_file)
        raising_as_user(self._solver.solve)

    def step(self, iterations: int) -> None:
        """Runs iterations, with the tests and snapshots that are due. Raises: as `solve`."""
        raising_as_user(lambda: self._solver.step(iterations))

    def apply_update(self) -> None:
        """Updates the parameters by the diffs that they have; counts as an iteration."""
        self._solver.apply_update()

    def add_callback(
        self,
        on_start: Callable[[], object] | pymode.NCCL,
        on_gradients_ready: Callable[[], object] | None = None,
    ) -> None:
        """Has one function called before each iteration, another before its update. One NCCL alone
        is for gradients, which one process does not exchange. Raises: TypeError for other things.
        """
        if isinstance(on_start, pymode.NCCL) and on_gradients_ready is None:
            return
        self._solver.callbacks.append(_Functions(on_start, on_gradients_ready))

    # ---- snapshots and weights

    def snapshot(self) -> None:
        """Writes weights and state under snapshot_prefix. Raises: SnapshotError."""
        self._solver.snapshot(must=True)

    def restore(self, path: FileName) -> None:
        """Goes on from a .solverstate. Raises: SnapshotError, and then nothing is changed."""
        self._solver.restore(path)

    def share_weights(self, net: Net) -> None:
        """Makes the parameters of `net` the same memory as those of this solver's net. Raises:
        NetError where shapes differ."""
        net.share_with(self.net)

    # ---- its end, and how it looks

    def close(self) -> None:
        """Ends the threads and files of its nets, as happens when they are no longer used."""
        for net in (self.net, *self.test_nets):
            net.close()

    def __enter__(self) -> Solver:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        net = self._solver.net.name
        return f"{self._title}, iteration {self.iter} of {self.param.max_iter}, net {net!r})"

    def _repr_html_(self) -> str:
        """As notebooks show it: how far it is, and with what."""
        told = [
            ("iteration", f"{self.iter} of {self.param.max_iter}"),
            ("learning rate", f"{self.lr:g} ({self.param.lr_policy})"),
        ]
        nets = [("net", self.net), *(("test net", net) for net in self.test_nets)]
        told += [(name, f"'{net._net.name}', {len(net.layers)} layers") for name, net in nets]
        return table.html(told, title=f"{self._title})")

    @property
    def _title(self) -> str:
        """`Solver('solver.prototxt', SGD`, unclosed"""
        return f"Solver({str(self._solver.settings.path)!r}, {self.param.type}"


class _Functions(Callback):
    """Two of the user's functions as a callback."""

    def __init__(self, on_start: object, on_gradients_ready: object) -> None:
        self._on_start = _function("on_start", on_start)
        self._on_gradients_ready = _function("on_gradients_ready", on_gradients_ready)

    def on_iteration(self, solver: Training) -> None:
        self._on_start()

    def on_gradients_ready(self, solver: Training) -> None:
        self._on_gradients_ready()


def _function(name: str, given: object) -> Callable[[], object]:
    if not callable(given):
        raise TypeError(f"add_callback: {name}: expected a function, got {given!r}.")
    return given


class SGDSolver(Solver):
    """Stochastic gradient descent with momentum, whatever `type` the file gives."""

    type = "SGD"


class NesterovSolver(SGDSolver):
    """Nesterov's accelerated gradient, whatever `type` the file gives."""

    type = "Nesterov"


class AdaGradSolver(SGDSolver):
    """AdaGrad, whatever `type` the file gives."""

    type = "AdaGrad"


class RMSPropSolver(SGDSolver):
    """RMSProp, whatever `type` the file gives."""

    type = "RMSProp"


class AdaDeltaSolver(SGDSolver):
    """AdaDelta, whatever `type` the file gives."""

    type = "AdaDelta"


class AdamSolver(SGDSolver):
    """Adam, whatever `type` the file gives."""

    type = "Adam"


_CLASSES = {
    cls.type: cls
    for cls in (
        SGDSolver, NesterovSolver, AdaGradSolver, RMSPropSolver, AdaDeltaSolver, AdamSolver
    )
}  # fmt: skip


def get_solver(
    solver_file: str | os.PathLike[str],
    *,
    ops: Ops | None = None,
    on_mismatch: str = "error",
    dialect: str = "",
) -> Solver:
    """The solver of the type that the file names. Raises: CaffepyError."""
    named = Settings.read(solver_file).param.type
    return _CLASSES.get(named, Solver)(
        solver_file, ops=ops, on_mismatch=on_mismatch, dialect=dialect
    )

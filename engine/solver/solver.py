"""Solver: trains a net, tests it, and takes snapshots."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from caffepy.engine.core import log
from caffepy.engine.core.errors import DeviceError
from caffepy.engine.core.layer import Layer
from caffepy.engine.core.random import seed_from_system
from caffepy.engine.core.value import Value
from caffepy.engine.files import remove_abandoned
from caffepy.engine.memory import Memory
from caffepy.engine.net import Net
from caffepy.engine.ops.base import Ops
from caffepy.engine.solver.callbacks import Callback, TestResult
from caffepy.engine.solver.detection_scores import check_outputs, make_scores
from caffepy.engine.solver.display import Display
from caffepy.engine.solver.joint import JointIteration
from caffepy.engine.solver.lookout import Lookout
from caffepy.engine.solver.loss_scale import make_loss_scale
from caffepy.engine.solver.loss_window import LossWindow
from caffepy.engine.solver.lr_policy import make_policy
from caffepy.engine.solver.nets import MakeNet, make_nets
from caffepy.engine.solver.scores import outputs
from caffepy.engine.solver.settings import Settings
from caffepy.engine.solver.snapshot_files import folder_of, is_record_of
from caffepy.engine.solver.snapshots import Resumption, Snapshots
from caffepy.engine.solver.sources import net_sources
from caffepy.engine.solver.updates.rule import find_rule
from caffepy.proto import text


class Solver:
    """Trains a net by gradient descent.

    settings: the solver's parameters (`Settings.read(path)`, or `Settings(message)`).
    ops: the backend.  registry: the layer classes by type.  make_net: called like Net.
    callbacks: told of each step.  resume: a state file to go on from.  seed: where random_seed says
    none; else that of the state file, else one from the operating system.
    honour_mode: refuse `solver_mode: GPU` on a backend that is none.
    keep_diffs: leave the applied updates in the parameters' diffs, as Caffe does.
    on_snapshot_error: `warn` or `stop` where a snapshot cannot be written while training goes on.
    on_mismatch: `error` or `skip` for weights that do not fit; the log tells what was skipped.
    memory_limit: bytes that the run may be predicted to take; those of the machine by default.

    Attributes: net, test_nets, iteration (updates done), learning_rate (of the last iteration),
    losses, rule, policy, loss_scale, seed, resumed_from (the state file, where there was one).

    Raises: PrototxtError, NetError, WeightsError, SnapshotError, DeviceError.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ops: Ops,
        registry: Mapping[str, type[Layer]],
        make_net: MakeNet = Net,
        callbacks: Sequence[Callback] = (),
        resume: str | os.PathLike[str] | None = None,
        seed: int | None = None,
        rank: int = 0,
        honour_mode: bool = True,
        keep_diffs: bool = False,
        on_snapshot_error: str = "warn",
        on_mismatch: str = "error",
        memory_limit: int | None = None,
    ) -> None:
        resumption = None if resume is None else Resumption.read(Path(resume), settings)
        self.settings = settings
        self.param = param = settings.param
        self.ops = ops
        self.callbacks = list(callbacks)
        log.info("Initializing solver from parameters: \n" + text.write(param).rstrip("\n"))
        log.info(f"Solver type: {param.type}")
        if honour_mode:
            _check_mode(settings, ops)
        source, tests = net_sources(settings)
        settings.check()
        rule_class = find_rule(settings)
        self.losses = LossWindow(ops, param.average_loss)
        self.policy = make_policy(settings, self.losses.mean)
        self.seed = self._choose_seed(resumption, seed)
        memory = Memory(memory_limit, rule_class.slots, ops.device)
        make = functools.partial(
            make_net, ops=ops, registry=registry, seed=self.seed, rank=rank, memory=memory
        )
        self.net, self.test_nets = make_nets(make, source, tests, param, on_mismatch)
        self.iteration = 0
        self.resumed_from: Path | None = None
        self.learning_rate = 0.0
        self.keep_diffs = keep_diffs or param.snapshot_diff
        self._keep_losses = False  # the next step goes on with the window of a snapshot
        self._stop = False
        self._snapshot_wanted = False
        self._amid_iteration = False  # passes have begun, the update is not done
        self._stopped = False
        self._snapshots = Snapshots(self, on_snapshot_error)
        self._norm = ops.sum_of_squares()
        self._norm_value = Value((), ops.dtype)
        self._shown = Display()
        self._lookout = Lookout(self)
        try:
            check_outputs(self.test_nets, param)
            with memory.explaining():
                self.rule = rule_class(settings, self.net.parameters.learnable, ops)
            self._joint = JointIteration(self, self._lookout)
            self.loss_scale = make_loss_scale(self)
            memory.log()
            log.info("Solver scaffolding done.")
            if resumption is not None:
                log.info(f"Resuming from {resume}")
                self._restore(resumption)
        except BaseException:
            self.close()
            raise

    # ---- running

    def solve(self) -> None:
        """Trains until max_iter, with the tests, log lines and snapshots that are due."""
        log.info(f"Solving {self.net.name}")
        log.info(f"Learning Rate Policy: {self.param.lr_policy}")
        if self.param.snapshot_after_train:
            self.settings.check_snapshot_folder()
        for callback in self.callbacks:
            callback.check(self)
        if self.param.snapshot_prefix:
            prefix = self.param.snapshot_prefix
            remove_abandoned(folder_of(prefix), is_record_of(prefix))
        for callback in self.callbacks:
            callback.on_start(self)
        if self.param.max_iter <= self.iteration:
            log.warning(
                f"{self.settings.where('max_iter')}: expected more than {self.iteration}, the "
                f"iterations done, got {self.param.max_iter}: nothing is learnt. Raise it."
            )
        if not any(self.net.layer_needs_backward):
            log.warning(
                f"net '{self.net.name}': expected parameters that learn under a loss, got none: "
                "nothing is learnt. Add a loss layer, or set some lr_mult."
            )
        self.step(self.param.max_iter - self.iteration)
        last_due = self.param.snapshot_after_train and not self._is_due(self.param.snapshot)
        if last_due or self._snapshots.unsaved:
            self._snapshots.take(must=True)
        if self._stopped:
            log.info("Optimization stopped early.")
        else:
            self._look_at_result()
            log.info("Optimization Done.")
        for callback in self.callbacks:
            callback.on_end(self)

    def step(self, iterations: int) -> None:
        """Runs iterations, tests and snapshots included; fewer where somebody asks to stop."""
        if not self._keep_losses:
            self.losses.clear()
        self._keep_losses = False
        self._stopped = False
        self._shown.start(self.iteration)
        self._lookout.begin()
        for _ in range(iterations):
            self.net.parameters.clear_diffs()
            if self._is_due(self.param.test_interval) and (
                self.iteration > 0 or self.param.test_initialization
            ):
                self.test_all()
            if self._take_stop():
                break
            self._iterate()
            for callback in self.callbacks:
                callback.on_updated(self)
            if self._is_due(self.param.snapshot) or self._snapshot_wanted:
                self.snapshot()
            if self._take_stop():
                break
        self.look()

    def look(self) -> None:
        """Raises what was found wrong with the passes so far; most backends raise at once, a GPU
        finds it later. Its updates did nothing from there on: `iteration` is that one again."""
        self._lookout.look()

    def test_all(self) -> None:
        """Runs every test net over its test_iter batches. A snapshot meanwhile, or before the next
        iteration, leads to all of them."""
        self._snapshots.hold()
        for index in range(len(self.test_nets)):
            if not self._stopped:
                self.test(index)

    def test(self, index: int) -> None:
        """Runs one test net over its batches and logs its mean outputs, or average precisions."""
        log.info(f"Iteration {self.iteration}, Testing net (#{index})")
        self.look()
        net = self.test_nets[index]
        scores = make_scores(net, self.param)
        for _ in range(self.param.test_iter[index]):
            if self._snapshot_wanted:
                self._snapshot_wanted = False
                self._snapshots.ensure()
            if self._take_stop():
                log.info("Test interrupted.")
                return
            self._lookout.forward(net)
            scores.add()
        means, loss = scores.means(), scores.mean_loss()
        self._lookout.end_test(net, (loss, *(output.value for output in means)))
        if self.param.test_compute_loss:
            log.info(f"Test loss: {loss:g}")
        shown = loss if self.param.test_compute_loss else None
        result = TestResult(self.iteration, index, means, shown)
        scores.log(means)
        for callback in self.callbacks:
            callback.on_tested(self, result)

    def request_stop(self) -> None:
        """Ends the run after the current iteration or test batch; safe in a signal handler."""
        self._stop = True

    def request_snapshot(self) -> None:
        """Takes a snapshot after the current iteration or test batch; safe in a signal handler."""
        self._snapshot_wanted = True

    def close(self) -> None:
        """Ends the threads and files of all nets."""
        for net in (self.net, *self.test_nets):
            net.close()

    # ---- snapshots

    def snapshot(self, *, must: bool = False) -> None:
        """Takes a snapshot now; one that a callback takes amid an iteration, whose batches are used
        up but not learnt from, is taken after it.

        Raises: SnapshotError; where a file cannot be written, only if on_snapshot_error says
        `stop`, or the caller that it must be.
        """
        self._snapshot_wanted = self._amid_iteration
        if not self._amid_iteration:
            self._snapshots.take(must=must)

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Goes on from a state file. The random numbers stay those of this solver's seed; `resume`
        takes the file's. Raises: SnapshotError, and then nothing is changed."""
        self._restore(Resumption.read(Path(path), self.settings))

    # ---- parts of an iteration

    def _iterate(self) -> None:
        """One iteration: gradients and update."""
        self._amid_iteration = True
        try:
            for callback in self.callbacks:
                callback.on_iteration(self)
            self._snapshots.release()
            rate = self._joint.run()
            if rate is None:
                self._compute_gradients()
                for callback in self.callbacks:
                    callback.on_gradients_ready(self)
                self.apply_update()
            else:
                self._show_losses()
                self.learning_rate = rate
                self._show_rate()
                self.iteration += 1
        finally:
            self._amid_iteration = False

    def _compute_gradients(self) -> None:
        """The forward and backward passes of one iteration; logs its loss where that is due."""
        self.net.debug_info = self._is_due(self.param.display) and self.param.debug_info
        self.losses.begin()
        for _ in range(self.param.iter_size):
            self._lookout.forward(self.net)
            self.net.backward()
            self.losses.add(self.net.loss)
        self._show_losses()

    def apply_update(self) -> None:
        """Updates the parameters by the gradients that are there: the end of an iteration."""
        self.learning_rate = self.policy.rate(self.iteration)
        self._show_rate()
        scale = self._clipping() / self.param.iter_size
        with self.net.memory.explaining():
            self.rule.update_all(self.iteration, self.learning_rate, scale, self.keep_diffs)
        self.iteration += 1

    def _show_losses(self) -> None:
        """Logs the losses of the iteration where that is due."""
        if self._is_due(self.param.display):
            self.look()
            interval = self.param.display
            self._shown.log(self.iteration, interval, self.losses.mean(), outputs(self.net))

    def _show_rate(self) -> None:
        """Logs the rate of the iteration where that is due."""
        if self._is_due(self.param.display):
            log.info(f"Iteration {self.iteration}, lr = {self.learning_rate:g}")
            self.loss_scale.log()
            for callback in self.callbacks:
                callback.on_displayed(self, self._shown.loss, self.learning_rate)

    def _clipping(self) -> float:
        """What the gradients are multiplied by, so that their norm stays within clip_gradients."""
        limit = self.param.clip_gradients
        if limit < 0:
            return 1.0
        self._norm.forward(self.rule.diffs(), out=self._norm_value)
        norm = self.loss_scale.norm(self._norm_value)
        if norm is None:
            return 0.0
        if not math.isfinite(norm):
            self.look()  # whether the loss is the cause
        for callback in self.callbacks:
            callback.on_gradient_norm(self, norm)
        if not norm > limit:
            return 1.0
        log.info(
            f"Gradient clipping: scaling down gradients (L2 norm {norm:g} > {limit:g}) by scale "
            f"factor {limit / norm:g}"
        )
        return limit / norm

    def _look_at_result(self) -> None:
        """After the last update: the loss of one more batch, and a test, where they are due."""
        self._snapshots.hold()
        if self._is_due(self.param.display):
            self._lookout.forward(self.net)
            self.losses.begin()
            self.losses.add(self.net.loss)
            self.look()
            self._shown.log_last(self.iteration, self.losses.mean())
            for callback in self.callbacks:
                callback.on_displayed(self, self._shown.loss, None)
        if self._is_due(self.param.test_interval):
            self.test_all()

    def _is_due(self, interval: int) -> bool:
        return bool(interval) and self.iteration % interval == 0

    def _take_stop(self) -> bool:
        """Whether somebody asked to stop; from then on this run counts as stopped early."""
        self._stopped = self._stopped or self._stop
        self._stop = False
        return self._stopped

    # ---- setting up and resuming

    def _choose_seed(self, resumption: Resumption | None, given: int | None) -> int:
        """random_seed, else the one given, else that of the resumed run, else one from the
        operating system."""
        if self.param.random_seed >= 0:
            return self.param.random_seed
        if given is not None:
            return given
        if resumption is not None and "seed" in resumption.state.extra:
            return int(resumption.state.extra["seed"])
        seed = seed_from_system()
        log.info(f"Random seed: {seed} (set random_seed to repeat this run)")
        return seed

    def _restore(self, resumption: Resumption) -> None:
        self._snapshots.restore(resumption)
        self._keep_losses = True


def _check_mode(settings: Settings, ops: Ops) -> None:
    """Raises: DeviceError where the solver asks for a GPU that the backend does not use."""
    if settings.asks_for_gpu and ops.runtime is None:
        raise DeviceError(
            f"{settings.where('solver_mode')}: expected an engine on a GPU, got {ops.name}, one of "
            "the CPU. Install caffepy[cuda12] and give the solver make_gpu_ops(), or set "
            "solver_mode: CPU."
        )

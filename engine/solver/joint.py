"""JointIteration: an iteration that nothing interrupts, as one graph on the device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from caffepy.engine.core.record import Step
from caffepy.engine.ops.base import Ops
from caffepy.engine.passes.capture import CapturingOps
from caffepy.engine.passes.whole import JointPass
from caffepy.engine.solver.callbacks import Callback, Training
from caffepy.engine.solver.lookout import Lookout
from caffepy.engine.solver.lr_policy import LrPolicy
from caffepy.engine.solver.updates.rule import UpdateRule
from caffepy.proto.caffe_pb2 import SolverParameter


class Joinable(Training, Protocol):
    """A solver as its joint iterations see it."""

    ops: Ops
    param: SolverParameter
    policy: LrPolicy
    rule: UpdateRule
    callbacks: list[Callback]
    keep_diffs: bool


class JointIteration:
    """The forward pass, the backward pass and the update as one Program, on a backend with graphs:
    one launch, where passes are not cut by layers that need the host.

    That is possible where nobody looks at gradients before the update: not with clip_gradients,
    iter_size, debug_info, a policy that follows the loss, callbacks that are told of gradients, or
    diffs that are to hold the update. Then, and as long as the passes are not recorded, and where
    Python code holds arrays of parameters, the solver runs one after the other, with the same bits.
    """

    def __init__(self, solver: Joinable, lookout: Lookout) -> None:
        param = solver.param
        self._solver = solver
        self._lookout = lookout
        self._allowed = (
            isinstance(solver.ops, CapturingOps)
            and param.iter_size == 1
            and param.clip_gradients < 0
            and not param.debug_info
            and not solver.policy.follows_loss
            and not solver.keep_diffs
        )
        self._joint: JointPass | None = None
        self._update: Sequence[Step] = ()  # what it was made with

    def run(self) -> float | None:
        """One iteration; gives its learning rate. None where it has to run in parts: nothing was
        done then."""
        solver, net = self._solver, self._solver.net
        if not self._allowed or any(_sees_gradients(one) for one in solver.callbacks):
            return None
        net.debug_info = False
        joint = self._joined()
        if joint is None:
            return None
        solver.losses.begin()
        self._lookout.expect(net)
        rate = solver.policy.rate(solver.iteration)
        solver.rule.renew(solver.iteration, rate, 1.0)
        whole = net.run_joint(joint)
        self._lookout.note(net)
        if whole:
            solver.losses.added(net.loss)
            solver.rule.note()
            return rate
        self._lookout.watch(net)
        net.backward()
        solver.losses.add(net.loss)
        solver.rule.update_all(solver.iteration, rate, 1.0, keep_diffs=False)
        return rate

    def _joined(self) -> JointPass | None:
        """What to run, made anew where one of its parts was."""
        net, update = self._solver.net, self._solver.rule.steps()
        if update is None:
            return None
        if self._joint is None or update is not self._update or not net.holds(self._joint):
            self._joint, self._update = None, update
            between = [*self._lookout.watching(net), *self._solver.losses.adding(net.loss)]
            self._joint = net.joined(between, update)
        return self._joint


def _sees_gradients(callback: Callback) -> bool:
    return type(callback).on_gradients_ready is not Callback.on_gradients_ready

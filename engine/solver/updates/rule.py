"""UpdateRule: what every solver type does with the gradients, and the table of types.

A type is one module in this folder with one class:

    @register_rule("SGD")
    class Sgd(UpdateRule): ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

import caffepy.engine.solver.updates as _package
from caffepy.engine.core import log
from caffepy.engine.core.errors import SnapshotError
from caffepy.engine.core.record import Step
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import Parameter
from caffepy.engine.solver.settings import Settings
from caffepy.engine.stretch import Stretch


class UpdateRule:
    """Changes parameters by their gradients; keeps what it remembers of earlier ones in `history`.

    A subclass says its op in `make_op`, and in `fields` which of the solver's fields the op takes.

    slots: history values per parameter.
    fields: SolverParameter fields that are arguments of the op's update.
    rate_in_history: whether the learning rate is a factor of all that goes into the history.
    elementwise: whether an element's update needs no other elements of its parameter.
    history: slot by slot, in each the parameters in order; this is the order in a solverstate.
    l1: whether the decay is that of regularization_type "L1".

    A parameter whose lr_mult is 0 keeps its weights, and is left alone where its history stays 0
    too: with `rate_in_history`, or without weight decay and gradients (force_backward, or a layer
    that shares it, gives it some). In a solverstate it may have one.
    """

    type: ClassVar[str]
    slots: ClassVar[int] = 1
    fields: ClassVar[tuple[str, ...]] = ()
    rate_in_history: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    def __init__(self, settings: Settings, learnable: Sequence[Parameter], ops: Ops) -> None:
        self.param = settings.param
        self.learnable = learnable
        self.ops = ops
        self.l1 = self.param.regularization_type == "L1"
        self.history = [
            Value(parameter.blob.shape, ops.dtype)
            for _ in range(self.slots)
            for parameter in learnable
        ]
        self._op = self.make_op()
        self._judge: Callable[[Sequence[Value]], None] | None = None
        self._groups: list[_Group] | None = None
        self._steps: Sequence[Step] | None = None
        self._idle = {
            index
            for index, one in enumerate(learnable)
            if one.rate == 0 and (self.rate_in_history or not self._decay(one))
        }

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Refuses hyperparameters that make no sense for the rule. Raises: PrototxtError."""

    def update_all(self, iteration: int, rate: float, scale: float, keep_diffs: bool) -> None:
        """Updates every parameter.

        iteration: how many are done.  rate: the learning rate.  scale: what diffs are multiplied by
        first (clipping, iter_size).  keep_diffs: leave the applied update in the diffs; those that
        Python holds get it anyway.
        """
        self.prepare(iteration)
        groups = self._opened_groups(keep_diffs)
        if self._judge is not None:
            idle = (self.learnable[index].blob.diff for index in self._idle)
            self._judge([group.values[1] for group in groups] + [d for d in idle if d.allocated])
        for index in self._idle:
            self._update_idle(index, rate, scale, keep_diffs)
        for group in groups:
            self._update(group.first, group.values, rate, scale, group.keeps(keep_diffs))
            group.close()

    def steps(self) -> Sequence[Step] | None:
        """The updates of all parameters as steps of an iteration that a backend runs as one: with
        the numbers that `renew` sets before, and `note` called after. The same list while nothing
        moves. None where `update_all` has more to do: it has not run yet, an array of a parameter
        is held by Python code, or one that is idle may have a gradient.
        """
        if self._groups is None or any(map(self._may_have_gradient, self._idle)):
            return None
        if not all(group.is_there for group in self._groups):
            return None
        if self._steps is None:
            self._steps = [group.later(self._op) for group in self._groups]
        return self._steps

    def renew(self, iteration: int, rate: float, scale: float) -> None:
        """Sets the numbers of the next update, as `update_all` gets them."""
        self.prepare(iteration)
        for group in self._groups or ():
            self._op.renew(group.values[0], scale=scale, **self._numbers(group.first, rate))

    def note(self) -> None:
        """The steps have run: parameters are changed."""
        for group in self._groups or ():
            group.note()

    def depend_on(self, judge: Callable[[Sequence[Value]], None], factor: Value) -> None:
        """From now on `judge` is called with all gradients before an update, and decides on it by
        `factor`: what the backend's op multiplies gradients by; 0: nothing changes."""
        self._judge = judge
        self._op.factor = factor

    def diffs(self) -> list[Value]:
        """The gradients, at home in the layouts in which their parameters are updated."""
        for one in self.learnable:
            one.blob.data.prefer(self.ops.layout)
            one.blob.diff.prefer(one.blob.data.home)
        return [one.blob.diff for one in self.learnable]

    def prepare(self, iteration: int) -> None:
        """An update of all parameters begins; iteration: how many are done."""

    def make_op(self) -> Any:
        """The op that updates one parameter."""
        raise NotImplementedError(f"{type(self).__name__}.make_op")

    def numbers(self, parameter: Parameter, rate: float, decay: float) -> dict[str, float]:
        """What the op needs for a parameter whose own rate and decay are given."""
        return {
            "rate": rate,
            "decay": decay,
            **{field: getattr(self.param, field) for field in self.fields},
        }

    def past(self, slot: int, index: int) -> Value:
        """The history value of a parameter in one slot."""
        return self.history[slot * len(self.learnable) + index]

    def check_history(self, arrays: Sequence[np.ndarray], path: str) -> None:
        """Raises: SnapshotError where the history of a state file does not fit."""
        if len(arrays) != len(self.history):
            raise SnapshotError(
                f"{path}: history: expected {len(self.history)} blobs ({self.slots} for each of "
                f"{len(self.learnable)} parameters of a net trained by {self.type}), got "
                f"{len(arrays)}. Resume with the net and the solver type that wrote it."
            )
        for place, (value, array) in enumerate(zip(self.history, arrays, strict=True)):
            parameter = self.learnable[place % len(self.learnable)]
            if array.size != value.count or _trimmed(array.shape) != _trimmed(value.shape):
                raise SnapshotError(
                    f"{path}: history {place}: expected shape {value.shape}, that of parameter "
                    f"{parameter.index} of layer '{parameter.layer.name}', got {array.shape}. "
                    "Resume with the net that wrote it, or start from its weights only."
                )

    def restore(self, arrays: Sequence[np.ndarray], path: str) -> None:
        """Takes the history of a state file. Raises: SnapshotError where it does not fit; the rule
        is then unchanged."""
        self.check_history(arrays, path)
        for place, (value, array) in enumerate(zip(self.history, arrays, strict=True)):
            value.write()[...] = array.reshape(value.shape)
            if array.any():
                self._idle.discard(place % len(self.learnable))
        self._groups = None

    def _decay(self, parameter: Parameter) -> float:
        return self.param.weight_decay * parameter.decay

    def _update(
        self,
        parameter: Parameter,
        values: Sequence[Value],
        rate: float,
        scale: float,
        keep_diff: bool,
    ) -> None:
        """Updates data by diff and histories, which are `values`, as those of `parameter`."""
        self._op.update(*values, scale=scale, keep_diff=keep_diff, **self._numbers(parameter, rate))

    def _numbers(self, parameter: Parameter, rate: float) -> dict[str, float]:
        return self.numbers(parameter, rate * parameter.rate, self._decay(parameter))

    def _may_have_gradient(self, index: int) -> bool:
        """Whether the update of an idle parameter may be one."""
        one = self.learnable[index]
        alone = not one.name  # else a layer that shares it may give it one
        return not self.rate_in_history and not (
            alone and not one.layer.param_propagate_down[one.index]
        )

    def _update_idle(self, index: int, rate: float, scale: float, keep_diffs: bool) -> None:
        parameter = self.learnable[index]
        diff = parameter.blob.diff
        keep_diff = keep_diffs or diff.leased
        if diff.allocated and not self.rate_in_history:
            self._update(parameter, self._values(index), rate, scale, keep_diff)
        elif keep_diff:
            diff.clear()  # the update is 0, whatever the gradient

    def _values(self, index: int) -> list[Value]:
        """Data, diff and history of a parameter."""
        blob = self.learnable[index].blob
        return [blob.data, blob.diff, *(self.past(slot, index) for slot in range(self.slots))]

    def _opened_groups(self, keep_diffs: bool) -> list[_Group]:
        """All groups, opened; made anew where memory of a parameter is no longer what it was."""
        groups = self._groups
        if groups is None or not all(group.open(group.keeps(keep_diffs)) for group in groups):
            groups, self._steps = self._grouped(), None
            self._groups = groups
            for group in groups:
                group.open(group.keeps(keep_diffs))
        return groups

    def _grouped(self) -> list[_Group]:
        """The parameters that are not idle, those of equal rate and decay together. One that Python
        code holds an array of, or that shares its memory with another, stays alone and in place."""
        members: dict[tuple[float, ...], list[int]] = {}
        users = Counter(one.blob.data.storage_id for one in self.learnable)
        alone = []
        for index, one in enumerate(self.learnable):
            if index in self._idle:
                continue
            values = self._values(index)
            one.blob.data.prefer(self.ops.layout)
            for value in values:
                value.prefer(one.blob.data.home)
            homes = {value.home for value in values}
            shared = users[one.blob.data.storage_id] > 1
            if shared or len(homes) > 1 or any(value.leased for value in values):
                alone.append(_Group([one], values, []))
            else:
                key = one.rate, self._decay(one)
                members.setdefault(key if self.elementwise else (*key, index), []).append(index)
        return alone + [self._gathered(indices) for indices in members.values()]

    def _gathered(self, indices: Sequence[int]) -> _Group:
        """Moves parameters into one stretch of memory for their data, diffs, and each history."""
        self.ops.let_go()
        values = [self._values(index) for index in indices]
        stretches = [Stretch(kind) for kind in zip(*values, strict=True)]
        wholes = [stretch.whole for stretch in stretches]
        return _Group([self.learnable[index] for index in indices], wholes, stretches)


@dataclass
class _Group:
    """Parameters that are updated at once: they have the same rate and decay.

    values: data, diff, histories.  stretches: that these are the whole of; empty where they are the
    values of the one member.
    """

    members: list[Parameter]
    values: list[Value]
    stretches: list[Stretch]

    @property
    def first(self) -> Parameter:
        return self.members[0]

    def keeps(self, keep_diffs: bool) -> bool:
        """Whether the diffs get the update; Python code that holds one expects it."""
        return keep_diffs or any(one.blob.diff.leased for one in self.members)

    @property
    def is_there(self) -> bool:
        """Whether the stretches are the members' memory, which nobody holds an array of."""
        if not self.stretches:
            return not any(value.leased for value in self.values)
        return all(stretch.is_there for stretch in self.stretches)

    def open(self, keep_diff: bool) -> bool:
        """Before an update; False where the stretches are not the members' memory any more."""
        return all(
            stretch.open(change=place != 1 or keep_diff)
            for place, stretch in enumerate(self.stretches)
        )

    def later(self, op: Any) -> Step:
        """The update as a step. It finds gradients of 0 where no step before it writes any."""
        update: Step = op.later(*self.values)

        def run() -> None:
            for stretch in self.stretches[:2]:  # data, which the host may have written, and diff
                stretch.open(change=False)
            update.run()

        members = (value for stretch in self.stretches[:2] for value in stretch.values)
        return replace(update, run=run, reads=(*update.reads, *members))

    def note(self) -> None:
        """The step has run: data and histories are changed."""
        for stretch in self.stretches[:1] + self.stretches[2:]:
            stretch.open(change=True)
        self.close()

    def close(self) -> None:
        """After an update."""
        for stretch in self.stretches:
            stretch.close()


R = TypeVar("R", bound=type[UpdateRule])

_rules: dict[str, type[UpdateRule]] = {}


def register_rule(name: str) -> Callable[[R], R]:
    """Class decorator: makes an UpdateRule available to solvers as `type: "name"`."""

    def register(cls: R) -> R:
        assert name not in _rules, f"solver type '{name}' is registered twice"
        _rules[name] = cls
        cls.type = name
        return cls

    return register


def find_rule(settings: Settings) -> type[UpdateRule]:
    """The class of a solver's type; its hyperparameters are checked. Raises: PrototxtError."""
    for module in pkgutil.iter_modules(_package.__path__):
        importlib.import_module(f"{_package.__name__}.{module.name}")
    name = settings.param.type
    if name not in _rules:
        settings.refuse_unknown("type", _rules)
    for field in ("larc", "local_lr_auto"):
        if getattr(settings.param, field) and name not in ("SGD", "LARS"):
            settings.refuse(
                field,
                f"expected type SGD or LARS beside it, got {name}. Remove it, or change the type.",
            )
        if getattr(settings.param, field):
            name = "LARS"
    _rules[name].check(settings)
    return _rules[name]


def check_shares(settings: Settings, *fields: str) -> None:
    """Refuses values outside [0, 1), with which a running mean has no sense."""
    for field in fields:
        value = getattr(settings.param, field)
        if not 0 <= value < 1:
            settings.refuse(
                field,
                f"expected 0 or more and below 1 in a solver of type {settings.param.type}, got "
                f"{value:g}. Correct it.",
            )


def advise_momentum(settings: Settings, usual: float) -> None:
    """Warns where `momentum` is missing: Caffe's default, 0, leaves nothing of a running mean."""
    if not settings.given("momentum"):
        log.warning(
            f"{settings.where('momentum')}: it is not given, so it is 0, and a solver of type "
            f"{settings.param.type} remembers one iteration only. {usual:g} is usual."
        )


def check_delta(settings: Settings) -> None:
    """Refuses a `delta` that cannot keep divisions finite."""
    if not settings.param.delta > 0:
        settings.refuse(
            "delta",
            f"expected a value above 0, so that no division is by 0, got {settings.param.delta:g}. "
            "Leave it out.",
        )


def check_no_momentum(settings: Settings) -> None:
    """Refuses `momentum` where a rule has none, as Caffe does."""
    if settings.param.momentum:
        settings.refuse(
            "momentum",
            f"expected none in a solver of type {settings.param.type}, which has no momentum, got "
            f"{settings.param.momentum:g}. Remove it, or use type SGD, Nesterov or Adam.",
        )


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the leading axes of 1 that old files pad it with."""
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape

"""UpdateRule: what every solver type does with the gradients, and the table of types.

A type is one module in this folder with one class:

    @register_rule("SGD")
    class Sgd(UpdateRule): ...
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, TypeVar

import numpy as np

import caffepy.engine.solver.updates as _package
from caffepy.engine.core.errors import SnapshotError
from caffepy.engine.core.value import Value
from caffepy.engine.ops.base import Ops
from caffepy.engine.parameters import Parameter
from caffepy.engine.solver.settings import Settings

CAFFE_TYPES = ("AdaDelta", "AdaGrad", "Adam", "Nesterov", "RMSProp", "SGD")


class UpdateRule:
    """Changes parameters by their gradients; keeps what it remembers of earlier ones in `history`.

    slots: history values per parameter.
    history: slot by slot, in each the parameters in order; this is the order in a solverstate.

    A parameter whose lr_mult is 0 is left alone, unless a solverstate brings a history for it.
    """

    type: ClassVar[str]
    slots: ClassVar[int] = 1

    def __init__(self, settings: Settings, learnable: Sequence[Parameter], ops: Ops) -> None:
        self.param = settings.param
        self.learnable = learnable
        self.ops = ops
        self.history = [
            Value(parameter.blob.shape, ops.dtype)
            for _ in range(self.slots)
            for parameter in learnable
        ]
        self._gather()
        self._idle = {index for index, one in enumerate(learnable) if one.rate == 0}

    @classmethod
    def check(cls, settings: Settings) -> None:
        """Refuses hyperparameters that make no sense for the rule. Raises: PrototxtError."""

    def update_all(self, rate: float, scale: float, keep_diffs: bool) -> None:
        """Updates every parameter.

        rate: the learning rate.  scale: what diffs are multiplied by first (clipping, iter_size).
        keep_diffs: leave the applied update in the diffs; those that Python holds get it anyway.
        """
        for index, parameter in enumerate(self.learnable):
            if index not in self._idle:
                self.update(
                    index,
                    rate=rate * parameter.rate,
                    scale=scale,
                    decay=self.param.weight_decay * parameter.decay,
                    keep_diff=keep_diffs or parameter.blob.diff.leased,
                )

    def update(
        self, index: int, *, rate: float, scale: float, decay: float, keep_diff: bool
    ) -> None:
        """Updates the parameter of an index, whose own rate and decay are given."""
        raise NotImplementedError(f"{type(self).__name__}.update")

    def past(self, slot: int, index: int) -> Value:
        """The history value of a parameter in one slot."""
        return self.history[slot * len(self.learnable) + index]

    def restore(self, arrays: Sequence[np.ndarray], path: str) -> None:
        """Takes the history of a state file. Raises: SnapshotError where it does not fit."""
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
            value.write()[...] = array.reshape(value.shape)
            if array.any():
                self._idle.discard(place % len(self.learnable))

    def _gather(self) -> None:
        """Moves the history into one stretch of memory."""
        arena = np.zeros(sum(value.count for value in self.history), self.ops.dtype)
        start = 0
        for value in self.history:
            value.move_to(arena[start : start + value.count])
            start += value.count


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
    if name in CAFFE_TYPES and name not in _rules:
        settings.refuse(
            "type",
            f"expected {_list(_rules)}, got '{name}', one of Caffe's that is not implemented yet. "
            f"Use {_list(_rules)}.",
        )
    if name not in _rules:
        settings.refuse_unknown("type", {*_rules, *CAFFE_TYPES})
    _rules[name].check(settings)
    return _rules[name]


def _trimmed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without the leading axes of 1 that old files pad it with."""
    while shape[:1] == (1,):
        shape = shape[1:]
    return shape


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
